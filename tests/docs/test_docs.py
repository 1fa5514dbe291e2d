"""What the documentation names is there: links, files, commands, variables, metrics, buttons.

Nobody reads all pages after a rename; a page that sends people to what is gone is worse than none.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
from flask import Flask
from flask.cli import FlaskGroup

from app.services import SERVICES
from config import BINDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if page.is_file()
)  # fmt: skip
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

MADE = {"node_modules", "instance", "__pycache__", "build"}
"""Folders of what is made, not written; so are most of those at the top that begin with a dot."""

HIDDEN = {".github", ".ci"}
"""Folders that begin with a dot and are written."""

SUFFIXES = "py|ts|tsx|css|json|md|yaml|yml|toml|sh|txt|in|html|po|template|example|conf|mjml|png"
FILE = re.compile(rf"[\w.][\w./-]*\.(?:{SUFFIXES})")
FOLDER = re.compile(r"(?:app|bench|bin|deploy|docs|frontend|migrations|tests|\.github|\.ci)(?:/[\w.-]+)*/?")
MADE_WHILE_RUNNING = re.compile(
    r"^(?:instance|frontend/node_modules)/|^(?:nginx\.conf|package\.json|openapi\.json)$"
)
"""Files that a page may name although they are in no folder of the repository."""


# --- reading a page ----------------------------------------------------------------------------------------------------


@cache
def fenced(page: Path) -> tuple[str, str]:
    """(the page without its blocks of code, the lines of those blocks)."""
    prose: list[str] = []
    code: list[str] = []
    inside = False
    for line in page.read_text().splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
            continue
        (code if inside else prose).append(line)
    assert not inside, "a block of code is not closed"
    return "\n".join(prose), "\n".join(code)


def spans(page: Path) -> list[str]:
    """What stands between backticks."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", fenced(page)[0])]


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command, in blocks and between backticks; a line may hold several."""
    block = re.sub(r"\\\n\s*", " ", fenced(page)[1])
    for line in (*block.splitlines(), *spans(page)):
        for part in re.split(r"&&|\|\||[|;]", re.sub(r"(?:^|\s)#.*", "", line.strip().removeprefix("$ "))):
            try:
                words = shlex.split(part)
            except ValueError:  # a quotation that ends elsewhere: prose, or half a command
                continue
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words:
                yield words


@cache
def tracked() -> frozenset[str]:
    """Every file of the repository, from its top."""
    found = set()
    for folder in ROOT.iterdir():
        if folder.is_file() and folder.name != ".env":
            found.add(folder.name)
        elif folder.is_dir() and (not folder.name.startswith(".") or folder.name in HIDDEN):
            found |= {
                str(path.relative_to(ROOT))
                for path in folder.rglob("*")
                if path.is_file() and not MADE & set(path.relative_to(ROOT).parts)
            }
    return frozenset(found)


@cache
def written() -> str:
    """All that is no page: what a name in a page must occur in."""
    return "\n".join(
        (ROOT / name).read_text(errors="ignore")
        for name in sorted(tracked())
        if not name.endswith((".md", ".png", ".po", ".woff2", "package-lock.json"))
        and Path(name) != Path(__file__).relative_to(ROOT)
    )


# --- links -------------------------------------------------------------------------------------------------------------


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", fenced(page)[0])


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+)$", fenced(page)[0], re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading).strip().lower()
        slug = "".join("-" if c == " " else c for c in plain if c.isalnum() or c in " -_")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found


@EACH_PAGE
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in links(page):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.exists():
                waiting.append(target)
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in reached] == []


# --- files -------------------------------------------------------------------------------------------------------------


@EACH_PAGE
def test_every_file_and_folder_is_there(page: Path) -> None:
    lost = set()
    for word in (word for text in (*spans(page), fenced(page)[1]) for word in text.split()):
        name = word.strip("()[],;:'\"…").rstrip(".")
        if re.match(r"[/$~<-]|\w+:/", name) or MADE_WHILE_RUNNING.match(name):
            continue
        pattern = re.sub(r"<\w+>|\b[A-Z]{2,}(?=/|$)", "*", name)  # a name to fill in
        if "*" in pattern and FOLDER.match(name):
            if not any(ROOT.glob(pattern)):
                lost.add(name)
        elif FILE.fullmatch(name):  # from the top, or the end of a path that the page says before
            if not any(path == name or path.endswith(f"/{name}") for path in tracked()):
                lost.add(name)
        elif FOLDER.fullmatch(name) and not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists():
            lost.add(name)
    assert lost == set()


# --- commands ----------------------------------------------------------------------------------------------------------


@EACH_PAGE
def test_every_make_target_is_in_the_makefile(page: Path) -> None:
    known = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {
        word
        for words in commands(page)
        if words[0] == "make"
        for word in words[1:]
        if "=" not in word and not word.startswith("-")
    }
    assert asked - known == set()


@EACH_PAGE
def test_every_flask_command_and_its_options_are_there(page: Path, session_app: Flask) -> None:
    lost = []
    for words in commands(page):
        words = [word.strip("()") for word in words]  # noqa: PLW2901
        start = next((at for at, word in enumerate(words) if word.split("/")[-1] == "flask"), None)
        if start is None or "…" in "".join(words[start:]):
            continue
        command: click.Command = FlaskGroup(create_app=lambda: session_app)
        for word in words[start + 1 :]:
            if word in {">", "<"}:
                break
            if isinstance(command, click.Group):
                found = command.get_command(click.Context(command), word)
                if found is None:
                    lost.append(" ".join(words))
                    break
                command = found
            elif word.startswith("--"):
                known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
                if word.partition("=")[0] not in known | {"--help"}:
                    lost.append(" ".join(words))
    assert lost == []


# --- names -------------------------------------------------------------------------------------------------------------


@EACH_PAGE
def test_every_name_in_capitals_is_one_that_something_reads(page: Path) -> None:
    text = page.read_text()
    names = set(re.findall(r"(?<![\w<$/.-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?![\w-])", text))
    beginnings = set(re.findall(r"(?<![\w<$/.-])([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_)(?:…|\*)", text))
    assert {name for name in names if not re.search(rf"\b{name}\b", written())} == set()
    assert {name for name in beginnings if not re.search(rf"\b{name}\w", written())} == set()


SETTINGS = (".env.example", "deploy/compose/example.env", "compose.yaml", "Makefile", "tests/left_out.py")


@EACH_PAGE
def test_every_variable_that_is_set_in_an_example_is_a_setting(page: Path) -> None:
    """Somewhere in the code is not enough for what people type into their environment."""
    known = "\n".join((ROOT / name).read_text() for name in SETTINGS)
    known += "\n".join(path.read_text() for path in (ROOT / "deploy").rglob("*") if path.suffix == ".sh")
    known += " ".join(f"{name.upper()}_UPSTREAM" for name in SERVICES)
    given = set(re.findall(r"^[\s$]*([A-Z][A-Z0-9_]+)=", fenced(page)[1], re.MULTILINE))
    given |= {word for span in spans(page) for word in re.findall(r"\b([A-Z][A-Z0-9_]+)=", span)}
    assert {name for name in given if not re.search(rf"\b{name}\b", known)} == set()


@EACH_PAGE
def test_every_metric_is_told(page: Path) -> None:
    told = set(re.findall(r"^\| `(embudo_\w+)", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE))
    databases = {f"embudo_{bind}" for bind in BINDS}
    names = set(re.findall(r"(?<![\w/])embudo_[a-z_]+[a-z]", page.read_text())) - databases
    assert {re.sub(r"_(?:bucket|sum|count)$", "", name) for name in names} - told == set()


# --- words on the screen -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "language"), [("write-a-flow", "en"), ("escribir-un-flujo", "es")])
def test_the_words_for_authors_are_those_on_the_screen(name: str, language: str) -> None:
    page = ROOT / "docs/howto" / f"{name}.md"
    bold = {" ".join(words.split()) for words in re.findall(r"\*\*(.+?)\*\*", fenced(page)[0], re.DOTALL)}
    island = (ROOT / f"frontend/src/i18n/{language}.ts").read_text()
    shown = set(re.findall(r'^  "[\w.]+": "(.*)",$', island, re.MULTILINE))
    catalogue = (ROOT / "app/admin/translations/es/LC_MESSAGES/messages.po").read_text()
    entries = re.findall(r'^msgid "(.+)"\nmsgstr "(.*)"$', catalogue, re.MULTILINE)
    shown |= {words[language == "es"] for words in entries}
    said = {"negrita"} if language == "es" else {"bold"}
    assert len(bold) > 40
    assert bold - shown - said == set()
