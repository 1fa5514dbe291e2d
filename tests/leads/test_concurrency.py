"""Two doors meet the same person in the same moment: one lead, and nobody gets an error."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import event

from app.kit.auth import SYSTEM
from app.kit.db import db, engine_of, own_context, transaction
from app.kit.errors import PreconditionFailed
from app.leads import commands
from tests.leads.people import keep, living

DOORS = 6


def test_many_doors_at_once_make_one_lead(app: Flask) -> None:
    start = threading.Barrier(DOORS)

    def meet(number: int) -> tuple[str, bool]:
        with app.app_context():
            start.wait(10)
            with transaction():
                lead, created = commands.create_lead(
                    {"phone": "+34600000012", "email": "ann@example.com", "custom": {f"door{number}": True}},
                    by=SYSTEM,
                )
            return lead.id, created

    with ThreadPoolExecutor(DOORS) as pool:
        met = list(pool.map(meet, range(DOORS)))
    [lead] = living()
    assert {lead_id for lead_id, _ in met} == {lead.id}
    assert sum(created for _, created in met) == 1
    assert len(lead.custom) == DOORS  # nobody's words are lost


def test_who_loses_the_insert_finds_the_winners_lead(app: Flask) -> None:
    if engine_of("leads").dialect.name == "sqlite":
        pytest.skip(
            "SQLite lets one writer in at a time; the loser looks only after the winner has committed"
        )
    about_to_insert = threading.Event()
    loser: list[tuple[str, bool]] = []

    def lose() -> None:
        with app.app_context(), transaction():
            lead, created = commands.create_lead({"phone": "+34600000012", "company": "Late Ltd"}, by=SYSTEM)
            loser.append((lead.id, created))

    def tell(_connection, _cursor, statement, *_rest) -> None:  # type: ignore[no-untyped-def]
        if threading.current_thread() is thread and statement.startswith("INSERT INTO leads_lead "):
            about_to_insert.set()

    thread = threading.Thread(target=lose)
    engine = engine_of("leads")
    event.listen(engine, "before_cursor_execute", tell)
    try:
        with transaction():
            lead, _ = commands.create_lead({"phone": "+34600000012", "name": "Ann"}, by=SYSTEM)
            thread.start()
            assert about_to_insert.wait(10)  # it has looked and found nobody
        thread.join(10)
    finally:
        event.remove(engine, "before_cursor_execute", tell)
    assert loser == [(lead.id, False)]
    db.session.expire_all()
    assert [(row.name, row.company) for row in living()] == [("Ann", "Late Ltd")]


def test_of_two_changes_with_the_same_version_one_is_refused(app: Flask) -> None:
    lead_id = keep().id
    start = threading.Barrier(2)

    def change(company: str) -> str:
        with app.app_context():
            start.wait(10)
            try:
                with transaction():
                    commands.change_lead(lead_id, {"company": company}, by=SYSTEM, version=1)
            except PreconditionFailed:
                return "refused"
            return "done"

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(change, ["X", "Y"]))
    assert sorted(outcomes) == ["done", "refused"]
    with own_context():
        assert living()[0].version == 2


def test_two_doors_may_invent_the_same_tag(app: Flask) -> None:
    start = threading.Barrier(2)

    def tag(number: int) -> None:
        with app.app_context():
            start.wait(10)
            with transaction():
                commands.create_lead({"name": f"Lead {number}", "tags": ["b", "a"]}, by=SYSTEM)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(tag, range(2)))
    assert {row.tag_names for row in living()} == {"a, b"}
