"""docs/events.md says what the code says."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from app.contracts.events import EVENTS, LISTENERS, parse
from app.contracts.fields import MEANINGS, meaning_of
from app.kit import events_doc
from app.services import SERVICES, handlers

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_the_one_that_would_be_written_now() -> None:
    written = events_doc.document({name: handlers(service) for name, service in SERVICES.items()})
    assert (ROOT / "docs" / "events.md").read_text("utf-8") == written, "run make events"


def test_every_field_has_a_meaning_and_no_meaning_is_left_over() -> None:
    used = {(name, item.name) for name, kind in EVENTS.items() for item in fields(kind)}
    for name, field in used:
        assert meaning_of(name, field)[0], f"{name}.{field}"
    known = {field for _, field in used} | {f"{name}.{field}" for name, field in used}
    assert set(MEANINGS) <= known


def test_every_example_can_be_read_as_its_event() -> None:
    for name, kind in EVENTS.items():
        event = parse(name, events_doc.example(kind))
        assert event is not None and event.subject


def test_the_page_names_all_who_listen() -> None:
    page = (ROOT / "docs" / "events.md").read_text("utf-8")
    for kind, listeners in LISTENERS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| [{kind.name}]"))
        assert all(listener in row for listener in listeners)
