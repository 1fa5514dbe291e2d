"""Leads and a table kept in step, through the real adapter, against a server with Airtable's limits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, select, text

from app.kit import http, jobs
from app.kit.auth import SYSTEM
from app.kit.db import db, transaction
from app.leads import commands
from app.leads.commands import airtable_settings as settings
from app.leads.commands.airtable_turns import LEASE
from app.leads.jobs import PUSH_JOB, calls
from app.leads.models import AirtableConflict, AirtableLink, Lead
from app.leads.providers import airtable
from app.leads.queries import airtable as queries
from tests.fakes.loopback import Drop, Stall
from tests.leads.airtable.conftest import (
    COLUMN,
    TABLE,
    AirtableServer,
    Clock,
    Table,
    connection,
    link,
    pull,
    push,
    wake,
)
from tests.leads.people import ANN, keep, living, published, timeline
from tests.ops.waiting import wait_for

Connect = Callable[..., str]


def change(lead_id: str, **values: Any) -> None:
    with transaction():
        commands.change_lead(lead_id, values, by=SYSTEM)


def test_leads_that_were_there_before_go_into_the_table(connect: Connect, table: Table) -> None:
    lead = keep(**ANN, amount="1200.50", tags=["VIP"], next_contact_on="2026-12-24", stage="qualified")
    connect()
    push()
    row = table.rows()[0]
    assert row["name"] == "Ann Smith"
    assert row["id"] == lead.id
    assert row["amount"] == 1200.5
    assert row["tags"] == ["VIP"]
    assert row["next_contact_on"] == "2026-12-24"
    assert row["stage"] == "Cualificado"
    found = link(lead.id)
    assert found is not None and found.status == "synced" and found.due_at is None
    assert published("airtable.synced")[-1] == {
        "connection_id": found.connection_id, "direction": "out", "lead_ids": [lead.id],
    }  # fmt: skip


def test_a_column_for_days_shows_the_day_of_the_installations_zone(
    app: Flask, connect: Connect, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "TIMEZONE", "America/Mexico_City")
    lead = keep()
    with transaction() as session:
        session.get_one(Lead, lead.id).created_at = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
    connection_id = connect(started=False)
    with transaction():
        row = connection(connection_id)
        row.field_map = [
            {**item, "field": "created_at", "direction": "out"}
            if item["field"] == "next_contact_on"
            else item
            for item in row.field_map
        ]
        settings.start(connection_id)
    push()
    assert table.rows()[0]["next_contact_on"] == "2026-03-01"


def test_a_change_is_written_once_and_only_what_changed(
    connect: Connect, table: Table, server: AirtableServer
) -> None:
    lead = keep()
    connect()
    push()
    before = len(server.requests)
    change(lead.id, company="Smith & Co", stage="won")
    change(lead.id, notes="call back")
    push()
    writes = [request for request in server.requests[before:] if request.method == "PATCH"]
    assert len(writes) == 1
    assert set(writes[0].json["records"][0]["fields"]) == {
        COLUMN["company"], COLUMN["stage"], COLUMN["notes"], COLUMN["id"],
    }  # fmt: skip
    assert table.rows()[0]["stage"] == "Ganado"


def test_a_change_waits_until_the_lead_is_left_alone_for_a_moment(
    connect: Connect, server: AirtableServer
) -> None:
    lead = keep()
    connect()
    push()
    change(lead.id, company="Smith")
    before = len(server.requests)
    jobs.run(PUSH_JOB)
    assert len(server.requests) == before
    found = link(lead.id)
    assert found is not None and found.due_at is not None


def test_our_own_write_does_not_come_back_as_a_change(connect: Connect, server: AirtableServer) -> None:
    lead = keep(**ANN, amount="10")
    connect()
    push()
    events = timeline(lead.id)
    pull()
    pull(full=True)
    before = len(server.requests)
    push()
    assert timeline(lead.id) == events
    assert [request for request in server.requests[before:] if request.method == "PATCH"] == []


def test_an_edit_in_airtable_becomes_a_change_of_the_lead(connect: Connect, table: Table) -> None:
    lead = keep()
    connect()
    push()
    table.edit(table.rows()[0]["record"], company="Smith Ltd", stage="Ganado", amount=99.5)
    pull()
    found = living()[0]
    assert (found.company, found.stage_key, found.amount) == ("Smith Ltd", "won", Decimal("99.50"))
    assert timeline(lead.id)[-2:] == ["stage_changed", "changed"]
    assert published("lead.stage_changed")[-1]["new_stage"] == "won"
    assert published("airtable.synced")[-1]["direction"] == "in"
    waiting = link(lead.id)
    assert waiting is not None and waiting.due_at is None


def test_a_row_added_in_airtable_becomes_a_lead_and_gets_its_id(connect: Connect, table: Table) -> None:
    connect()
    pull()
    record = table.edit(None, name="Bea Ruiz", email="bea@example.com", phone="600 000 045")
    pull()
    lead = living()[0]
    assert (lead.name, lead.phone, lead.source) == ("Bea Ruiz", "+34600000045", "airtable")
    push()
    assert table.rows() == [
        {"name": "Bea Ruiz", "email": "bea@example.com", "phone": "600 000 045", "id": lead.id, "record": record,
         "stage": "Nuevo"},
    ]  # fmt: skip


def test_an_empty_row_is_nobody(connect: Connect, table: Table) -> None:
    connect()
    pull()
    table.edit(None, notes="to be filled in")
    pull()
    assert living() == []


def test_a_row_of_somebody_we_know_is_linked_not_doubled(connect: Connect, table: Table) -> None:
    lead = keep()
    table.edit(None, name="Ann Smith", email="ANN@example.com")
    connect()
    pull()
    push()
    assert len(living()) == 1
    assert [row["id"] for row in table.rows()] == [lead.id]


def test_a_value_that_a_lead_cannot_have_is_told_and_the_rest_is_taken(
    connect: Connect, table: Table
) -> None:
    lead = keep()
    connect()
    push()
    table.edit(table.rows()[0]["record"], email="not an address", company="Smith Ltd")
    pull()
    found = living()[0]
    assert (found.company, found.email) == ("Smith Ltd", "ann@example.com")
    told = link(lead.id)
    assert told is not None and told.error_code == "unread" and told.last_error == "Correo"
    push()
    assert table.rows()[0]["email"] == "not an address"
    table.edit(table.rows()[0]["record"], email="ann2@example.com")
    pull()
    told = link(lead.id)
    assert told is not None and told.error_code is None
    assert living()[0].email == "ann2@example.com"


def test_both_changed_different_fields_and_neither_is_lost(connect: Connect, table: Table) -> None:
    lead = keep()
    connect()
    push()
    change(lead.id, notes="ours")
    table.edit(table.rows()[0]["record"], company="Theirs Ltd")
    pull()
    push()
    assert living()[0].company == "Theirs Ltd"
    assert living()[0].notes == "ours"
    assert table.rows()[0]["company"] == "Theirs Ltd"
    assert table.rows()[0]["notes"] == "ours"


def test_of_two_edits_of_one_field_the_later_wins_and_the_conflict_is_listed(
    connect: Connect, table: Table, clock: Clock
) -> None:
    lead = keep()
    connect()
    push()
    clock.now -= 3600
    table.edit(table.rows()[0]["record"], company="Theirs, an hour ago")
    clock.now += 3600
    change(lead.id, company="Ours, just now")
    pull(full=True)
    push()
    assert table.rows()[0]["company"] == living()[0].company == "Ours, just now"
    clash = db.session.scalars(select(AirtableConflict)).one()
    assert (clash.field, clash.ours, clash.theirs, clash.winner) == (
        "company", "Ours, just now", "Theirs, an hour ago", "ours",
    )  # fmt: skip
    assert published("airtable.conflict")[0]["field_name"] == "company"
    pull(full=True)
    assert len(db.session.scalars(select(AirtableConflict)).all()) == 1


def test_the_later_edit_in_airtable_wins_too(connect: Connect, table: Table, clock: Clock) -> None:
    lead = keep()
    connect()
    push()
    change(lead.id, company="Ours")
    clock.now += 60
    table.edit(table.rows()[0]["record"], company="Theirs, later")
    pull()
    push()
    assert table.rows()[0]["company"] == living()[0].company == "Theirs, later"


def test_one_click_turns_a_conflict_round(connect: Connect, table: Table, clock: Clock) -> None:
    lead = keep()
    connect()
    push()
    change(lead.id, company="Ours")
    clock.now += 60
    table.edit(table.rows()[0]["record"], company="Theirs")
    pull()
    clash = db.session.scalars(select(AirtableConflict)).one()
    with transaction():
        settings.resolve_conflict(clash.id, "ours", by=SYSTEM)
    push()
    assert table.rows()[0]["company"] == living()[0].company == "Ours"
    assert queries.conflicts() == []


def test_a_row_copied_in_airtable_makes_no_second_lead_and_is_told(connect: Connect, table: Table) -> None:
    lead = keep()
    connect()
    push()
    table.edit(None, name="Ann Smith", id=lead.id)
    pull()
    assert len(living()) == 1
    change(lead.id, company="Smith")
    push()
    told = link(lead.id)
    assert told is not None and told.status == "blocked"
    assert "more than one" in (told.last_error or "")


def test_an_emptied_id_is_written_again_to_the_same_row(connect: Connect, table: Table) -> None:
    lead = keep()
    connect()
    push()
    table.edit(table.rows()[0]["record"], id=None)
    pull()
    change(lead.id, company="Smith")
    push()
    assert [(row["id"], row["company"]) for row in table.rows()] == [(lead.id, "Smith")]


def test_a_lead_deleted_here_leaves_its_row_or_takes_it_along(connect: Connect, table: Table) -> None:
    lead = keep()
    connection_id = connect()
    push()
    with transaction():
        commands.delete_lead(lead.id, by=SYSTEM)
    push()
    pull(full=True)
    assert len(table.rows()) == 1 and living() == []
    with transaction():
        commands.restore_lead(lead.id, by=SYSTEM)
        settings.change_connection(connection_id, {"local_deletions": "delete"})
    push()
    with transaction():
        commands.delete_lead(lead.id, by=SYSTEM)
    push()
    assert table.rows() == []
    assert link(lead.id) is None


def test_a_row_deleted_in_airtable_unlinks_recreates_or_deletes(connect: Connect, table: Table) -> None:
    lead = keep()
    connection_id = connect()
    push()
    pull(full=True)
    table.remove(table.rows()[0]["record"])
    pull(full=True)
    change(lead.id, company="Smith")
    push()
    assert table.rows() == [] and len(living()) == 1
    with transaction():
        settings.change_connection(connection_id, {"remote_deletions": "ignore"})
        settings.resync_lead(lead.id)
    push()
    table.remove(table.rows()[0]["record"])
    pull(full=True)
    change(lead.id, company="Smith 2")
    push()
    assert len(table.rows()) == 1
    with transaction():
        settings.change_connection(connection_id, {"remote_deletions": "delete"})
    table.remove(table.rows()[0]["record"])
    pull(full=True)
    assert living() == []
    assert timeline(lead.id)[-1] == "deleted"


@pytest.mark.parametrize("direction", ["both", "out"])
def test_a_row_deleted_unnoticed_is_written_whole_by_the_next_change_and_empties_no_lead(
    connect: Connect, table: Table, direction: str
) -> None:
    lead = keep(**ANN, notes="ten years of notes")
    connect(direction=direction)
    push()
    pull()
    table.remove(table.rows()[0]["record"])
    change(lead.id, company="Smith")
    push()
    pull()
    pull(full=True)
    (row,) = table.rows()
    assert (row["name"], row["company"], row["notes"]) == ("Ann Smith", "Smith", "ten years of notes")
    found = living()[0]
    assert (found.name, found.email, found.notes) == ("Ann Smith", "ann@example.com", "ten years of notes")
    waiting = link(lead.id)
    assert waiting is not None and waiting.due_at is None


@pytest.mark.parametrize("how", ["one lead", "everything"])
def test_a_lead_brought_in_step_again_overwrites_a_table_that_is_only_written(
    connect: Connect, table: Table, server: AirtableServer, how: str
) -> None:
    lead, other = keep(**ANN, company="Ours"), keep(name="Bea")
    connection_id = connect(direction="out")
    push()
    pull()
    mine = next(row["record"] for row in table.rows() if row["id"] == lead.id)
    table.edit(mine, company="Theirs", notes="typed in Airtable")
    before = len(server.requests)
    with transaction():
        if how == "one lead":
            settings.resync_lead(lead.id)
        else:
            settings.resync(connection_id)
    pull()
    push()
    row = next(row for row in table.rows() if row["id"] == lead.id)
    assert (row["company"], row.get("notes")) == ("Ours", None)
    assert {found.company for found in living()} == {"Ours", ""}
    written = [item for item in server.requests[before:] if item.method == "PATCH"]
    assert [record["fields"][COLUMN["id"]] for item in written for record in item.json["records"]] == [
        lead.id
    ]
    for lead_id in (lead.id, other.id):
        found = link(lead_id)
        assert found is not None and (found.status, found.due_at) == ("synced", None)


def test_a_lead_brought_in_step_again_takes_what_was_typed_in_the_table(
    connect: Connect, table: Table
) -> None:
    lead = keep(**ANN, company="Ours")
    connect()
    push()
    pull()
    change(lead.id, notes="ours")
    table.edit(table.rows()[0]["record"], company="Theirs")
    with transaction():
        settings.resync_lead(lead.id)
    push()
    assert (living()[0].company, living()[0].notes) == ("Theirs", "ours")
    assert (table.rows()[0]["company"], table.rows()[0]["notes"]) == ("Theirs", "ours")


@pytest.mark.parametrize("direction", ["both", "out"])
def test_a_lead_whose_row_is_gone_is_written_anew_when_brought_in_step(
    connect: Connect, table: Table, direction: str
) -> None:
    lead = keep(**ANN)
    connection_id = connect(direction=direction)
    push()
    pull()
    table.remove(table.rows()[0]["record"])
    with transaction():
        settings.resync_lead(lead.id)
    push()
    assert [(row["id"], row["name"]) for row in table.rows()] == [(lead.id, "Ann Smith")]
    found = link(lead.id)
    assert found is not None and (found.status, found.due_at) == ("synced", None)
    assert connection(connection_id).state == "active"


def test_a_row_deleted_in_a_table_that_is_only_written_is_dealt_with_by_policy(
    connect: Connect, table: Table
) -> None:
    lead = keep(**ANN)
    connection_id = connect(direction="out", remote_deletions="unlink")
    push()
    pull()
    table.remove(table.rows()[0]["record"])
    pull(full=True)
    found = link(lead.id)
    assert found is not None and found.status == "unlinked"
    assert len(living()) == 1 and connection(connection_id).state == "active"


def test_what_a_column_held_before_us_is_not_emptied(connect: Connect, table: Table) -> None:
    lead = keep(name="Ann")
    connect(direction="out")
    push()
    record = table.rows()[0]["record"]
    with transaction() as session:
        found = session.get(AirtableLink, lead.id)
        assert found is not None
        found.shadow = {name: pair for name, pair in found.shadow.items() if name != "notes"}
    table.edit(record, notes="older than we")
    pull(full=True)
    push()
    assert table.rows()[0]["notes"] == "older than we"
    change(lead.id, notes="ours")
    push()
    assert table.rows()[0]["notes"] == "ours"


def test_many_deletions_at_once_stop_and_ask(connect: Connect, table: Table) -> None:
    for number in range(25):
        keep(name=f"Person {number}")
    connection_id = connect(remote_deletions="delete")
    push()
    assert len(table.rows()) == 25
    table.remove(*(row["record"] for row in table.rows()[:21]))
    pull(full=True)
    row = connection(connection_id)
    assert (row.state, row.error_code, len(row.asked_deletions)) == ("stopped", "many_deletions", 21)
    assert len(living()) == 25
    from app.leads.commands.airtable_gone import answer_deletions

    with transaction():
        answer_deletions(connection_id, apply=False, by=SYSTEM)
    push()
    assert len(table.rows()) == 25 and len(living()) == 25


def test_who_edits_a_lead_while_its_row_is_found_gone_is_not_refused_and_the_edit_keeps_the_lead(
    app: Flask, connect: Connect, table: Table
) -> None:
    lead = keep()
    connect(remote_deletions="delete")
    push()
    table.remove(table.rows()[0]["record"])
    failures: list[BaseException] = []

    def read() -> None:
        try:
            with app.app_context():
                pull(full=True)
        except BaseException as error:
            failures.append(error)

    reading = threading.Thread(target=read)
    with transaction() as session:
        engine = session.get_bind(mapper=Lead.__mapper__)
        session.get(Lead, lead.id, with_for_update=True)
        reading.start()
        if engine.dialect.name == "postgresql":  # SQLite lets nobody else begin
            wait_for(lambda: somebody_waits(engine), "the reading waits for the lead")
        commands.change_lead(lead.id, {"company": "Smith Ltd"}, by=SYSTEM)
    reading.join()
    assert failures == []
    assert [person.company for person in living()] == ["Smith Ltd"]
    push()
    assert [row["company"] for row in table.rows()] == ["Smith Ltd"]


def somebody_waits(engine: Engine) -> bool:
    """Whether another connection to this PostgreSQL database waits for a lock."""
    question = text(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with engine.connect() as asking:
        return bool(asking.scalar(question))


def test_an_answer_that_was_lost_is_found_and_nothing_is_doubled(
    connect: Connect, table: Table, server: AirtableServer
) -> None:
    lead = keep()
    connection_id = connect()
    pull()
    server.plan(Drop(accepted=True))
    push()
    assert len(table.rows()) == 1
    assert connection(connection_id).error_code == "no_answer"
    wake()
    push()
    assert [row["id"] for row in table.rows()] == [lead.id]
    found = link(lead.id)
    assert found is not None and found.status == "synced" and found.due_at is None
    assert connection(connection_id).error_code is None


def test_a_call_that_stalls_ends_and_is_repeated(
    connect: Connect, table: Table, server: AirtableServer, monkeypatch: Any
) -> None:
    from app.kit import http
    from app.leads.providers import airtable

    monkeypatch.setattr(airtable, "_session", http.Reused(connect=1, read=0.3, max_body=1000_000))
    keep()
    connection_id = connect()
    pull()
    server.plan(Stall(accepted=True))
    push()
    assert connection(connection_id).error_code == "no_answer"
    wake()
    push()
    assert len(table.rows()) == 1


def test_one_bad_lead_in_a_batch_blocks_only_itself(connect: Connect, table: Table) -> None:
    for number in range(9):
        keep(name=f"Person {number}")
    bad = keep(name="Bad", tags=["unheard of"])
    connection_id = connect(create_options=False)
    push()
    assert sorted(row["name"] for row in table.rows()) == sorted(f"Person {n}" for n in range(9))
    told = link(bad.id)
    assert told is not None and told.status == "blocked"
    assert told.error_code == "INVALID_MULTIPLE_CHOICE_OPTIONS"
    assert "unheard of" in (told.last_error or "")
    assert connection(connection_id).state == "active"
    change(bad.id, tags=[])
    push()
    assert len(table.rows()) == 10
    assert queries.blocked() == []


def test_too_many_calls_pause_the_base_for_half_a_minute_and_lose_nothing(
    connect: Connect, table: Table, clock: Clock, server: AirtableServer
) -> None:
    for number in range(60):
        keep(name=f"Person {number}")
    connection_id = connect()
    clock.step = 0.0  # everything happens at once: the sixth call is one too many
    push()
    row = connection(connection_id)
    assert row.error_code == "429"
    assert row.held_until is not None
    before = len(server.requests)
    push()
    pull()
    assert len(server.requests) == before
    wake()
    clock.now += 31
    clock.step = 0.25
    push()
    assert len(table.rows()) == 60
    assert server.stand_in.refused == 1


def test_a_column_removed_in_airtable_stops_with_its_name_and_loses_nothing(
    connect: Connect, table: Table
) -> None:
    lead = keep()
    connection_id = connect()
    push()
    columns = [column for column in table.store.columns(TABLE) if column["id"] != COLUMN["company"]]
    from app.leads.providers.fake import LEADS_BASE

    table.store.put_table(LEADS_BASE, TABLE, "Leads", columns)
    change(lead.id, company="Smith", notes="kept")
    push()
    row = connection(connection_id)
    assert (row.state, row.error_code, row.last_error) == ("stopped", "column_gone", "Empresa")
    waiting = link(lead.id)
    assert waiting is not None and waiting.due_at is not None
    with transaction():
        pairs = [item for item in queries.field_map(row) if item.field != "company"]
        settings.save_fields(
            connection_id, pairs, id_column=row.id_column, modified_column=row.modified_column
        )
        settings.start(connection_id)
    push()
    assert table.rows()[0]["notes"] == "kept"


def test_a_table_removed_in_airtable_stops_and_deletes_no_lead(connect: Connect, table: Table) -> None:
    keep()
    connection_id = connect(remote_deletions="delete")
    push()
    table.store.drop_table(TABLE)
    pull(full=True)
    assert connection(connection_id).error_code == "table_gone"
    assert len(living()) == 1


def test_a_column_renamed_in_airtable_changes_nothing(connect: Connect, table: Table) -> None:
    from app.leads.providers.fake import LEADS_BASE

    lead = keep()
    connection_id = connect()
    push()
    pull()
    columns = table.store.columns(TABLE)
    for column in columns:
        column["name"] = "Renamed " + column["name"]
    table.store.put_table(LEADS_BASE, TABLE, "Leads", columns)
    change(lead.id, company="Smith")
    push()
    pull()  # the filter names the last-modified column: it fails once and learns the new name
    wake()
    pull()
    table.edit(table.rows()[0]["record"], company="Smith Ltd")
    pull()
    assert connection(connection_id).state == "active"
    assert living()[0].company == "Smith Ltd"


def test_a_refused_token_rests_and_says_so(connect: Connect, server: AirtableServer) -> None:
    keep()
    connection_id = connect()
    with transaction():
        settings.change_connection(connection_id, {"token": "patWrong"})
    push()
    row = connection(connection_id)
    assert (row.state, row.error_code) == ("active", "AUTHENTICATION_REQUIRED")
    assert row.held_until is not None


def test_a_paused_connection_is_left_alone_and_goes_on_with_what_waited(
    connect: Connect, table: Table, server: AirtableServer
) -> None:
    connection_id = connect()
    pull()
    with transaction():
        settings.pause(connection_id)
    lead = keep()
    before = len(server.requests)
    push()
    assert len(server.requests) == before
    with transaction():
        settings.start(connection_id)
    push()
    assert [row["id"] for row in table.rows()] == [lead.id]


def test_who_died_between_call_and_record_leaves_nothing_doubled(
    connect: Connect, table: Table, monkeypatch: Any
) -> None:
    from app.leads.commands import airtable_push

    lead = keep()
    connection_id = connect()
    pull()

    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(airtable_push, "note_written", die)
        patch.setattr("app.leads.jobs.calls._finish", lambda *_: None)
        try:
            push()
        except Killed:
            db.session.rollback()
    assert len(table.rows()) == 1
    assert connection(connection_id).claimed_until is not None
    push()
    assert link(lead.id).due_at is not None  # type: ignore[union-attr]  # the lease still runs
    with transaction() as session:
        session.get(type(connection(connection_id)), connection_id).claimed_until = None
    push()
    assert [row["id"] for row in table.rows()] == [lead.id]
    found = link(lead.id)
    assert found is not None and found.status == "synced"


def test_a_turn_outlasts_its_slowest_call() -> None:
    """Else another process would take the table over while the first still waits for its answer."""
    wait = calls.LONGEST_WAIT + 1 / calls.RATE
    whole_answer = airtable.CONNECT_SECONDS + airtable.READ_SECONDS * http.TOTAL_FACTOR
    last_silence = airtable.READ_SECONDS  # the limit of the whole is looked at when something arrives
    assert LEASE.total_seconds() > wait + whole_answer + last_silence


def test_calls_of_the_month_are_counted(connect: Connect, server: AirtableServer) -> None:
    keep()
    connection_id = connect()
    asked = len(server.requests)
    push()
    assert queries.figures()[connection_id].calls == len(server.requests) - asked


def test_a_field_that_only_comes_in_is_never_written(connect: Connect, table: Table) -> None:
    lead = keep()
    connection_id = connect(started=False)
    with transaction():
        row = queries.connection(connection_id)
        pairs = [
            item if item.field != "company" else type(item)(**{**item.plain(), "direction": "in"})
            for item in queries.field_map(row)
        ]
        settings.save_fields(
            connection_id, pairs, id_column=row.id_column, modified_column=row.modified_column
        )
        settings.start(connection_id)
    change(lead.id, company="Ours")
    push()
    assert "company" not in table.rows()[0]
    table.edit(table.rows()[0]["record"], company="Theirs")
    pull()
    assert living()[0].company == "Theirs"


def test_nothing_is_noted_while_there_is_no_connection(app: Any) -> None:
    keep()
    assert db.session.scalars(select(AirtableLink)).all() == []
    assert db.session.scalars(select(Lead)).one().name == "Ann Smith"
