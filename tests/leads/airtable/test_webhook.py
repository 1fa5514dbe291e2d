"""Airtable tells us that something changed: genuine or not, once or again, complete or with a gap."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from app.kit import jobs
from app.kit.auth import SYSTEM
from app.kit.db import db, transaction, utcnow
from app.kit.redis_client import redis
from app.leads import commands
from app.leads.commands import airtable_settings as settings
from app.leads.jobs import PULL_JOB
from app.leads.models import AirtableConflict, AirtableConnection
from app.leads.providers import MAC_HEADER, mac
from app.leads.providers.fake import LEADS_BASE, Ask, StandIn
from app.leads.queries import airtable as queries
from tests.fakes.loopback import Answer, Drop
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
)
from tests.leads.airtable.test_admin import post
from tests.leads.people import keep, living, timeline


@pytest.fixture
def hooked(app: Flask, connect: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A connection whose table tells us of changes."""
    monkeypatch.setitem(app.config, "PUBLIC_URL", "https://leads.example.com")

    def make(**values: Any) -> str:
        connection_id = connect(webhook_wanted=True, **values)
        pull()
        assert connection(connection_id).webhook_id
        return connection_id

    return make


def deliver(client: FlaskClient, pings: list[Any], number: int = -1) -> Any:
    ping = pings[number]
    path = ping.url.removeprefix("https://leads.example.com")
    return client.post(
        path, data=ping.body, headers={MAC_HEADER: ping.mac, "Content-Type": "application/json"}
    )


def drain_now() -> None:
    """The pull that the ping rang for."""
    jobs.run(PULL_JOB)
    db.session.expire_all()


def listings(server: AirtableServer, since: int) -> list[Any]:
    return [item for item in server.requests[since:] if item.method == "GET" and item.path.count("/") == 3]


def test_a_ping_brings_the_change_in_without_reading_the_table(
    hooked: Callable[..., str], client: FlaskClient, table: Table, pings: list[Any], server: AirtableServer
) -> None:
    lead = keep()
    connection_id = hooked()
    push()
    drain_now()
    pull()
    table.edit(table.rows()[0]["record"], company="Smith Ltd", stage="Ganado")
    before = len(server.requests)
    redis().flushdb()
    assert deliver(client, pings).status_code == 204
    assert any(b"pull_airtable" in item for item in redis().lrange("embudo:nudges:leads", 0, -1))
    drain_now()
    assert (living()[0].company, living()[0].stage_key) == ("Smith Ltd", "won")
    assert listings(server, before) == []
    assert connection(connection_id).webhook_cursor > 1
    assert timeline(lead.id)[-1] == "changed"


def test_our_own_writes_come_back_as_payloads_and_change_nothing(
    hooked: Callable[..., str], table: Table, server: AirtableServer
) -> None:
    lead = keep(name="Ann", tags=["vip"], amount="12.5", stage="won")
    hooked()
    push()
    events = timeline(lead.id)
    pull()
    before = len(server.requests)
    push()
    assert timeline(lead.id) == events
    assert not [item for item in server.requests[before:] if item.method == "PATCH"]


def test_of_several_edits_before_the_drain_only_the_last_counts(
    hooked: Callable[..., str], table: Table
) -> None:
    lead = keep()
    hooked()
    push()
    pull()
    row = table.rows()[0]["record"]
    for word in ("S", "Sm", "Smith"):
        table.edit(row, company=word)
    pull()
    assert living()[0].company == "Smith"
    assert timeline(lead.id).count("changed") == 1


def test_rows_added_and_deleted_come_through_the_webhook(hooked: Callable[..., str], table: Table) -> None:
    hooked(remote_deletions="delete")
    row = table.edit(None, name="Bea", email="bea@example.com")
    pull()
    push()
    assert [lead.name for lead in living()] == ["Bea"]
    table.remove(row)
    pull()
    assert living() == []


def payload(second: int, **changes: Any) -> dict[str, Any]:
    return {
        "timestamp": f"2026-01-01T00:00:{second:02}.000Z",
        "baseTransactionNumber": second,
        "payloadFormat": "v0",
        "changedTablesById": {TABLE: changes},
    }


def created(record: str, cells: dict[str, Any]) -> dict[str, Any]:
    entry = {"createdTime": "2026-01-01T00:00:00.000Z", "cellValuesByFieldId": cells}
    return {"createdRecordsById": {record: entry}}


def tell(server: AirtableServer, connection_id: str, *payloads: dict[str, Any]) -> None:
    """The next reading of payloads is answered with these."""
    cursor = connection(connection_id).webhook_cursor + len(payloads)
    server.plan(Answer(body={"payloads": list(payloads), "cursor": cursor, "mightHaveMore": False}))


def test_a_row_that_was_deleted_and_restored_keeps_its_lead(
    hooked: Callable[..., str], table: Table, server: AirtableServer
) -> None:
    lead = keep(name="Ann")
    connection_id = hooked(remote_deletions="delete")
    push()
    pull()
    record = table.rows()[0]["record"]
    cells = {COLUMN["name"]: "Ann", COLUMN["id"]: lead.id, COLUMN["company"]: "Smith Ltd"}
    tell(
        server,
        connection_id,
        payload(1, destroyedRecordIds=[record]),
        payload(2, **created(record, cells)),
    )
    pull()
    found = link(lead.id)
    assert found is not None and (found.record_id, found.status) == (record, "synced")
    assert [item.company for item in living()] == ["Smith Ltd"]


def test_a_row_that_was_restored_and_deleted_again_is_gone(
    hooked: Callable[..., str], table: Table, server: AirtableServer
) -> None:
    lead = keep(name="Ann")
    connection_id = hooked(remote_deletions="delete")
    push()
    pull()
    record = table.rows()[0]["record"]
    tell(
        server,
        connection_id,
        payload(1, destroyedRecordIds=[record]),
        payload(2, **created(record, {COLUMN["name"]: "Ann", COLUMN["id"]: lead.id})),
        payload(3, destroyedRecordIds=[record]),
    )
    pull()
    assert living() == []


def test_the_later_edit_wins_field_by_field_although_the_row_was_edited_again(
    hooked: Callable[..., str], table: Table, clock: Clock
) -> None:
    lead = keep(name="Ann")
    hooked()
    push()
    pull()
    record = table.rows()[0]["record"]
    clock.now -= 3600
    table.edit(record, company="Theirs, an hour ago")
    with transaction():
        commands.change_lead(lead.id, {"company": "Ours, just now", "notes": "Ours, just now"}, by=SYSTEM)
    clock.now += 3660
    table.edit(record, notes="Theirs, later")
    pull()
    push()
    assert (living()[0].company, living()[0].notes) == ("Ours, just now", "Theirs, later")
    assert (table.rows()[0]["company"], table.rows()[0]["notes"]) == ("Ours, just now", "Theirs, later")
    clashes = db.session.scalars(select(AirtableConflict).order_by(AirtableConflict.field)).all()
    assert [(clash.field, clash.winner) for clash in clashes] == [("company", "ours"), ("notes", "airtable")]


@pytest.mark.parametrize("header", ["", "hmac-sha256=" + "0" * 64, "wrong"])
def test_a_forged_ping_is_refused_and_notes_nothing(
    hooked: Callable[..., str], client: FlaskClient, table: Table, pings: list[Any], header: str
) -> None:
    connection_id = hooked()
    table.edit(None, name="Bea")
    before = connection(connection_id).next_pull_at
    answer = client.post(
        f"/airtable/notify/{connection_id}", data=pings[-1].body, headers={MAC_HEADER: header}
    )
    assert answer.status_code == 403
    assert connection(connection_id).next_pull_at == before
    assert connection(connection_id).webhook_pinged == ""


def test_a_ping_of_another_webhook_is_refused(
    hooked: Callable[..., str], client: FlaskClient, table: Table
) -> None:
    connection_id = hooked()
    secret = connection(connection_id).webhook_secret["mac"]
    body = json.dumps(
        {"base": {"id": LEADS_BASE}, "webhook": {"id": "achOther"}, "timestamp": "2026"}
    ).encode()
    path = f"/airtable/notify/{connection_id}"
    assert client.post(path, data=body, headers={MAC_HEADER: mac(secret, body)}).status_code == 403
    assert client.post(path, data=b"[]", headers={MAC_HEADER: mac(secret, b"[]")}).status_code == 400
    assert client.post("/airtable/notify/nobody", data=body).status_code == 404
    assert client.post(path, data=b"x" * 20_000).status_code == 413


def test_a_replayed_ping_rings_nobody(
    hooked: Callable[..., str], client: FlaskClient, table: Table, pings: list[Any]
) -> None:
    connection_id = hooked()
    table.edit(None, name="Bea")
    assert deliver(client, pings).status_code == 204
    drain_now()
    after = connection(connection_id).next_pull_at
    redis().flushdb()
    assert deliver(client, pings).status_code == 204
    assert connection(connection_id).next_pull_at == after
    assert redis().lrange("embudo:nudges:leads", 0, -1) == []


def test_a_ping_while_the_table_is_read_is_followed_by_another_reading(
    hooked: Callable[..., str],
    client: FlaskClient,
    table: Table,
    pings: list[Any],
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was edited after Airtable had told us the changes must not wait for the hourly reading."""
    keep()
    hooked()
    push()
    drain_now()
    pull()
    record = table.rows()[0]["record"]
    table.edit(record, company="First Ltd")
    deliver(client, pings)
    answer, statuses = stand_in.handle, []

    def edited_meanwhile(ask: Ask) -> Any:
        answered = answer(ask)
        if ask.path.endswith("/payloads") and not statuses:
            table.edit(record, company="Second Ltd")
            with client.application.app_context():  # in the server's own thread
                statuses.append(deliver(client, pings).status_code)
        return answered

    monkeypatch.setattr(stand_in, "handle", edited_meanwhile)
    redis().flushdb()
    drain_now()
    assert statuses == [204]
    assert living()[0].company == "First Ltd"
    assert queries.pull_is_due()
    assert redis().lrange("embudo:nudges:leads", 0, 0) == [b"job:leads.pull_airtable"]
    drain_now()
    assert living()[0].company == "Second Ltd"
    assert not queries.pull_is_due()


def test_a_gap_in_the_payloads_means_reading_everything(
    hooked: Callable[..., str], table: Table, clock: Clock, server: AirtableServer
) -> None:
    keep()
    connection_id = hooked()
    push()
    row = table.rows()[0]["record"]
    table.edit(row, company="Lost in the gap")
    clock.now += 6 * 86_400
    prolong(server, connection_id)
    clock.now += 2 * 86_400
    table.edit(row, notes="after the gap")
    pull()
    assert (living()[0].company, living()[0].notes) == ("Lost in the gap", "after the gap")


def prolong(server: AirtableServer, connection_id: str) -> None:
    from app.leads.providers.airtable import Airtable
    from tests.leads.airtable.conftest import TOKEN

    Airtable(TOKEN, endpoint=server.url).refresh_webhook(LEADS_BASE, connection(connection_id).webhook_id)


def test_a_webhook_that_somebody_removed_is_made_again_and_nothing_is_missed(
    hooked: Callable[..., str], table: Table, server: AirtableServer
) -> None:
    keep()
    connection_id = hooked()
    push()
    old = connection(connection_id).webhook_id
    with table.store.transaction() as file:
        file.execute("DELETE FROM hook")
    table.edit(table.rows()[0]["record"], company="Unheard")
    pull()
    assert living()[0].company == "Unheard"
    pull()
    assert connection(connection_id).webhook_id not in ("", old)


def test_a_webhook_near_its_end_is_prolonged(hooked: Callable[..., str], clock: Clock) -> None:
    connection_id = hooked()
    with transaction() as session:
        session.execute(
            update(AirtableConnection)
            .values(webhook_expires_at=utcnow() + timedelta(hours=40))
            .execution_options(synchronize_session=False)
        )
    pull()
    expires = connection(connection_id).webhook_expires_at
    assert expires is not None and expires - utcnow() > timedelta(days=6)


def test_when_the_base_has_its_ten_webhooks_the_table_is_polled_and_it_says_why(
    app: Flask, connect: Callable[..., str], api: Any, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "PUBLIC_URL", "https://leads.example.com")
    for _ in range(10):
        api.create_webhook(LEADS_BASE, "tblEmbudoLeads000", "https://elsewhere.example.com")
    connection_id = connect(webhook_wanted=True)
    pull()
    row = connection(connection_id)
    assert (row.webhook_id, row.webhook_error, row.webhook_wanted) == ("", "full", False)
    table.edit(None, name="Bea")
    pull()
    assert len(living()) == 1


def test_a_column_deleted_in_airtable_is_noticed_by_its_payload_or_the_next_write(
    hooked: Callable[..., str], table: Table
) -> None:
    lead = keep()
    connection_id = hooked()
    push()
    columns = [item for item in table.store.columns("tblEmbudoLeads000") if item["id"] != COLUMN["notes"]]
    table.store.put_table(LEADS_BASE, "tblEmbudoLeads000", "Leads", columns)
    with transaction():
        commands.change_lead(lead.id, {"notes": "x"}, by=SYSTEM)
    push()
    assert connection(connection_id).error_code == "column_gone"
    with transaction():
        settings.resync(connection_id)
    assert len(living()) == 1


@pytest.mark.parametrize("reachable", [True, False])
def test_a_connection_that_is_forgotten_takes_its_webhook_along_if_it_can(
    admin: FlaskClient, hooked: Callable[..., str], server: AirtableServer, api: Any, reachable: bool
) -> None:
    connection_id = hooked()
    assert len(api.webhooks(LEADS_BASE)) == 1
    if not reachable:
        server.plan(Drop())
    post(admin, f"/admin/airtable/remove/{connection_id}")
    db.session.rollback()
    assert queries.connections() == []
    assert len(api.webhooks(LEADS_BASE)) == (0 if reachable else 1)
