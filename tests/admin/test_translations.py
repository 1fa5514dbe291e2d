"""Every text that people see is there in both languages. English is the text itself; Spanish is the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po
from flask import Flask
from flask.testing import FlaskClient

from app.admin.language import compile_catalogues

APP = Path(__file__).resolve().parents[2] / "app"
TRANSLATIONS = APP / "admin" / "translations"
REFUSALS = (
    "EmbudoError", "Forbidden", "NotFound", "PreconditionFailed", "PreconditionRequired", "TooLarge", "Unauthorized",
    "Unavailable",
)  # fmt: skip
"""Errors whose sentence a person may meet."""

KEYWORDS = {**DEFAULT_KEYWORDS, "_l": None, "lazy_gettext": None, "N_": None, **dict.fromkeys(REFUSALS)}
PROBLEMS = {"problem": (3,), "add": (3,)}
"""Apart from the others: the extractor does not look inside the call of a keyword, and `home.add(…)` is none."""

METHODS = [("**.py", "python"), ("admin/templates/**.html", "jinja2")]
PLACES = re.compile(r"%\(\w+\)[sd]")

SAME = {
    # Names, and words that Spanish writes as English does.
    "API", "Access token", "Account SID", "Airtable", "Auth token", "Bot", "Demo", "Error", "HTML", "Id", "MJML",
    "No", "Redis", "Roles", "Sticker", "Variable", "Variables", "Webhook", "Webhooks", "WhatsApp",
    "Color", "Token", "URL", "Base", "E-mail",
}  # fmt: skip

COUNTS = re.compile(r"%\((?:n|count|num)\)[sd]")
BESIDE_NO_NOUN = {
    "%(count)s in all; the latest are shown.",
    "%(count)s more…",
    "%(n)s per page",
    "%(n)s running.",
    "It works, but look at %(n)s of these.",
    "Try %(n)s",
}
"""Texts with a number that read the same for one as for many."""

OWN_NAMES = {"Embudo", "English", "Español"}
"""The product, and each language as it calls itself where one chooses it."""

DATA = {"/admin/stages/list/": {"Lost"}}
"""Path → what stands there in both languages at once: stages have a name in each."""

SHORT = 4
"""Words below this length ("No", "To") stand in any language's text."""


def texts() -> dict[str, str]:
    """Every text of the code and the templates, and one place where it stands."""
    found: dict[str, str] = {}
    for keywords in (KEYWORDS, PROBLEMS):
        for file, line, message, _comments, _context in extract_from_dir(APP, METHODS, keywords=keywords):
            for text in (message,) if isinstance(message, str) else message:
                if text:
                    found.setdefault(text, f"app/{file}:{line}")
    for text in (TRANSLATIONS / "fab_messages.txt").read_text("utf-8").splitlines():
        if text and not text.startswith("#"):
            found.setdefault(text, "fab_messages.txt")
    return found


def test_what_is_counted_has_a_singular_and_a_plural() -> None:
    found = (
        message
        for _, _, message, _, _ in extract_from_dir(APP, METHODS, keywords=KEYWORDS)
        if isinstance(message, str) and COUNTS.search(message)
    )
    assert set(found) == BESIDE_NO_NOUN, "use ngettext where a noun follows the number"


@pytest.fixture(scope="module")
def spanish() -> Catalog:
    """The Spanish catalogue."""
    with (TRANSLATIONS / "es" / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return read_po(file, locale="es")


def pairs(catalogue: Catalog) -> Iterator[tuple[str, str]]:
    """(English, Spanish) of each text; of a plural both forms."""
    for message in catalogue:
        if not message.id:
            continue
        if isinstance(message.id, str):
            yield message.id, str(message.string)
        else:
            yield from zip(message.id, message.string, strict=True)


def test_no_text_lacks_its_spanish_translation(spanish: Catalog) -> None:
    translated = dict(pairs(spanish))
    missing = {text: place for text, place in texts().items() if not translated.get(text)}
    assert missing == {}, "run `make translations` and write the Spanish"


def test_no_translation_is_a_guess_of_the_tools(spanish: Catalog) -> None:
    assert [message.id for message in spanish if message.id and message.fuzzy] == []


def test_no_translation_is_kept_of_a_text_that_is_gone(spanish: Catalog) -> None:
    known = texts()
    assert [english for english, _ in pairs(spanish) if english not in known] == []


def test_translations_keep_the_places_of_their_text(spanish: Catalog) -> None:
    wrong = [
        english
        for english, words in pairs(spanish)
        if set(PLACES.findall(english)) != set(PLACES.findall(words))
    ]
    assert wrong == []


def test_translations_speak_to_one_person_and_end_as_their_text_does(spanish: Catalog) -> None:
    formal = re.compile(r"\b(usted|ustedes|haga clic|introduzca|seleccione|pulse)\b", re.IGNORECASE)
    assert [words for _, words in pairs(spanish) if formal.search(words)] == []
    assert [
        english
        for english, words in pairs(spanish)
        if english[-1:] in ".…:?" and words[-1:].replace("!", ".") != english[-1:]
    ] == []


def test_texts_are_found_at_all() -> None:
    found = texts()
    assert "Change password" in found and "Choose at least one scope." in found and "Sign In" in found
    assert "Leads today" in found, "a text inside another call"
    assert "%(field)s is missing." in found and "Access token" in found
    assert "Line %(line)s: <%(element)s> is never closed." in found
    assert len(found) > 200


def says(html: str) -> set[str]:
    """Every piece of text of a page, and every attribute that people read or hear."""
    body = re.sub(r"<(script|style|pre|code)\b.*?</\1>", " ", html, flags=re.DOTALL)
    pieces = re.findall(r">([^<>]+)<", body)
    pieces += re.findall(r'\b(?:title|aria-label|placeholder|data-label|data-confirm)="([^"]+)"', body)
    return {" ".join(unescape(piece).split()) for piece in pieces} - {""}


FORMS = (
    "/admin/leads/add", "/admin/flows/add", "/admin/channels/add", "/admin/channels/add?provider=twilio",
    "/admin/channels/add?provider=meta", "/admin/email-templates/add", "/admin/stages/add", "/admin/webhooks/add",
    "/admin/api-keys/new", "/users/add", "/roles/add", "/profile/", "/password/", "/users/show/1",
)  # fmt: skip


@pytest.mark.parametrize(("language", "other"), [("es", 0), ("en", 1)])
def test_no_page_speaks_the_other_language(
    app: Flask, admin: FlaskClient, spanish: Catalog, language: str, other: int
) -> None:
    compile_catalogues()
    both = [pair for pair in pairs(spanish) if pair[0] != pair[1] and pair[0] not in SAME]
    known = {pair[1 - other] for pair in both}
    foreign = {pair[other] for pair in both if len(pair[other]) >= SHORT} - known - OWN_NAMES
    assert admin.get(f"/lang/{language}").status_code == 302
    home = admin.get("/").text
    assert f'<html lang="{language}">' in home
    sidebar = re.findall(r'<li><a href="([^"]+)"', home.partition('id="sidebar"')[2].partition("</nav>")[0])
    assert len(sidebar) > 12
    found = {}
    for path in [*sidebar, *FORMS]:
        answer = admin.get(path, follow_redirects=True)
        assert answer.status_code == 200, path
        if wrong := (says(answer.text) & foreign) - DATA.get(path, set()):
            found[path] = sorted(wrong)
    assert found == {}
