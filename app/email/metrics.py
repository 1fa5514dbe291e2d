"""What the email service tells Prometheus: mails and notices that wait, mails of the last day, ways out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from flask import current_app
from sqlalchemy import case, func, or_, select

from app.email import queries
from app.email.models import OPEN, SENT, Message, Notice
from app.kit.db import db, utcnow
from app.kit.metrics import Gauge, Part, Sample, breakers_part, due_part, last_day

MAILS = Gauge(
    name="embudo_email_messages_last_day",
    meaning="Mails made in the last 24 hours, by what they are now; sent ones by the last that was heard of them",
    labels=("state",),
)


def _last_day() -> Iterator[Sample]:
    state = case(
        (Message.status == SENT, func.coalesce(Message.delivery, Message.status)), else_=Message.status
    )
    rows = db.session.execute(
        select(state, func.count()).where(Message.id >= last_day(utcnow())).group_by(state)
    )
    for name, count in rows:
        yield MAILS, (name,), count


def _unclaimed(model: Any, now: datetime) -> tuple[Any, ...]:
    """Conditions of rows that are due and that nobody has in hand."""
    return (
        model.next_attempt_at <= now,
        or_(model.claimed_until.is_(None), model.claimed_until < now),
    )


def _ways() -> dict[str, str]:
    return {f"mail:{way.name}": f"mail: {way.name}" for way in queries.usable_ways(current_app.config)}


PARTS = (
    due_part(
        "email",
        {
            "send": lambda now: (
                Message.next_attempt_at,
                (Message.status.in_(OPEN), *_unclaimed(Message, now)),
            ),
            "take_in_notices": lambda now: (Notice.next_attempt_at, _unclaimed(Notice, now)),
        },
    ),
    Part(name="mails", gauges=(MAILS,), read=_last_day, needs=("email",)),
    breakers_part("email", _ways),
)
