"""What Prometheus is told of a connection: whether a person rests it, or it waits for a person."""

from __future__ import annotations

from collections.abc import Callable

from app.kit.db import transaction
from app.leads import metrics
from app.leads.commands import airtable_settings as settings
from tests.fakes.loopback import Drop
from tests.leads.airtable.conftest import TABLE, TOKEN, AirtableServer, Table, connection, pull, push, wake
from tests.leads.people import keep

Connect = Callable[..., str]

WORKS, PAUSED, STOPPED = (0.0, 0.0), (1.0, 0.0), (0.0, 1.0)


def told() -> tuple[float, float]:
    """The gauges for paused and stopped of the one connection."""
    found = {gauge.name: value for gauge, _, value in metrics._airtable()}
    return found["embudo_airtable_paused"], found["embudo_airtable_stopped"]


def test_a_pause_is_a_persons_and_no_fault(connect: Connect) -> None:
    connection_id = connect()
    assert told() == WORKS
    with transaction():
        settings.pause(connection_id)
    assert told() == PAUSED


def test_a_connection_whose_table_is_gone_waits_for_a_person(connect: Connect, table: Table) -> None:
    keep()
    connection_id = connect()
    push()
    table.store.drop_table(TABLE)
    pull(full=True)
    assert connection(connection_id).state == "stopped"
    assert told() == STOPPED


def test_a_connection_whose_token_is_refused_waits_for_a_person_until_it_is_taken_again(
    connect: Connect,
) -> None:
    connection_id = connect()
    keep()
    with transaction():
        settings.change_connection(connection_id, {"token": "patWrong"})
    push()
    assert told() == STOPPED
    with transaction():
        settings.change_connection(connection_id, {"token": TOKEN})
    wake()
    push()
    assert told() == WORKS


def test_a_rest_that_ends_by_itself_is_neither(connect: Connect, server: AirtableServer) -> None:
    connection_id = connect()
    keep()
    server.plan(Drop())
    push()
    assert connection(connection_id).held_until is not None
    assert told() == WORKS
