"""Events leave through a table, so that a crash after commit loses nothing.

publish() adds the event to its service's own outbox in the running transaction. The relay hands it to the
transport and keeps the row open until every listener has said that it handled it; what is not confirmed in time
is handed over again. The listener's side is app.kit.inbox. Redis in between may be lost at any moment.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from flask import current_app
from sqlalchemy import Index, String, Text, func, insert, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from app.contracts.events import EVENTS, LISTENERS, Event
from app.kit import db, interest, jobs, rows
from app.kit.context import request_id
from app.kit.errors import Temporary
from app.kit.redis_client import RedisError

HAND_OVER_BATCH = 200
"""Events the relay takes from one outbox at a time."""

CONFIRM_SECONDS = (15, 60, 300, 900)
"""How long to wait for a listener's confirmation before the n-th repeat; the last value goes on."""

DOWN_SECONDS = 3
"""When a transport that was down is tried again."""

KEEP_DAYS = 14
"""How long confirmed events and inbox rows are kept: longer than any repeat can take."""

_outboxes: dict[str, Any] = {}
_inboxes: dict[str, Any] = {}


@dataclass(frozen=True, kw_only=True)
class OutboxHealth:
    """How an outbox does: events not confirmed by all listeners, age of the oldest in seconds, dead letters."""

    service: str
    waiting: int
    oldest_seconds: float | None
    dead: int


def outbox_tables(base: Any, service: str) -> tuple[Any, Any]:
    """Declare the outbox and inbox of a service on its base; called once, in the service's models."""

    class Outbox(base):
        """Events of this service, until every listener has handled them."""

        __tablename__ = f"{service}_outbox"

        id: Mapped[db.Id] = mapped_column(primary_key=True, default=db.new_id)
        name: Mapped[str] = mapped_column(String(60))
        version: Mapped[int]
        subject: Mapped[str] = mapped_column(String(80), index=True)
        data: Mapped[Any] = mapped_column(db.Json)
        request_id: Mapped[str | None] = mapped_column(String(80))
        created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.utcnow)
        pending: Mapped[Any] = mapped_column(db.Json)  # listeners that have not confirmed yet
        attempts: Mapped[int] = mapped_column(default=0)
        next_attempt_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)
        delivered_at: Mapped[datetime | None] = mapped_column(db.UtcDateTime)

        __table_args__ = (
            Index(
                f"ix_{service}_outbox_due",
                "next_attempt_at",
                postgresql_where=text("delivered_at IS NULL"),
                sqlite_where=text("delivered_at IS NULL"),
            ),
        )

    class Inbox(base):
        """Events this service has handled, or failed to handle."""

        __tablename__ = f"{service}_inbox"

        event_id: Mapped[db.Id] = mapped_column(primary_key=True)
        handler: Mapped[str] = mapped_column(String(120), primary_key=True)
        name: Mapped[str] = mapped_column(String(60))
        state: Mapped[str] = mapped_column(String(10), index=True)  # done | failing | dead
        attempts: Mapped[int] = mapped_column(default=0)
        error: Mapped[str | None] = mapped_column(Text)
        event: Mapped[Any] = mapped_column(db.Json, nullable=True)  # the CloudEvent, kept only while not done
        handled_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.utcnow, index=True)

    Outbox.__name__, Inbox.__name__ = f"{service.title()}Outbox", f"{service.title()}Inbox"
    _outboxes[service], _inboxes[service] = Outbox, Inbox
    return Outbox, Inbox


def tables_of(service: str) -> tuple[Any, Any]:
    """(outbox, inbox) classes of a service whose models are loaded."""
    return _outboxes[service], _inboxes[service]


def publish(event: Event) -> None:
    """Record that `event` happened; it leaves after the running transaction has committed."""
    db.db.session.add(_outboxes[event.service](**_row(event)))
    if LISTENERS.get(type(event)):
        jobs.nudge(event.service, "outbox")


def publish_all(events: Sequence[Event], *, request_ids: Sequence[str | None]) -> None:
    """As publish(), for many events of one service, without waking the relay: who is done calls wake().

    Costs a fraction of as many rows of the ORM and, for small transactions in a row, of as many rounds of the relay.
    request_ids: of what caused each of them.
    """
    if events:
        table = _outboxes[events[0].service].__table__
        rows = [_row(event) | {"request_id": cause} for event, cause in zip(events, request_ids, strict=True)]
        db.db.session.execute(insert(table), rows)


def wake(service: str) -> None:
    """Have the relay look into this service's outbox now rather than at its next sweep."""
    jobs.nudge(service, "outbox")


def _row(event: Event) -> dict[str, Any]:
    listeners = list(LISTENERS.get(type(event), ()))
    now = db.utcnow()
    data = event.data()
    dumps(data)  # what has no form as JSON fails here, where it is made, and not for ever in the relay
    return {
        "name": event.name,
        "version": event.version,
        "subject": event.subject,
        "data": data,
        "request_id": request_id(),
        "pending": listeners,
        "next_attempt_at": now if listeners else None,
        "delivered_at": None if listeners else now,
    }


def as_cloud_event(row: Any) -> dict[str, Any]:
    """The row as a CloudEvents 1.0 document (structured mode, JSON); the same bytes at every repeat."""
    service = EVENTS[row.name].service if row.name in EVENTS else "unknown"
    return {
        "specversion": "1.0",
        "id": row.id,
        "source": f"/embudo/{service}",
        "type": f"embudo.{row.name}.v{row.version}",
        "subject": row.subject,
        "time": row.created_at.isoformat(),
        "datacontenttype": "application/json",
        "requestid": row.request_id,
        "data": row.data,
    }


def hand_over(service: str) -> int:
    """Give the transport what is due in this service's outbox; how many events that were. Relay only.

    Listeners that do not want an event are left out; an event that nobody wants is settled.
    Raises Temporary or RedisError when the transport is down; then the events are due again in a moment.
    """
    outbox = _outboxes[service]
    now = db.utcnow()
    with db.transaction() as session:
        columns = (
            outbox.id, outbox.name, outbox.version, outbox.subject, outbox.data, outbox.request_id,
            outbox.created_at, outbox.pending, outbox.attempts,
        )  # fmt: skip
        rows = session.execute(
            select(*columns)
            .where(outbox.delivered_at.is_(None), outbox.next_attempt_at <= now)
            .order_by(outbox.id)
            .limit(HAND_OVER_BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        letters = []
        settled: dict[tuple[str, ...], list[str]] = {}
        wanted = _Wanted()
        for row in rows:
            listeners = tuple(name for name in row.pending if wanted(name, row.name))
            if len(listeners) < len(row.pending):
                settled.setdefault(listeners, []).append(row.id)
            if listeners:
                letters.append((as_cloud_event(row), listeners))
        _settle(session, outbox, settled)
        sent = {letter["id"] for letter, _ in letters}
        for attempts in {row.attempts for row in rows if row.id in sent}:  # nearly always one
            wait = CONFIRM_SECONDS[min(attempts, len(CONFIRM_SECONDS) - 1)]
            session.execute(
                update(outbox)
                .where(outbox.id.in_([row.id for row in rows if row.id in sent and row.attempts == attempts]))
                .values(
                    attempts=attempts + 1,
                    next_attempt_at=now + timedelta(seconds=wait * random.uniform(1, 1.3)),
                )
                .execution_options(synchronize_session=False)
            )
    if letters:
        try:
            safe = current_app.extensions["embudo_transport"].send(letters)
        except (RedisError, Temporary):
            _take_back(outbox, [letter["id"] for letter, _ in letters])
            raise
        confirm(service, safe)
    return len(rows)


class _Wanted:
    """Whether a listener wants an event, as far as it told; each listener is asked once."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str] | None] = {}

    def __call__(self, listener: str, event_name: str) -> bool:
        if listener not in self._names:
            self._names[listener] = interest.names(listener)
        names = self._names[listener]
        return names is None or event_name in names


def _settle(session: Any, outbox: Any, left: dict[tuple[str, ...], list[str]]) -> None:
    """Write who is still to confirm: ids of events by their remaining listeners. Without any they are done."""
    for listeners, ids in left.items():
        done = {} if listeners else {"delivered_at": db.utcnow()}
        session.execute(
            update(outbox)
            .where(outbox.id.in_(ids))
            .values(pending=list(listeners), **done)
            .execution_options(synchronize_session=False)
        )


def _take_back(outbox: Any, ids: list[str]) -> None:
    """What the transport did not take does not wait for a confirmation, however long the outage lasts."""
    with db.transaction() as session:
        session.execute(
            update(outbox.__table__)
            .where(outbox.id.in_(ids), outbox.delivered_at.is_(None))
            .values(
                next_attempt_at=db.utcnow() + timedelta(seconds=DOWN_SECONDS), attempts=outbox.attempts - 1
            )
        )


def confirm(service: str, confirmations: Iterable[tuple[str, str]]) -> None:
    """Take note that listeners have handled events: pairs of (event id, listener). Relay only."""
    by_event: dict[str, set[str]] = {}
    for event_id, listener in confirmations:
        by_event.setdefault(event_id, set()).add(listener)
    if not by_event:
        return
    outbox = _outboxes[service]
    with db.transaction() as session:
        rows = session.execute(
            select(outbox.id, outbox.pending)
            .where(outbox.id.in_(by_event), outbox.delivered_at.is_(None))
            .order_by(outbox.id)
            .with_for_update()
        ).all()
        left: dict[tuple[str, ...], list[str]] = {}
        for row in rows:
            left.setdefault(tuple(name for name in row.pending if name not in by_event[row.id]), []).append(
                row.id
            )
        _settle(session, outbox, left)


def due(service: str) -> bool:
    """Whether this service's outbox has something to hand over now."""
    outbox = _outboxes[service]
    where = (outbox.delivered_at.is_(None), outbox.next_attempt_at <= db.utcnow())
    return db.db.session.execute(select(outbox.id).where(*where).limit(1)).first() is not None


def purge(service: str) -> bool:
    """Forget a batch of what is confirmed and older than any repeat; whether there may be more."""
    limit = db.utcnow() - timedelta(days=KEEP_DAYS)
    outbox, inbox = _outboxes[service], _inboxes[service]
    with db.transaction():
        # Who was delivered before the limit was made before it: ids have an index, delivered_at has none.
        sent = rows.delete_some(
            outbox, outbox.id < db.first_id_at(limit), outbox.delivered_at < limit, order_by=outbox.id
        )
        heard = rows.delete_some(
            inbox, inbox.state == "done", inbox.handled_at < limit, order_by=inbox.handled_at
        )
    return max(sent, heard) == rows.DELETE_BATCH


def hurry(service: str) -> None:
    """Hand over again at once all that is not confirmed; after Redis was lost there is nothing to wait for."""
    outbox = _outboxes[service]
    with db.transaction() as session:
        session.execute(
            update(outbox.__table__)
            .where(outbox.delivered_at.is_(None), outbox.attempts > 0)
            .values(next_attempt_at=db.utcnow(), attempts=1)
        )


def health() -> list[OutboxHealth]:
    """How the outboxes of the served services do."""
    return [health_of(service) for service in current_app.extensions["embudo_services"]]


def health_of(service: str) -> OutboxHealth:
    """How one service's outbox does, and how many letters its inbox holds that are dead."""
    outbox, inbox = _outboxes[service], _inboxes[service]
    waiting, oldest = db.db.session.execute(
        select(func.count(), func.min(outbox.created_at)).where(outbox.delivered_at.is_(None))
    ).one()
    dead = db.db.session.scalar(select(func.count()).select_from(inbox).where(inbox.state == "dead"))
    age = None if oldest is None else (db.utcnow() - oldest).total_seconds()
    return OutboxHealth(service=service, waiting=waiting, oldest_seconds=age, dead=dead or 0)


def dumps(letter: dict[str, Any]) -> bytes:
    """The CloudEvent as bytes; keys sorted, so that a repeat is recognised by equality."""
    return orjson.dumps(letter, option=orjson.OPT_SORT_KEYS)
