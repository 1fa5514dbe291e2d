"""Messages, their tries, and how many there are of which kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import defer

from app.email.models import (
    DEFERRED,
    FAILED,
    NO_WAY,
    OPEN,
    QUEUED,
    SENDING,
    SENT,
    UNKNOWN,
    Attempt,
    Message,
)
from app.email.queries.ways import WAIT, all_ways, fate_of_mails
from app.kit import zone
from app.kit.db import db, is_id, utcnow
from app.kit.errors import NotFound


def get_message(message_id: str) -> Message:
    """A message. Raises NotFound."""
    message: Message | None = db.session.get(Message, message_id) if is_id(message_id) else None
    if message is None:
        raise NotFound("e-mail", message_id)
    return message


def attempts_of(message_id: str, limit: int = 100) -> Sequence[Attempt]:
    """The tries, newest first."""
    return db.session.scalars(
        select(Attempt).where(Attempt.message_id == message_id).order_by(Attempt.id.desc()).limit(limit)
    ).all()


def list_messages(
    *,
    status: str | None = None,
    lead_id: str | None = None,
    search: str = "",
    before: str | None = None,
    limit: int = 50,
) -> Sequence[Message]:
    """Messages, newest first, without their bodies.

    search: part of the recipient or the subject. before: id of the last one seen.
    """
    statement = (
        select(Message)
        .options(defer(Message.html), defer(Message.text), defer(Message.variables))
        .order_by(Message.id.desc())
        .limit(limit)
    )
    conditions: list[Any] = []
    if status:
        conditions.append(Message.status == status)
    if lead_id:
        conditions.append(Message.lead_id == lead_id)
    if before:
        conditions.append(Message.id < before)
    if search.strip():
        part = search.strip()
        conditions.append(
            or_(Message.to.icontains(part, autoescape=True), Message.subject.icontains(part, autoescape=True))
        )
    return db.session.scalars(statement.where(*conditions)).all()


def waits_for_way(now: datetime) -> ColumnElement[bool]:
    """Condition of messages on which it is noted that they wait for a way out, as long as their time is not over."""
    return and_(
        Message.status == DEFERRED,
        func.coalesce(Message.error_code, "") == NO_WAY,
        or_(Message.give_up_at.is_(None), Message.give_up_at > now),
    )


def has_due(config: Mapping[str, Any]) -> bool:
    """Whether any message should be sent, or taken back from a worker that died.

    Those that wait for a way out are late, but there is nothing to do for them until one can be used.
    """
    now = utcnow()
    late = (
        Message.status.in_(OPEN),
        Message.next_attempt_at <= now,
        or_(Message.claimed_until.is_(None), Message.claimed_until < now),
    )
    if _any(*late, ~waits_for_way(now)):
        return True
    return _any(*late) and fate_of_mails(all_ways(config)) != WAIT


def count_by_status() -> dict[str, int]:
    """How many messages there are in each status."""
    rows = db.session.execute(select(Message.status, func.count()).group_by(Message.status))
    return {row[0]: row[1] for row in rows}


def count_sent_today(now: datetime | None = None) -> int:
    """Messages that left since midnight in the installation's zone."""
    return _count(Message.status == SENT, Message.sent_at >= zone.midnight(now))


def count_waiting() -> int:
    """Messages that will still leave by themselves."""
    return _count(Message.status.in_(OPEN))


def count_troubled(days: int = 7) -> int:
    """Messages of the last days that failed, or of which nobody knows whether they arrived."""
    return _count(
        Message.status.in_((FAILED, UNKNOWN)), Message.created_at >= utcnow() - timedelta(days=days)
    )


def oldest_waiting() -> datetime | None:
    """Since when the oldest open message has waited."""
    return db.session.scalar(
        select(func.min(Message.created_at)).where(Message.status.in_((QUEUED, SENDING, DEFERRED)))
    )


def count_sent_by(now: datetime | None = None) -> dict[str, int]:
    """Messages that left since midnight in the installation's zone, by provider."""
    rows = db.session.execute(
        select(Message.provider, func.count())
        .where(Message.sent_at >= zone.midnight(now))
        .group_by(Message.provider)
    )
    return {row[0] or "": row[1] for row in rows}


def _any(*where: Any) -> bool:
    return db.session.execute(select(Message.id).where(*where).limit(1)).first() is not None


def _count(*where: Any) -> int:
    return int(db.session.scalar(select(func.count()).select_from(Message).where(*where)) or 0)
