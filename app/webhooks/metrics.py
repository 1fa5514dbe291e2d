"""What the webhooks service tells Prometheus: deliveries that wait and of the last day, endpoints that were given up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select

from app.kit.db import db, utcnow
from app.kit.metrics import Gauge, Part, Sample, due_part, last_day
from app.webhooks import queries
from app.webhooks.models import Delivery, Endpoint

DELIVERIES = Gauge(
    name="embudo_webhook_deliveries_last_day",
    meaning="Deliveries made in the last 24 hours, by what they are now",
    labels=("state",),
)
DISABLED = Gauge(
    name="embudo_webhook_endpoints_disabled",
    meaning="Endpoints that were switched off because of what they answered, not by a person",
)


def _last_day() -> Iterator[Sample]:
    rows = db.session.execute(
        select(Delivery.status, func.count())
        .where(Delivery.id >= last_day(utcnow()))
        .group_by(Delivery.status)
    )
    for status, count in rows:
        yield DELIVERIES, (status,), count
    yield DISABLED, (), queries.count_disabled_by_failure()


def _due(now: datetime) -> tuple[Any, tuple[Any, ...]]:
    """Deliveries whose endpoint may be called now."""
    callable_ = select(Endpoint.id).where(
        Endpoint.enabled, or_(Endpoint.paused_until.is_(None), Endpoint.paused_until <= now)
    )
    return Delivery.next_attempt_at, (Delivery.endpoint_id.in_(callable_), *queries.waiting_now(now))


PARTS = (
    due_part("webhooks", {"deliver": _due}),
    Part(name="deliveries and endpoints", gauges=(DELIVERIES, DISABLED), read=_last_day, needs=("webhooks",)),
)
