"""Events become messages and deliveries; deliveries are asked for again; old and personal data go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update

from app.contracts.events import Event
from app.contracts.problems import problem
from app.kit import telemetry
from app.kit.context import request_id
from app.kit.db import db, new_id, utcnow
from app.kit.errors import Conflict
from app.kit.jobs import ring
from app.kit.rows import insert_once
from app.webhooks import queries
from app.webhooks.models import FAILED, PENDING, Delivery, Endpoint, Message
from app.webhooks.signing import envelope

DELIVER_JOB = "webhooks.deliver"

TEST_EVENT = "endpoint.test"
"""Type of the message that a person sends to try an endpoint; it is tried once."""

KEEP = timedelta(days=30)
"""How long the log is kept: ten times the longest series of tries, so that a holiday's failures can be replayed."""

PURGE_BATCH = 1000

REPLAY_LIMIT = 10_000
"""Deliveries that one “replay all” takes; more are taken by asking again."""

ERASED = "erased"
"""Error of deliveries whose content was erased before it left."""

log = telemetry.get_logger("webhooks")


def queue_event(event: Event, *, event_id: str, at: datetime) -> int:
    """Store the event's message and a delivery for every endpoint that wants it; how many there are."""
    endpoints = queries.endpoints_for(event.name)
    if not endpoints:
        return 0
    _add_message(event_id, event.name, event.subject, envelope(event.name, at, event.data()))
    _add_deliveries(event_id, event.name, [endpoint.id for endpoint in endpoints])
    return len(endpoints)


def send_test(endpoint_id: str) -> Delivery:
    """Queue a test message for one endpoint, whatever its filter. Raises NotFound; Conflict when it is off."""
    endpoint = queries.get_endpoint(endpoint_id)
    if not endpoint.enabled:
        raise Conflict(problem("", "disabled", "This endpoint is off. Switch it on first."))
    event_id = new_id()
    body = envelope(TEST_EVENT, utcnow(), {"endpoint_id": endpoint.id, "message": "This is a test."})
    _add_message(event_id, TEST_EVENT, endpoint.id, body)
    _add_deliveries(event_id, TEST_EVENT, [endpoint.id])
    return queries.delivery_of(event_id, endpoint.id)


def replay(delivery_id: str) -> Delivery:
    """Send a delivery again, with the whole schedule before it. One that waits is sent now.

    Raises NotFound; Conflict when its endpoint is off or its content was erased.
    """
    queries.get_delivery(delivery_id)
    row: Delivery = db.session.get(
        Delivery, delivery_id, with_for_update=True, populate_existing=True
    ) or queries.get_delivery(delivery_id)
    endpoint, message = db.session.get(Endpoint, row.endpoint_id), queries.get_message(row.message_id)
    if endpoint is None or not endpoint.enabled:
        raise Conflict(problem("", "disabled", "This endpoint is off. Switch it on first."))
    if message.erased_at is not None:
        raise Conflict(
            problem("", "erased", "The content was erased with its lead; it cannot be sent again.")
        )
    row.series_start = row.attempts
    row.status, row.next_attempt_at, row.delivered_at = PENDING, utcnow(), None
    db.session.flush()
    ring(DELIVER_JOB)
    return row


def replay_failed(endpoint_id: str, since: datetime) -> int:
    """Send again all that failed since then; how many. Raises NotFound; Conflict when the endpoint is off."""
    if not queries.get_endpoint(endpoint_id).enabled:
        raise Conflict(problem("", "disabled", "This endpoint is off. Switch it on first."))
    chosen = (
        select(Delivery.id)
        .join(Message, Message.id == Delivery.message_id)
        .where(
            Delivery.endpoint_id == endpoint_id,
            Delivery.status == FAILED,
            Delivery.created_at >= since,
            Delivery.event_type != TEST_EVENT,
            Message.erased_at.is_(None),
        )
        .order_by(Delivery.id)
        .limit(REPLAY_LIMIT)
    )
    done: Any = db.session.execute(
        update(Delivery)
        .where(Delivery.id.in_(chosen))
        .values(status=PENDING, next_attempt_at=utcnow(), claimed_until=None, series_start=Delivery.attempts)
        .execution_options(synchronize_session=False)
    )
    ring(DELIVER_JOB)
    return int(done.rowcount)


def erase_lead(lead_id: str) -> None:
    """Take the personal data of a lead that is gone out of what was said about it; what still waited is not sent."""
    about = select(Message.id).where(
        Message.subject == lead_id, Message.type.startswith("lead."), Message.erased_at.is_(None)
    )
    ids: Sequence[str] = db.session.scalars(about).all()
    if not ids:
        return
    db.session.execute(
        update(Delivery)
        .where(Delivery.message_id.in_(ids), Delivery.status == PENDING)
        .values(status=FAILED, next_attempt_at=None, claimed_until=None, last_error=ERASED)
        .execution_options(synchronize_session=False)
    )
    db.session.execute(
        update(Message)
        .where(Message.id.in_(ids))
        .values(body=b"", erased_at=utcnow())
        .execution_options(synchronize_session=False)
    )
    log.info("messages erased", count=len(ids), lead_id=lead_id)


def purge(now: datetime | None = None) -> int:
    """Forget a batch of messages older than KEEP of which nothing waits, with their log; how many."""
    old = queries.old_messages((now or utcnow()) - KEEP).limit(PURGE_BATCH)
    done: Any = db.session.execute(
        delete(Message).where(Message.id.in_(old)).execution_options(synchronize_session=False)
    )
    return int(done.rowcount)


def _add_message(event_id: str, kind: str, subject: str, body: bytes) -> None:
    values = {"id": event_id, "type": kind, "subject": subject[:80], "body": body, "request_id": request_id()}
    insert_once(Message, values, ["id"])


def _add_deliveries(event_id: str, kind: str, endpoint_ids: Sequence[str]) -> None:
    now = utcnow()
    rows = [
        {
            "message_id": event_id,
            "endpoint_id": endpoint_id,
            "event_type": kind,
            "next_attempt_at": now,
            "created_at": now,
        }
        for endpoint_id in endpoint_ids
    ]
    db.session.execute(insert(Delivery.__table__), rows)
    ring(DELIVER_JOB)
