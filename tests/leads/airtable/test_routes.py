"""Several bases: who goes where, moves, and one base's trouble that is not the others'."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.kit import jobs
from app.kit.auth import SYSTEM
from app.kit.db import db, transaction, utcnow
from app.kit.errors import Conflict, Invalid
from app.kit.resilience import TokenBucket
from app.leads import commands
from app.leads.admin.airtable_words import explain
from app.leads.commands import airtable_settings as settings
from app.leads.commands.airtable_turns import take_turn
from app.leads.jobs import PULL_JOB, PUSH_JOB, calls
from app.leads.mapping import Condition
from app.leads.models import AirtableConnection, AirtableLink, Lead
from app.leads.providers.fake import StandIn
from app.leads.providers.fake.store import DEMO_COLUMNS
from tests.leads.airtable.conftest import (
    TABLE,
    TOKEN,
    AirtableServer,
    Clock,
    Table,
    connection,
    hurry,
    link,
    pull,
    push,
    wake,
)
from tests.leads.people import keep, living

OTHER_BASE, OTHER_TABLE = "appOther000000000", "tblOther000000000"


@pytest.fixture
def two(stand_in: StandIn, connect: Callable[..., str]) -> tuple[str, str]:
    """Big leads go into the other base, the rest into the first."""
    stand_in.store.add_base(OTHER_BASE, "Big deals")
    stand_in.store.put_table(OTHER_BASE, OTHER_TABLE, "Big", [dict(item) for item in DEMO_COLUMNS])
    first, other = (
        connect("First", started=False),
        connect("Other", base=OTHER_BASE, table=OTHER_TABLE, started=False),
    )
    big = (Condition(field="amount", operator="greater", value="1000"),)
    with transaction():
        settings.save_routes([(other, big), (first, ())])
        settings.start(first)
        settings.start(other)
    return first, other


def test_each_lead_goes_where_the_rules_say(two: tuple[str, str], table: Table) -> None:
    keep(name="Small", amount="10")
    keep(name="Big", amount="5000")
    push()
    assert [row["name"] for row in table.rows()] == ["Small"]
    assert [row["name"] for row in table.rows(OTHER_TABLE)] == ["Big"]


def test_a_lead_that_belongs_elsewhere_moves_and_its_old_row_goes_by_policy(
    two: tuple[str, str], table: Table
) -> None:
    first, other = two
    lead = keep(name="Growing", amount="10")
    push()
    with transaction():
        settings.change_connection(first, {"local_deletions": "delete"})
        commands.change_lead(lead.id, {"amount": "2000"}, by=SYSTEM)
    push()
    push()
    assert table.rows() == []
    assert [row["id"] for row in table.rows(OTHER_TABLE)] == [lead.id]
    found = link(lead.id)
    assert found is not None
    assert (found.connection_id, found.elsewhere, found.due_at) == (other, [], None)


@pytest.fixture
def moving(two: tuple[str, str]) -> list[Lead]:
    """Leads on their way from the first table, where their rows are to be deleted, into the other."""
    first, other = two
    leads = [keep(name=f"Growing {number}", email=f"g{number}@example.com", amount="10") for number in "12"]
    push()
    with transaction():
        settings.pause(other)
        settings.change_connection(first, {"local_deletions": "delete"})
        for lead in leads:
            commands.change_lead(lead.id, {"amount": "2000"}, by=SYSTEM)
    push()
    with transaction():
        settings.start(other)
    return leads


@pytest.mark.parametrize("token", [{"token": "patRevoked"}, None])
def test_a_row_left_in_a_table_that_takes_no_call_waits_and_holds_up_no_other(
    two: tuple[str, str], moving: list[Lead], table: Table, token: dict[str, str] | None
) -> None:
    first, other = two
    with transaction() as session:
        session.get(AirtableConnection, first).token = token
    push()
    assert connection(other).error_code is None
    for lead in moving:
        found = link(lead.id)
        assert found is not None and found.due_at is not None
        assert found.due_at > utcnow() + timedelta(seconds=200)
        assert "First" in explain(found.error_code, found.last_error)

    keep(name="Big", email="big@example.com", amount="5000")
    push()
    assert {row["name"] for row in table.rows(OTHER_TABLE)} == {"Growing 1", "Growing 2", "Big"}
    assert len(table.rows()) == 2

    with transaction() as session:
        session.get(AirtableConnection, first).token = {"token": TOKEN}
    wake()
    push()
    assert table.rows() == []
    for lead in moving:
        found = link(lead.id)
        assert found is not None
        assert (found.elsewhere, found.due_at, found.error_code) == ([], None, None)


def test_a_row_left_in_a_table_whose_token_cannot_be_read_holds_up_no_other(
    two: tuple[str, str], moving: list[Lead], table: Table
) -> None:
    with transaction() as session:
        session.execute(
            text("UPDATE leads_airtable_connection SET token = :sealed WHERE name = 'First'"),
            {"sealed": b"sealed with another SECRET_KEY"},
            bind_arguments={"mapper": AirtableConnection.__mapper__},
        )
    push()
    keep(name="Big", email="big@example.com", amount="5000")
    push()
    assert {row["name"] for row in table.rows(OTHER_TABLE)} == {"Growing 1", "Growing 2", "Big"}
    found = link(moving[0].id)
    assert found is not None and found.error_code == "left_behind"
    assert connection(two[1]).error_code is None


def test_the_row_that_a_lead_left_behind_does_not_pull_it_back(two: tuple[str, str], table: Table) -> None:
    lead = keep(name="Growing", amount="10")
    push()
    with transaction():
        commands.change_lead(lead.id, {"amount": "2000"}, by=SYSTEM)
    push()
    push()
    table.edit(table.rows()[0]["record"], name="Old row")
    pull(full=True)
    push()
    assert len(table.rows()) == len(table.rows(OTHER_TABLE)) == 1
    found = link(lead.id)
    assert found is not None and found.connection_id == two[1]


def test_a_lead_that_no_rule_takes_is_written_nowhere(two: tuple[str, str], table: Table) -> None:
    with transaction():
        settings.save_routes([(two[1], (Condition(field="amount", operator="greater", value="1000"),))])
    lead = keep(name="Small", amount="10")
    push()
    assert table.rows() == [] and link(lead.id) is None


def test_one_bases_trouble_is_not_the_others(two: tuple[str, str], table: Table, stand_in: StandIn) -> None:
    stand_in.store.add_base(OTHER_BASE, "Big deals", permission="none")
    keep(name="Big", amount="5000")
    keep(name="Small", amount="10")
    push()
    assert [row["name"] for row in table.rows()] == ["Small"]
    assert connection(two[1]).error_code == "base_gone"
    assert connection(two[0]).state == "active"


def test_a_fault_of_ours_in_reading_one_table_rests_it_says_so_and_lets_the_others_be_read(
    two: tuple[str, str], table: Table
) -> None:
    first, other = two
    keep(name="Big", amount="5000")
    push()
    pull()
    table.edit(table.rows(OTHER_TABLE)[0]["record"], table=OTHER_TABLE, company="Smith Ltd")
    with transaction() as session:
        # What no code of ours should leave there, and what it stumbles over.
        session.get(AirtableConnection, first).pull_since = "no moment"
        session.get(AirtableConnection, first).next_pull_at = utcnow() - timedelta(hours=1)
        session.get(AirtableConnection, other).next_pull_at = utcnow()
    jobs.run(PULL_JOB)
    assert living()[0].company == "Smith Ltd"
    rests(first)
    assert connection(other).error_code is None


def test_a_fault_of_ours_in_writing_one_table_rests_it_says_so_and_lets_the_others_be_written(
    two: tuple[str, str], table: Table
) -> None:
    first, other = two
    small = keep(name="Small", amount="10")
    big = keep(name="Big", email="big@example.com", amount="5000")
    push()
    with transaction() as session:
        commands.change_lead(small.id, {"name": "Smaller"}, by=SYSTEM)
        commands.change_lead(big.id, {"name": "Bigger"}, by=SYSTEM)
        session.get(AirtableLink, small.id).shadow = {"name": None}
        session.get(AirtableConnection, first).pushed_at = utcnow() - timedelta(hours=1)
    push()
    assert [row["name"] for row in table.rows(OTHER_TABLE)] == ["Bigger"]
    rests(first)
    found = link(small.id)
    assert found is not None and found.due_at is not None
    assert connection(other).error_code is None


def test_a_job_that_takes_too_long_ends_its_turn_and_is_no_fault_of_the_connection(
    connect: Callable[..., str],
) -> None:
    connection_id = connect()
    with transaction():
        turn = take_turn("pull")
    assert turn is not None
    with pytest.raises(jobs.TookTooLong), calls.calls_of(turn):
        raise jobs.TookTooLong
    row = connection(connection_id)
    assert (row.error_code, row.held_until, row.claimed_until) == (None, None, None)


def rests(connection_id: str) -> None:
    """The connection waits for another try of itself, and tells why."""
    row = connection(connection_id)
    assert (row.state, row.error_code, row.failures, row.claimed_until) == ("active", "bug", 1, None)
    assert row.held_until is not None and row.held_until > utcnow()
    assert "nuestro propio programa" in explain(row.error_code, row.last_error)


def test_wrong_rules_are_refused_with_every_problem(two: tuple[str, str]) -> None:
    with pytest.raises(Invalid) as caught, transaction():
        settings.save_routes([("nowhere", ()), (two[0], ()), (two[1], (Condition(field="x", operator="y"),))])
    assert {item.code for item in caught.value.problems} == {
        "unknown_connection", "unknown_field", "unknown_operator", "two_defaults",
    }  # fmt: skip


def test_a_table_is_used_by_one_connection(two: tuple[str, str], connect: Callable[..., str]) -> None:
    with pytest.raises(Conflict):
        connect("Again")


def test_two_workers_at_once_write_each_lead_once(
    app: Flask, connect: Callable[..., str], table: Table, server: AirtableServer
) -> None:
    for number in range(45):
        keep(name=f"Person {number}")
    connect()
    pull()
    hurry()
    db.session.remove()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with app.app_context():
                jobs.run(PUSH_JOB)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(table.rows()) == 45
    writes = [item for item in server.requests if item.method == "PATCH"]
    assert sum(len(item.json["records"]) for item in writes) == 45


def test_calls_leave_at_four_a_second_and_none_is_saved_up(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(calls, "sleep", lambda seconds: (slept.append(seconds), TokenBucket.take))
    monkeypatch.setattr(calls, "LONGEST_WAIT", 0.7)
    calls._await("appPace")
    assert slept == []
    with pytest.raises(Exception, match="Others use this base"):
        calls._await("appPace")
    assert 0.2 < slept[0] <= 0.25


def test_a_closed_base_is_closed_for_every_process(app: Flask) -> None:
    calls._close("appClosed", 30)
    with pytest.raises(Exception, match="rests") as caught:
        calls._await("appClosed")
    assert 29 < caught.value.retry_after <= 30  # type: ignore[attr-defined]


def test_a_thousand_leads_need_a_hundred_calls(
    connect: Callable[..., str], table: Table, server: AirtableServer, clock: Clock
) -> None:
    with transaction():
        for number in range(200):
            commands.create_lead({"name": f"Person {number}"}, by=SYSTEM)
    connect()
    push()
    assert len(table.rows(TABLE)) == 200
    assert sum(1 for item in server.requests if item.method == "PATCH") == 20
    assert server.stand_in.refused == 0


def test_settings_are_checked_all_at_once(connect: Callable[..., str]) -> None:
    connection_id = connect()
    wrong: dict[str, Any] = {
        "name": " ",
        "policy": "dice",
        "direction": "up",
        "poll_minutes": 0,
        "token": "x" * 501,
    }
    with pytest.raises(Invalid) as caught, transaction():
        settings.change_connection(connection_id, wrong)
    assert {item.where for item in caught.value.problems} == {
        "/name", "/policy", "/direction", "/poll_minutes", "/token",
    }  # fmt: skip
