"""Which webhooks and inbound messages wait to be handled."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import aliased

from app.kit.db import db
from app.whatsapp.models import Message, Webhook


def webhook_is_due(now: datetime) -> tuple[Any, ...]:
    """Conditions on Webhook: it is to be understood now."""
    return (
        Webhook.processed_at.is_(None),
        Webhook.dead_at.is_(None),
        or_(Webhook.next_attempt_at.is_(None), Webhook.next_attempt_at <= now),
    )


def message_is_due(now: datetime) -> tuple[Any, ...]:
    """Conditions on Message: it is to be handled, and no earlier one of the same contact waits for its retry."""
    earlier = aliased(Message)
    held = select(earlier.contact_id).where(
        earlier.direction == "in", earlier.handled_at.is_(None), earlier.next_attempt_at > now
    )
    return (Message.direction == "in", Message.handled_at.is_(None), Message.contact_id.not_in(held))


def any_due(now: datetime) -> bool:
    """Whether process_webhooks has work."""
    webhook = select(Webhook.id).where(*webhook_is_due(now)).limit(1)
    message = select(Message.id).where(*message_is_due(now)).limit(1)
    return db.session.execute(webhook).first() is not None or db.session.execute(message).first() is not None


def waiting(now: datetime, limit: int) -> list[str]:
    """The contact of each message that is to be handled, the longest waiting first."""
    return list(
        db.session.scalars(
            select(Message.contact_id)
            .where(*message_is_due(now))
            .order_by(Message.webhook_id, Message.webhook_index)
            .limit(limit)
        )
    )


def unhandled(contact_ids: Collection[str], limit: int) -> Sequence[Message]:
    """The oldest messages of these contacts that were not handled, as they are now, in their order."""
    return db.session.scalars(
        select(Message)
        .where(Message.contact_id.in_(contact_ids), Message.direction == "in", Message.handled_at.is_(None))
        .order_by(Message.webhook_id, Message.webhook_index)
        .limit(limit)
        .execution_options(populate_existing=True)
    ).all()


def any_older_than(limit: datetime) -> bool:
    """Whether a webhook was handled before that and is still kept."""
    old = select(Webhook.id).where(Webhook.processed_at < limit, Webhook.dead_at.is_(None)).limit(1)
    return db.session.execute(old).first() is not None
