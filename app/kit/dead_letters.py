"""Events that a listener failed to handle: tried again by a schedule, then kept until a person decides.

The letter lies in the listener's own inbox row, not in Redis or in the broker: both would redeliver at once and for
ever, and both may be lost. So a failing handler costs one row, blocks nobody, and is seen in the admin.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from flask import current_app
from sqlalchemy import ColumnElement, and_, func, or_, select

from app.kit import db, jobs, outbox, telemetry
from app.kit.inbox import HANDLER_ATTEMPTS, receive, received, retry_wait

RETRY_BATCH = 50
"""Letters that are due again and taken at a time."""

SHOWN_CHARS = 4000
"""So much of a letter's data is shown."""


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """An event that `handler` of `service` could not handle.

    error: what the last attempt said, masked. data: the event's fields as JSON, masked, cut to SHOWN_CHARS.
    failed_at: last attempt.
    """

    service: str
    event_id: str
    handler: str
    name: str
    attempts: int
    error: str
    data: str
    failed_at: datetime


def job_name(listener: str) -> str:
    """Name of the job that handles a service's letters."""
    return f"{listener}.receive_events"


def due(service: str) -> bool:
    """Whether a letter of this service is to be tried again now."""
    _, inbox = outbox.tables_of(service)
    return db.db.session.execute(select(inbox.event_id).where(_is_due(inbox)).limit(1)).first() is not None


def retry_due(service: str, deadline: float) -> None:
    """Try again everything that is due until the deadline, but at least one; each in its own transaction."""
    _, inbox = outbox.tables_of(service)
    while True:
        with db.transaction() as session:
            found = session.execute(
                select(inbox.event_id, inbox.handler, inbox.attempts, inbox.event)
                .where(_is_due(inbox))
                .order_by(inbox.handled_at)
                .limit(RETRY_BATCH)
            ).all()
        for event_id, handler, attempts, letter in found:
            if receive(service, letter) is None:
                _settle(inbox, (event_id, handler), attempts)
            if jobs.is_over(deadline):
                return
        if len(found) < RETRY_BATCH:
            return


def _is_due(inbox: Any) -> ColumnElement[bool]:
    now = db.utcnow()
    waited = (
        and_(inbox.attempts == attempts, inbox.handled_at <= now - timedelta(seconds=retry_wait(attempts)))
        for attempts in range(HANDLER_ATTEMPTS)
    )
    return and_(inbox.state == "failing", or_(*waited))


def _settle(inbox: Any, key: tuple[str, str], attempts: int) -> None:
    """A letter that this release does not want any more is done, else it would be due for ever."""
    with db.transaction() as session:
        row = session.get(inbox, key, with_for_update=True)
        if row is not None and row.state == "failing" and row.attempts == attempts:
            row.state, row.event = "done", None


def dead(service: str, *, limit: int = 100) -> list[DeadLetter]:
    """The service's dead letters, the latest failure first."""
    _, inbox = outbox.tables_of(service)
    rows = db.db.session.scalars(
        select(inbox)
        .where(inbox.state == "dead")
        .order_by(inbox.handled_at.desc(), inbox.event_id, inbox.handler)
        .limit(limit)
    )
    return [_shown(service, row) for row in rows]


def _shown(service: str, row: Any) -> DeadLetter:
    fields = telemetry.mask((row.event or {}).get("data", {}))
    return DeadLetter(
        service=service,
        event_id=row.event_id,
        handler=row.handler,
        name=row.name,
        attempts=row.attempts,
        error=row.error or "",
        data=orjson.dumps(fields, option=orjson.OPT_INDENT_2).decode()[:SHOWN_CHARS],
        failed_at=row.handled_at,
    )


def counts() -> dict[str, tuple[int, int]]:
    """(dead, failing and tried again) letters of each served service."""
    found = {}
    for service in current_app.extensions["embudo_services"]:
        _, inbox = outbox.tables_of(service)
        rows = db.db.session.execute(
            select(inbox.state, func.count())
            .where(inbox.state.in_(["dead", "failing"]))
            .group_by(inbox.state)
        )
        by_state: dict[str, int] = {state: count for state, count in rows}  # noqa: C416 (rows are tuples only when unpacked)
        found[service] = (by_state.get("dead", 0), by_state.get("failing", 0))
    return found


def replay(service: str, event_id: str, handler: str) -> None:
    """Give a dead letter its attempts back and try it again soon; raises LookupError when it is not dead.

    Inside the running transaction.
    """
    row = _dead_row(service, event_id, handler)
    row.state, row.attempts, row.handled_at = "failing", 0, db.utcnow()
    jobs.ring(job_name(service))


def replay_all(service: str) -> int:
    """The same for all dead letters of a service, inside the running transaction; how many they were."""
    _, inbox = outbox.tables_of(service)
    found: Any = db.db.session.execute(
        inbox.__table__.update()
        .where(inbox.state == "dead")
        .values(state="failing", attempts=0, handled_at=db.utcnow())
    )
    jobs.ring(job_name(service))
    return int(found.rowcount)


def dismiss(service: str, event_id: str, handler: str) -> None:
    """Give a dead letter up, inside the running transaction; raises LookupError when it is not dead."""
    row = _dead_row(service, event_id, handler)
    row.state, row.event, row.handled_at = "done", None, db.utcnow()


def forget(service: str, names: Collection[str], **data: str) -> None:
    """Give up failing and dead letters of these names and this data that are older than the event being handled.

    For what is gone (app.kit.gone), inside the running transaction. A letter that somebody has in hand is left to them.
    """
    _, inbox = outbox.tables_of(service)
    about = (inbox.event["data"][field].as_string() == value for field, value in data.items())
    rows = db.db.session.scalars(
        select(inbox)
        .where(inbox.state.in_(["failing", "dead"]), inbox.name.in_(names), *about)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    for row in rows:
        if datetime.fromisoformat(row.event["time"]) < received().at:
            row.state, row.event, row.error, row.handled_at = "done", None, None, db.utcnow()


def _dead_row(service: str, event_id: str, handler: str) -> Any:
    _, inbox = outbox.tables_of(service)
    row = db.db.session.get(inbox, (event_id, handler), with_for_update=True)
    if row is None or row.state != "dead":
        raise LookupError(event_id)
    return row
