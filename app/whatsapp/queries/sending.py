"""Which messages may leave now."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import and_, or_, select

from app.kit.db import db
from app.whatsapp.models import UNSENT, Channel, Contact, Message


def lane_is_due(now: datetime) -> tuple[Any, ...]:
    """Conditions on Contact: it has something to send, and its channel is not held back."""
    held = select(Channel.id).where(or_(Channel.held_until > now, Channel.active.is_(False)))
    return (Contact.next_send_at <= now, Contact.channel_id.not_in(held))


def any_due(now: datetime) -> bool:
    """Whether send_messages has work."""
    free = or_(Contact.claimed_until.is_(None), Contact.claimed_until < now)
    return (
        db.session.execute(select(Contact.id).where(and_(*lane_is_due(now)), free).limit(1)).first()
        is not None
    )


def first_unsent(contact_id: str) -> Message | None:
    """The message that must leave before any later one of this contact."""
    return db.session.scalar(
        select(Message)
        .where(Message.contact_id == contact_id, Message.direction == "out", Message.status.in_(UNSENT))
        .order_by(Message.position)
        .limit(1)
        .execution_options(populate_existing=True)
    )


def first_unsent_after(message: Message) -> Message | None:
    """The next one of the same contact, once `message` holds back nobody any more."""
    db.session.flush()
    return first_unsent(message.contact_id)
