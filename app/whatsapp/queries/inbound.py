"""Which webhooks and inbound messages wait to be handled."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, bindparam, or_, select
from sqlalchemy.orm import aliased

from app.kit.db import UtcDateTime, db
from app.whatsapp.models import Message, Webhook


def webhook_is_due(now: Any) -> tuple[Any, ...]:
    """Conditions on Webhook: it is to be understood now."""
    return (
        Webhook.processed_at.is_(None),
        Webhook.dead_at.is_(None),
        or_(Webhook.next_attempt_at.is_(None), Webhook.next_attempt_at <= now),
    )


def message_is_due(now: Any) -> tuple[Any, ...]:
    """Conditions on Message: it is to be handled, and no earlier one of the same contact waits for its retry."""
    earlier = aliased(Message)
    held = select(earlier.contact_id).where(
        earlier.direction == "in", earlier.handled_at.is_(None), earlier.next_attempt_at > now
    )
    return (Message.direction == "in", Message.handled_at.is_(None), Message.contact_id.not_in(held))


# Made once: to make such a statement takes longer than to run it.
NOW = bindparam("now", type_=UtcDateTime)
LIMIT = bindparam("limit", type_=Integer)
_DUE_WEBHOOKS = select(Webhook).where(*webhook_is_due(NOW)).order_by(Webhook.id).limit(LIMIT)
_ANY_WEBHOOK = select(Webhook.id).where(*webhook_is_due(NOW)).limit(1)
_ANY_MESSAGE = select(Message.id).where(*message_is_due(NOW)).limit(1)
_WAITING = (
    select(Message.contact_id)
    .where(*message_is_due(NOW))
    .order_by(Message.webhook_id, Message.webhook_index)
    .limit(LIMIT)
)
_UNHANDLED = (
    select(Message)
    .where(
        Message.contact_id.in_(bindparam("contacts", expanding=True)),
        Message.direction == "in",
        Message.handled_at.is_(None),
    )
    .order_by(Message.webhook_id, Message.webhook_index)
    .limit(LIMIT)
    .execution_options(populate_existing=True)
)


def any_due(now: datetime) -> bool:
    """Whether process_webhooks has work."""
    return any(
        db.session.execute(statement, {"now": now}).first() is not None
        for statement in (_ANY_WEBHOOK, _ANY_MESSAGE)
    )


def due_webhooks(now: datetime, limit: int) -> Sequence[Webhook]:
    """Webhooks that are to be understood, the oldest first."""
    found: Sequence[Webhook] = db.session.scalars(_DUE_WEBHOOKS, {"now": now, "limit": limit}).all()
    return found


def waiting(now: datetime, limit: int) -> list[str]:
    """The contact of each message that is to be handled, the longest waiting first."""
    return list(db.session.scalars(_WAITING, {"now": now, "limit": limit}))


def unhandled(contact_ids: Collection[str], limit: int) -> Sequence[Message]:
    """The oldest messages of these contacts that were not handled, as they are now, in their order."""
    found: Sequence[Message] = db.session.scalars(
        _UNHANDLED, {"contacts": list(contact_ids), "limit": limit}
    ).all()
    return found


def any_older_than(limit: datetime) -> bool:
    """Whether a webhook was handled before that and is still kept."""
    old = select(Webhook.id).where(Webhook.processed_at < limit, Webhook.dead_at.is_(None)).limit(1)
    return db.session.execute(old).first() is not None
