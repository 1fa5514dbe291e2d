"""What providers told, and who therefore gets no more mail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, or_, select

from app.email.models import (
    Happening,
    Notice,
    Suppression,
)
from app.kit.db import db, is_id, utcnow
from app.kit.errors import NotFound


def happenings_of(message_id: str, limit: int = 100) -> Sequence[Happening]:
    """What providers told of a message, newest first."""
    return db.session.scalars(
        select(Happening)
        .where(Happening.message_id == message_id)
        .order_by(Happening.at.desc(), Happening.id.desc())
        .limit(limit)
    ).all()


def has_notices() -> bool:
    """Whether a provider's notice waits to be understood."""
    now = utcnow()
    return (
        db.session.execute(
            select(Notice.id)
            .where(
                Notice.next_attempt_at <= now, or_(Notice.claimed_until.is_(None), Notice.claimed_until < now)
            )
            .limit(1)
        ).first()
        is not None
    )


def count_unread_notices() -> int:
    """Notices that were given up."""
    statement = select(func.count()).select_from(Notice)
    given_up = (Notice.next_attempt_at.is_(None), Notice.last_error.is_not(None))
    return int(db.session.scalar(statement.where(*given_up)) or 0)


def get_suppression(suppression_id: str) -> Suppression:
    """A suppression. Raises NotFound."""
    row: Suppression | None = db.session.get(Suppression, suppression_id) if is_id(suppression_id) else None
    if row is None:
        raise NotFound("suppression", suppression_id)
    return row


def find_suppression(address: str, scope: str) -> Suppression | None:
    """The suppression of an address in exactly that scope."""
    found: Suppression | None = db.session.scalar(
        select(Suppression).where(Suppression.address == address.lower(), Suppression.scope == scope)
    )
    return found


def list_suppressions(
    *, address: str | None = None, before: str | None = None, limit: int = 50
) -> Sequence[Suppression]:
    """Suppressions, newest first. before: id of the last one seen."""
    conditions: list[Any] = []
    if address:
        conditions.append(Suppression.address == address.strip().lower())
    if before:
        conditions.append(Suppression.id < before)
    return db.session.scalars(
        select(Suppression).where(*conditions).order_by(Suppression.id.desc()).limit(limit)
    ).all()
