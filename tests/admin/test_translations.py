"""Every text that people see is there in both languages. English is the text itself; Spanish is the catalogue."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po

APP = Path(__file__).resolve().parents[2] / "app"
TRANSLATIONS = APP / "admin" / "translations"
KEYWORDS = {**DEFAULT_KEYWORDS, "_l": None, "lazy_gettext": None, "problem": (3,)}
METHODS = [("**.py", "python"), ("admin/templates/**.html", "jinja2")]
PLACES = re.compile(r"%\(\w+\)s")


def texts() -> dict[str, str]:
    """Every text of the code and the templates, and one place where it stands."""
    found: dict[str, str] = {}
    for file, line, message, _comments, _context in extract_from_dir(APP, METHODS, keywords=KEYWORDS):
        for text in (message,) if isinstance(message, str) else message:
            if text:
                found.setdefault(text, f"app/{file}:{line}")
    for text in (TRANSLATIONS / "fab_messages.txt").read_text("utf-8").splitlines():
        if text and not text.startswith("#"):
            found.setdefault(text, "fab_messages.txt")
    return found


@pytest.fixture(scope="module")
def spanish() -> Catalog:
    """The Spanish catalogue."""
    path = TRANSLATIONS / "es" / "LC_MESSAGES" / "messages.po"
    if not path.exists():
        pytest.skip("there is no Spanish catalogue yet: make translations")
    with path.open("rb") as file:
        return read_po(file, locale="es")


def test_no_text_lacks_its_spanish_translation(spanish: Catalog) -> None:
    translated = {}
    for message in spanish:
        if message.id and not message.fuzzy:
            ids = (message.id,) if isinstance(message.id, str) else message.id
            words = (message.string,) if isinstance(message.string, str) else message.string
            translated |= dict.fromkeys(ids, all(words))
    missing = {text: place for text, place in texts().items() if not translated.get(text)}
    assert missing == {}


def test_translations_keep_the_places_of_their_text(spanish: Catalog) -> None:
    wrong = [
        message.id
        for message in spanish
        if isinstance(message.id, str)
        and isinstance(message.string, str)
        and message.string
        and set(PLACES.findall(message.id)) != set(PLACES.findall(message.string))
    ]
    assert wrong == []


def test_texts_are_found_at_all() -> None:
    found = texts()
    assert "Change password" in found and "Choose at least one scope." in found and "Sign In" in found
    assert len(found) > 200
