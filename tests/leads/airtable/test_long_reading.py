"""Tables and payloads that one turn cannot read to the end: the next turn goes on where the last one came to."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest
from flask import Flask

from app.kit import jobs
from app.kit.auth import SYSTEM
from app.kit.db import db, transaction, utcnow
from app.kit.redis_client import redis
from app.leads import commands
from app.leads.commands import airtable_reading
from app.leads.commands import airtable_settings as settings
from app.leads.jobs import PULL_JOB
from app.leads.models import AirtableConnection
from app.leads.providers.fake import Ask, StandIn
from app.leads.queries import airtable as queries
from tests.fakes.loopback import Received
from tests.leads.airtable.conftest import AirtableServer, Clock, Table, connection, link, pull, push
from tests.leads.people import keep, living

CALL_SECONDS = 4.0
"""How long a call takes here: a turn ends after its third."""

Connect = Callable[..., str]


@pytest.fixture
def slow(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of ten rows from an Airtable that takes its time."""
    monkeypatch.setattr("app.leads.providers.airtable.PAGE", 10)
    monkeypatch.setattr("app.leads.providers.airtable.PAYLOADS", 10)
    passed = [0.0]
    monkeypatch.setattr(
        jobs, "time", SimpleNamespace(monotonic=lambda: passed[0], perf_counter=time.perf_counter)
    )
    answer = stand_in.handle

    def slowly(ask: Ask) -> Any:
        passed[0] += CALL_SECONDS
        return answer(ask)

    monkeypatch.setattr(stand_in, "handle", slowly)


def fill(table: Table, rows: int) -> list[str]:
    """That many people typed into the table; their records."""
    return [table.edit(None, name=f"Row {number}", email=f"r{number}@example.com") for number in range(rows)]


def offsets(server: AirtableServer, since: int = 0) -> list[str]:
    """The place that each list call asked for, "" for the first page."""
    return [parse_qs(item.query).get("offset", [""])[0] for item in server.requests[since:] if is_list(item)]


def is_list(request: Received) -> bool:
    """Whether a table's records were asked for."""
    return request.method == "GET" and request.path.startswith("/v0/app") and request.path.count("/") == 3


def turns_until_read(connection_id: str, *, at_most: int = 20) -> int:
    """Run the pull as it rings for itself; how many turns it took."""
    for number in range(1, at_most + 1):
        redis().flushdb()
        jobs.run(PULL_JOB)
        row = connection(connection_id)
        if not queries.pull_is_due():
            assert row.reading_id is None
            return number
        assert b"job:leads.pull_airtable" in redis().lrange("embudo:nudges:leads", 0, -1)
    raise AssertionError("the table was never read to its end")


def push_everything(*, at_most: int = 20) -> None:
    for _ in range(at_most):
        push()
        db.session.rollback()
        if not queries.push_is_due():
            return
    raise AssertionError("the leads were never written")


def test_a_large_table_is_read_in_several_turns_and_no_page_twice(
    connect: Connect, slow: None, table: Table, server: AirtableServer
) -> None:
    fill(table, 95)
    connection_id = connect()
    assert turns_until_read(connection_id) == 4
    asked = offsets(server)
    assert len(asked) == len(set(asked)) == 10
    assert len(living()) == 95
    row = connection(connection_id)
    assert row.pulled_at is not None and row.next_full_at is not None and row.next_full_at > utcnow()


def test_leads_are_written_once_the_first_reading_is_complete(
    connect: Connect, slow: None, table: Table, server: AirtableServer
) -> None:
    fill(table, 95)
    lead = keep(name="Ann", email="ann@example.com")
    connection_id = connect()
    for _ in range(3):
        push()
    with transaction():
        commands.change_lead(lead.id, {"company": "Smith Ltd"}, by=SYSTEM)
    assert "Ann" not in {row.get("name") for row in table.rows()}
    found = link(lead.id)
    assert found is not None and found.due_at is not None
    push_everything()
    assert [row["company"] for row in table.rows() if row["name"] == "Ann"] == ["Smith Ltd"]
    assert {row["id"] for row in table.rows()} == {lead.id for lead in living()}
    asked = offsets(server)
    assert len([place for place in asked if place == ""]) == 1
    assert connection(connection_id).pulled_at is not None


def test_a_turn_that_is_killed_costs_the_page_it_was_waiting_for(
    connect: Connect, slow: None, stand_in: StandIn, table: Table, server: AirtableServer, monkeypatch: Any
) -> None:
    fill(table, 45)
    connection_id = connect()

    class Killed(BaseException):
        pass

    def killed(turn: Any, reading: Any, page: Any, **_: Any) -> Any:
        if reading.offset:
            raise Killed
        return note_page(turn, reading, page, **_)

    note_page = airtable_reading.note_page
    with monkeypatch.context() as patch:
        patch.setattr(airtable_reading, "note_page", killed)
        patch.setattr("app.leads.jobs.calls._finish", lambda *_: None)
        with pytest.raises(Killed):
            jobs.run(PULL_JOB)
    with transaction() as session:  # the lease of who is dead has ended
        session.get(AirtableConnection, connection_id).claimed_until = None
    turns_until_read(connection_id)
    asked = offsets(server)
    assert len(asked) == 6 and len(set(asked)) == 5
    assert asked[1] == asked[2] != ""
    assert len(living()) == 45


def test_rows_that_are_gone_are_noticed_and_none_that_is_there_is_taken_for_gone(
    connect: Connect, slow: None, table: Table, server: AirtableServer
) -> None:
    rows = fill(table, 65)
    connection_id = connect(remote_deletions="delete", modified_column="")
    turns_until_read(connection_id)
    push_everything()
    table.remove(rows[2], rows[61])
    with transaction() as session:
        row = session.get(AirtableConnection, connection_id)
        row.next_pull_at = row.next_full_at = utcnow()
    jobs.run(PULL_JOB)
    assert connection(connection_id).reading_id is not None
    new = keep(name="Written meanwhile", email="new@example.com")
    push()
    assert turns_until_read(connection_id) > 1
    names = {lead.name for lead in living()}
    assert names == {f"Row {number}" for number in range(65)} - {"Row 2", "Row 61"} | {"Written meanwhile"}
    found = link(new.id)
    assert found is not None and found.record_id in {row["record"] for row in table.rows()}


def test_a_row_written_behind_the_back_of_a_reading_is_not_taken_for_gone(
    connect: Connect, slow: None, stand_in: StandIn, table: Table, monkeypatch: Any
) -> None:
    """Airtable lists what was there when the list was begun."""
    fill(table, 45)
    connection_id = connect(remote_deletions="delete", direction="out")
    turns_until_read(connection_id)
    with transaction() as session:
        row = session.get(AirtableConnection, connection_id)
        row.next_pull_at = row.next_full_at = utcnow()
    jobs.run(PULL_JOB)
    new = keep(name="Written meanwhile", email="new@example.com")
    push()
    record = next(row["record"] for row in table.rows() if row["name"] == "Written meanwhile")
    answer = stand_in.handle

    def frozen(ask: Ask) -> Any:
        answered = answer(ask)
        if ask.method == "GET" and "records" in (answered.body or {}):
            answered.body["records"] = [row for row in answered.body["records"] if row["id"] != record]
        return answered

    monkeypatch.setattr(stand_in, "handle", frozen)
    turns_until_read(connection_id)
    found = link(new.id)
    assert found is not None and found.record_id == record
    assert [lead.name for lead in living()] == ["Written meanwhile"]


def test_a_copy_of_a_row_does_not_vouch_for_the_row_itself(
    connect: Connect, slow: None, table: Table
) -> None:
    lead = keep(name="Ann")
    connection_id = connect(remote_deletions="delete")
    push()
    table.edit(None, name="Ann", id=lead.id)
    table.remove(table.rows()[0]["record"])
    pull(full=True)
    assert connection(connection_id).state == "active"
    assert living() == []


def test_an_offset_that_airtable_forgot_begins_the_reading_again(
    connect: Connect, slow: None, table: Table, server: AirtableServer, clock: Clock
) -> None:
    rows = fill(table, 65)
    connection_id = connect(remote_deletions="delete")
    turns_until_read(connection_id)
    push_everything()
    with transaction() as session:
        row = session.get(AirtableConnection, connection_id)
        row.next_pull_at = row.next_full_at = utcnow()
    before = len(server.requests)
    jobs.run(PULL_JOB)
    table.remove(rows[0])  # after its page was read: only the reading that begins again can know
    clock.now += 600
    turns_until_read(connection_id)
    asked = offsets(server, before)
    assert (asked.count(""), len(asked)) == (2, 3 + 1 + 7)
    assert {lead.name for lead in living()} == {f"Row {number}" for number in range(1, 65)}


def test_many_changes_since_the_last_reading_take_several_turns_too(
    connect: Connect, slow: None, table: Table, server: AirtableServer
) -> None:
    rows = fill(table, 65)
    connection_id = connect()
    turns_until_read(connection_id)
    for row in rows:
        table.edit(row, company="Smith Ltd")
    with transaction() as session:
        session.get(AirtableConnection, connection_id).next_pull_at = utcnow()
    before = len(server.requests)
    turns_until_read(connection_id)
    asked = offsets(server, before)
    assert len(asked) == len(set(asked)) == 7
    assert {lead.company for lead in living()} == {"Smith Ltd"}


def test_what_changes_on_a_page_that_was_read_is_asked_for_after_the_last_page(
    connect: Connect, slow: None, table: Table, clock: Clock
) -> None:
    rows = fill(table, 65)
    connection_id = connect()
    jobs.run(PULL_JOB)
    table.edit(rows[0], company="Behind the reading")
    clock.now += 60
    table.edit(rows[64], company="Before it")
    turns_until_read(connection_id)
    pull()
    turns_until_read(connection_id)
    companies = {lead.name: lead.company for lead in living()}
    assert (companies["Row 0"], companies["Row 64"]) == ("Behind the reading", "Before it")


def test_many_payloads_keep_their_cursor_between_turns(
    app: Flask, connect: Connect, slow: None, table: Table, server: AirtableServer, monkeypatch: Any
) -> None:
    monkeypatch.setitem(app.config, "PUBLIC_URL", "https://leads.example.com")
    lead = keep(name="Ann")
    connection_id = connect(webhook_wanted=True)
    turns_until_read(connection_id)
    push()
    pull()
    record = table.rows()[0]["record"]
    for number in range(75):
        table.edit(record, company=f"Company {number}")
    with transaction() as session:
        session.get(AirtableConnection, connection_id).next_pull_at = utcnow()
    before = len(server.requests)
    assert turns_until_read(connection_id) == 3
    cursors = [
        parse_qs(item.query)["cursor"][0]
        for item in server.requests[before:]
        if item.path.endswith("/payloads")
    ]
    assert len(cursors) == len(set(cursors)) == 8
    assert offsets(server, before) == []
    assert living()[0].company == "Company 74"
    assert living()[0].id == lead.id


def test_where_a_webhook_tells_the_news_leads_are_written_between_the_pages_of_a_reading(
    app: Flask, connect: Connect, slow: None, table: Table, monkeypatch: Any
) -> None:
    monkeypatch.setitem(app.config, "PUBLIC_URL", "https://leads.example.com")
    rows = fill(table, 65)
    connection_id = connect(webhook_wanted=True)
    turns_until_read(connection_id)
    push_everything()
    with transaction() as session:
        row = session.get(AirtableConnection, connection_id)
        row.next_pull_at = row.next_full_at = utcnow()
    jobs.run(PULL_JOB)
    reading = connection(connection_id).reading_id
    table.edit(rows[0], company="Typed meanwhile")
    with transaction() as session:
        session.get(AirtableConnection, connection_id).pulled_at = utcnow() - timedelta(minutes=1)
    keep(name="Ann", email="ann@example.com")
    push()
    assert "Ann" in {row.get("name") for row in table.rows()}
    assert {lead.company for lead in living() if lead.name == "Row 0"} == {"Typed meanwhile"}
    assert connection(connection_id).reading_id == reading is not None
    turns_until_read(connection_id)
    assert len(living()) == 66


@pytest.mark.parametrize("remote_deletions", ["delete", "unlink"])
def test_a_reading_that_is_asked_for_during_the_last_call_takes_nothing_for_gone(
    app: Flask, connect: Connect, table: Table, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch,
    remote_deletions: str,
) -> None:  # fmt: skip
    for number in range(3):
        keep(name=f"Person {number}")
    connection_id = connect(remote_deletions=remote_deletions)
    push()
    linked = {lead.id: link(lead.id).record_id for lead in living()}
    answer, asked = stand_in.handle, []

    def interrupted(ask: Ask) -> Any:
        given = answer(ask)
        if not asked:
            asked.append(ask)
            with app.app_context(), transaction():
                settings.resync(connection_id)
        return given

    monkeypatch.setattr(stand_in, "handle", interrupted)
    pull(full=True)
    assert asked
    turns_until_read(connection_id)
    assert {lead.id: link(lead.id).record_id for lead in living()} == linked
    assert connection(connection_id).state == "active"


def test_columns_that_are_chosen_during_a_reading_begin_it_again(
    connect: Connect, slow: None, table: Table, server: AirtableServer
) -> None:
    fill(table, 45)
    connection_id = connect()
    jobs.run(PULL_JOB)
    row = connection(connection_id)
    pairs = [item for item in queries.field_map(row) if item.field != "company"]
    with transaction():
        settings.save_fields(
            connection_id, pairs, id_column=row.id_column, modified_column=row.modified_column
        )
    turns_until_read(connection_id)
    assert offsets(server).count("") == 2
