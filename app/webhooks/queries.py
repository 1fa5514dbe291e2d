"""What the doors of the webhooks service read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, exists, func, or_, select
from sqlalchemy.orm import joinedload

from app.kit import zone
from app.kit.db import db, is_id, utcnow
from app.kit.errors import NotFound
from app.webhooks import matching
from app.webhooks.models import (
    BY_HAND,
    FAILED,
    PENDING,
    Attempt,
    Delivery,
    Endpoint,
    Message,
)

ENDPOINT_LIMIT = 1000
"""More endpoints than anybody has; a list of them is read at once."""


def get_endpoint(endpoint_id: str) -> Endpoint:
    """An endpoint. Raises NotFound."""
    found: Endpoint | None = db.session.get(Endpoint, endpoint_id) if is_id(endpoint_id) else None
    if found is None:
        raise NotFound("webhook endpoint", endpoint_id)
    return found


def list_endpoints(*, after: str | None = None, limit: int = 50) -> Sequence[Endpoint]:
    """Endpoints by age; after: id of the last one seen."""
    statement = select(Endpoint).order_by(Endpoint.id).limit(limit)
    if after:
        statement = statement.where(Endpoint.id > after)
    return db.session.scalars(statement).all()


def endpoints_for(event_name: str) -> list[Endpoint]:
    """The endpoints that are on and want this event."""
    rows = db.session.scalars(select(Endpoint).where(Endpoint.enabled).limit(ENDPOINT_LIMIT))
    return [endpoint for endpoint in rows if matching.matches(endpoint.events, event_name)]


def anybody_wants(event_name: str) -> bool:
    """Whether any endpoint that is on wants this event; reads no secrets."""
    filters = db.session.scalars(select(Endpoint.events).where(Endpoint.enabled).limit(ENDPOINT_LIMIT))
    return any(matching.matches(patterns, event_name) for patterns in filters)


def wanted_names() -> set[str]:
    """Names of the events that any endpoint that is on wants."""
    filters = db.session.scalars(select(Endpoint.events).where(Endpoint.enabled).limit(ENDPOINT_LIMIT)).all()
    return {
        name for name in matching.known() if any(matching.matches(patterns, name) for patterns in filters)
    }


def get_delivery(delivery_id: str) -> Delivery:
    """A delivery with its endpoint. Raises NotFound."""
    found: Delivery | None = (
        db.session.get(Delivery, delivery_id, options=[joinedload(Delivery.endpoint)])
        if is_id(delivery_id)
        else None
    )
    if found is None:
        raise NotFound("webhook delivery", delivery_id)
    return found


def delivery_of(event_id: str, endpoint_id: str) -> Delivery:
    """The delivery of an event to an endpoint, which must exist."""
    return db.session.scalars(
        select(Delivery).where(Delivery.message_id == event_id, Delivery.endpoint_id == endpoint_id)
    ).one()


def get_message(message_id: str) -> Message:
    """What is told. Raises NotFound."""
    found: Message | None = db.session.get(Message, message_id)
    if found is None:
        raise NotFound("webhook message", message_id)
    return found


def list_deliveries(
    endpoint_id: str,
    *,
    status: str | None = None,
    event_type: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> Sequence[Delivery]:
    """An endpoint's deliveries, newest first; before: id of the last one seen."""
    statement = (
        select(Delivery).where(Delivery.endpoint_id == endpoint_id).order_by(Delivery.id.desc()).limit(limit)
    )
    if status:
        statement = statement.where(Delivery.status == status)
    if event_type:
        statement = statement.where(Delivery.event_type == event_type)
    if before:
        statement = statement.where(Delivery.id < before)
    return db.session.scalars(statement).all()


def attempts_of(delivery_id: str, limit: int = 100) -> Sequence[Attempt]:
    """The calls, newest first."""
    return db.session.scalars(
        select(Attempt).where(Attempt.delivery_id == delivery_id).order_by(Attempt.n.desc()).limit(limit)
    ).all()


def waiting_now(now: datetime) -> tuple[Any, ...]:
    """Conditions of a delivery that nobody is sending and that is due."""
    return (
        Delivery.status == PENDING,
        Delivery.next_attempt_at <= now,
        or_(Delivery.claimed_until.is_(None), Delivery.claimed_until < now),
    )


def endpoints_with_work(now: datetime, *, without: Collection[str] = (), limit: int = 200) -> list[str]:
    """Ids of endpoints that may be called now and for which something is due; without: leave these out."""
    statement = (
        select(Endpoint.id)
        .where(
            Endpoint.enabled,
            or_(Endpoint.paused_until.is_(None), Endpoint.paused_until <= now),
            exists().where(Delivery.endpoint_id == Endpoint.id, *waiting_now(now)),
        )
        .limit(limit)
    )
    if without:
        statement = statement.where(Endpoint.id.not_in(without))
    return list(db.session.scalars(statement))


def has_due() -> bool:
    """Whether anything should be sent now."""
    return bool(endpoints_with_work(utcnow(), limit=1))


def old_messages(limit: datetime) -> Select[Any]:
    """Statement: ids of messages from before `limit` of which nothing waits to be sent."""
    return (
        select(Message.id)
        .where(
            Message.created_at < limit,
            ~exists().where(Delivery.message_id == Message.id, Delivery.status == PENDING),
        )
        .order_by(Message.created_at)
    )


def any_old(limit: datetime) -> bool:
    """Whether there is any message from before `limit` of which nothing waits."""
    return db.session.scalar(old_messages(limit).limit(1)) is not None


def count_by_status(endpoint_id: str | None = None) -> dict[str, int]:
    """How many deliveries there are in each status."""
    statement = select(Delivery.status, func.count()).group_by(Delivery.status)
    if endpoint_id:
        statement = statement.where(Delivery.endpoint_id == endpoint_id)
    return {row[0]: row[1] for row in db.session.execute(statement)}


def count_delivered_today(now: datetime | None = None) -> int:
    """Deliveries that arrived since midnight in the installation's zone."""
    return _count(Delivery, Delivery.delivered_at >= zone.midnight(now))


def count_failed(days: int = 7) -> int:
    """Deliveries of the last days that were given up."""
    return _count(Delivery, Delivery.status == FAILED, Delivery.created_at >= utcnow() - timedelta(days=days))


def count_disabled_by_failure() -> int:
    """Endpoints that were switched off because of what they answered."""
    return _count(Endpoint, Endpoint.enabled.is_(False), Endpoint.disabled_reason != BY_HAND)


def count_failing() -> int:
    """Endpoints that are on and do not take what they get."""
    return _count(Endpoint, Endpoint.enabled, Endpoint.first_failure_at.is_not(None))


def count_endpoints() -> int:
    """How many endpoints there are."""
    return _count(Endpoint)


def _count(model: Any, *where: Any) -> int:
    return int(db.session.scalar(select(func.count()).select_from(model).where(*where)) or 0)
