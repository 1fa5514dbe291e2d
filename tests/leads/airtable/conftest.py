"""A stand-in on a real socket, a connection to it, and a clock that nobody waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from app.kit import jobs
from app.kit.db import db, transaction, utcnow
from app.kit.redis_client import redis
from app.leads.commands import airtable_settings as settings
from app.leads.jobs import PULL_JOB, PUSH_JOB, calls
from app.leads.jobs.calls import plain_columns
from app.leads.models import AirtableConnection, AirtableLink
from app.leads.providers.airtable import Airtable
from app.leads.providers.fake import LEADS_BASE, Ask, StandIn, Store
from tests.fakes.loopback import Answer, LoopbackServer, Received

TOKEN = "patTest.0123456789"
TABLE = "tblEmbudoLeads000"
COLUMN = {
    "name": "fldEmbudoName0000", "company": "fldEmbudoCompany0", "email": "fldEmbudoEmail000",
    "phone": "fldEmbudoPhone000", "stage": "fldEmbudoStage000", "amount": "fldEmbudoAmount00",
    "next_contact_on": "fldEmbudoNextCon0", "tags": "fldEmbudoTags0000", "notes": "fldEmbudoNotes000",
    "owner_name": "fldEmbudoOwner000", "id": "fldEmbudoLeadId00", "modified": "fldEmbudoModified",
}  # fmt: skip


class Clock:
    """Seconds since 1970 that pass when they are told to. step: how many pass with each look."""

    def __init__(self) -> None:
        self.now = utcnow().timestamp()
        self.step = 0.25

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class AirtableServer(LoopbackServer):
    """The stand-in behind a socket that stalls and drops when told to."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        super().__init__()

    def handle(self, request: Received) -> Answer:
        from urllib.parse import parse_qs

        answer = self.stand_in.handle(
            Ask(
                method=request.method,
                path=request.path,
                query=parse_qs(request.query),
                token=request.headers.get("authorization", "").removeprefix("Bearer "),
                body=request.body,
            )
        )
        return Answer(status=answer.status, body=answer.payload)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        handler: Any = super()._handler()
        handler.do_PATCH = handler.do_PUT = handler.do_POST
        return handler


class Table:
    """What a person sees and does in Airtable."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in, self.store = stand_in, stand_in.store

    def rows(self, table: str = TABLE) -> list[dict[str, Any]]:
        """The records by our names of the columns."""
        names = {column: name for name, column in COLUMN.items()}
        return [
            {names.get(key, key): value for key, value in cells.items()} | {"record": record_id}
            for record_id, cells in self.store.records(table)
        ]

    def edit(self, record_id: str | None, table: str = TABLE, **cells: Any) -> str:
        """Type into cells; None adds a row."""
        return self.stand_in.edit(table, record_id, {COLUMN[name]: value for name, value in cells.items()})

    def remove(self, *record_ids: str) -> None:
        """Delete rows."""
        self.stand_in.remove(TABLE, list(record_ids))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pings() -> list[Any]:
    return []


@pytest.fixture
def stand_in(clock: Clock, pings: list[Any]) -> Iterator[StandIn]:
    store = Store()
    store.seed_demo()
    yield StandIn(store, token=TOKEN, clock=clock, ping=pings.append)
    store.close()


@pytest.fixture
def table(stand_in: StandIn) -> Table:
    return Table(stand_in)


@pytest.fixture
def server(stand_in: StandIn) -> Iterator[AirtableServer]:
    with AirtableServer(stand_in) as running:
        yield running


@pytest.fixture
def api(server: AirtableServer) -> Airtable:
    return Airtable(TOKEN, endpoint=server.url)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own pace is tested apart; here nobody waits for it."""
    monkeypatch.setattr(calls, "RATE", 100_000.0)


@pytest.fixture
def connect(
    app: Flask, server: AirtableServer, fast: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Connect to a table and start; returns the connection's id."""
    monkeypatch.setitem(app.config, "AIRTABLE_ENDPOINT_URL", server.url)

    def make(
        name: str = "Sales",
        *,
        base: str = LEADS_BASE,
        table: str = TABLE,
        started: bool = True,
        **values: Any,
    ) -> str:
        api = Airtable(TOKEN, endpoint=server.url)
        base_info = next(item for item in api.bases() if item.id == base)
        info = next(item for item in api.tables(base) if item.id == table)
        with transaction():
            row = settings.add_connection(name=name, token=TOKEN)
            settings.choose_table(row.id, base_info, info, plain_columns(info))
            settings.change_connection(row.id, {"webhook_wanted": False, **values})
            if started:
                settings.start(row.id)
        return str(row.id)

    return make


def hurry() -> None:
    """The quiet seconds after a change are over."""
    with transaction() as session:
        session.execute(
            update(AirtableLink)
            .where(AirtableLink.due_at.is_not(None))
            .values(due_at=utcnow() - timedelta(seconds=1))
            .execution_options(synchronize_session=False)
        )
    db.session.expire_all()


def push() -> None:
    """The worker's push, now."""
    hurry()
    jobs.run(PUSH_JOB)
    db.session.expire_all()


def pull(*, full: bool = False) -> None:
    """The worker's pull, as if it were due."""
    values: dict[str, Any] = {"next_pull_at": utcnow()}
    if full:
        values["next_full_at"] = utcnow()
    with transaction() as session:
        session.execute(
            update(AirtableConnection)
            .where(AirtableConnection.state == "active")
            .values(**values)
            .execution_options(synchronize_session=False)
        )
    jobs.run(PULL_JOB)
    db.session.expire_all()


def wake() -> None:
    """Whatever pause there was is over."""
    for key in redis().scan_iter("embudo:airtable:closed:*"):
        redis().delete(key)
    for key in redis().scan_iter("embudo:breaker:*"):
        redis().delete(key)
    with transaction() as session:
        session.execute(
            update(AirtableConnection).values(held_until=None).execution_options(synchronize_session=False)
        )
    db.session.expire_all()


def connection(connection_id: str) -> AirtableConnection:
    db.session.rollback()
    db.session.expire_all()
    row = db.session.get(AirtableConnection, connection_id)
    assert row is not None
    return row


def link(lead_id: str) -> AirtableLink | None:
    db.session.rollback()
    db.session.expire_all()
    return db.session.get(AirtableLink, lead_id)
