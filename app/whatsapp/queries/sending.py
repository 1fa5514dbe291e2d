"""Which messages may leave now."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import aliased

from app.kit.db import db
from app.whatsapp.models import UNSENT, Channel, Contact, Message
from app.whatsapp.queries import channels


@dataclass(frozen=True, kw_only=True)
class Head:
    """The first message of a lane, its channel, and the channel's credentials, still encrypted."""

    message: Message
    channel: Channel
    credentials: bytes | None = field(repr=False)


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


def claim(now: datetime, until: datetime, limit: int) -> Sequence[Contact]:
    """Take up to `limit` lanes for yourself by one statement; on PostgreSQL workers skip each other's."""
    free = or_(Contact.claimed_until.is_(None), Contact.claimed_until < now)
    due = (
        select(Contact.id)
        .where(*lane_is_due(now), free)
        .order_by(Contact.next_send_at, Contact.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
        .cte("due")
    )
    return db.session.scalars(
        update(Contact)
        .where(Contact.id.in_(select(due.c.id)))
        .values(claimed_until=until)
        .returning(Contact)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).all()


def heads(contact_ids: Collection[str], *, without: Collection[str] = ()) -> dict[str, Head]:
    """What must leave first, by contact, among the messages whose ids are not in `without`."""
    if not contact_ids:
        return {}
    other = aliased(Message)
    first = (
        select(func.min(other.position))
        .where(other.contact_id == Message.contact_id, *_unsent(other, without))
        .scalar_subquery()
    )
    rows = db.session.execute(
        select(Message, Channel, channels.raw_credentials())
        .join(Channel, Channel.id == Message.channel_id)
        .where(
            Message.contact_id.in_(sorted(contact_ids)), Message.position == first, *_unsent(Message, without)
        )
        .execution_options(populate_existing=True)
    )
    return {
        message.contact_id: Head(message=message, channel=channel, credentials=credentials)
        for message, channel, credentials in rows
    }


def _unsent(message: Any, without: Collection[str]) -> tuple[Any, ...]:
    known = (message.direction == "out", message.status.in_(UNSENT))
    return (*known, message.id.not_in(sorted(without))) if without else known


def messages(
    ids: Collection[str], channel_ids: Collection[str], names: Collection[str]
) -> dict[str, Message]:
    """By id, as they are now: these messages, whose contacts are locked, and those that have such a provider's id."""
    named = and_(Message.channel_id.in_(sorted(channel_ids)), Message.provider_id.in_(sorted(names)))
    rows = db.session.scalars(
        select(Message)
        .where(or_(Message.id.in_(sorted(ids)), named))
        .execution_options(populate_existing=True)
    )
    return {row.id: row for row in rows}
