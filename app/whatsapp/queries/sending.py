"""Which messages may leave now."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, and_, bindparam, func, or_, select, update
from sqlalchemy.orm import aliased

from app.kit.db import UtcDateTime, db
from app.whatsapp.models import UNSENT, Channel, Contact, Message
from app.whatsapp.queries import channels


@dataclass(frozen=True, kw_only=True)
class Head:
    """The first message of a lane, its channel, and the channel's credentials, still encrypted."""

    message: Message
    channel: Channel
    credentials: bytes | None = field(repr=False)


def lane_is_due(now: Any) -> tuple[Any, ...]:
    """Conditions on Contact: it has something to send, nobody has it in hand, and its channel is not held back."""
    held = select(Channel.id).where(or_(Channel.held_until > now, Channel.active.is_(False)))
    free = or_(Contact.claimed_until.is_(None), Contact.claimed_until < now)
    return (Contact.next_send_at <= now, Contact.channel_id.not_in(held), free)


def _claim() -> Any:
    due = (
        select(Contact.id)
        .where(*lane_is_due(NOW))
        .order_by(Contact.next_send_at, Contact.id)
        .limit(bindparam("limit", type_=Integer))
        .with_for_update(skip_locked=True, key_share=True)
        .cte("due")
    )
    return (
        update(Contact)
        .where(Contact.id.in_(select(due.c.id)))
        .values(claimed_until=bindparam("until", type_=UtcDateTime))
        .returning(Contact)
        .execution_options(synchronize_session=False, populate_existing=True)
    )


def _heads() -> Any:
    other = aliased(Message)
    first = (
        select(func.min(other.position))
        .where(other.contact_id == Message.contact_id, *_unsent(other))
        .scalar_subquery()
    )
    return (
        select(Message, Channel, channels.raw_credentials())
        .join(Channel, Channel.id == Message.channel_id)
        .where(
            Message.contact_id.in_(bindparam("contacts", expanding=True)),
            Message.position == first,
            *_unsent(Message),
        )
        .execution_options(populate_existing=True)
    )


def _unsent(message: Any) -> tuple[Any, ...]:
    without: Any = bindparam("without", expanding=True)
    return (message.direction == "out", message.status.in_(UNSENT), message.id.not_in(without))


# Made once: to make such a statement takes longer than to run it.
NOW = bindparam("now", type_=UtcDateTime)
_CLAIM = _claim()
_HEADS = _heads()
_MESSAGES = (
    select(Message)
    .where(
        or_(
            Message.id.in_(bindparam("ids", expanding=True)),
            and_(
                Message.channel_id.in_(bindparam("channels", expanding=True)),
                Message.provider_id.in_(bindparam("names", expanding=True)),
            ),
        )
    )
    .execution_options(populate_existing=True)
)
_ANY_DUE = select(Contact.id).where(*lane_is_due(NOW)).limit(1)


def any_due(now: datetime) -> bool:
    """Whether send_messages has work."""
    return db.session.execute(_ANY_DUE, {"now": now}).first() is not None


def claim(now: datetime, until: datetime, limit: int) -> Sequence[Contact]:
    """Take up to `limit` lanes for yourself by one statement; on PostgreSQL workers skip each other's."""
    found: Sequence[Contact] = db.session.scalars(_CLAIM, {"now": now, "until": until, "limit": limit}).all()
    return found


def heads(contact_ids: Collection[str], *, without: Collection[str] = ()) -> dict[str, Head]:
    """What must leave first, by contact, among the messages whose ids are not in `without`."""
    if not contact_ids:
        return {}
    rows = db.session.execute(_HEADS, {"contacts": list(contact_ids), "without": list(without)})
    return {
        message.contact_id: Head(message=message, channel=channel, credentials=credentials)
        for message, channel, credentials in rows
    }


def messages(
    ids: Collection[str], channel_ids: Collection[str], names: Collection[str]
) -> dict[str, Message]:
    """By id, as they are now: these messages, whose contacts are locked, and those that have such a provider's id."""
    values = {"ids": list(ids), "channels": list(channel_ids), "names": list(names)}
    return {row.id: row for row in db.session.scalars(_MESSAGES, values)}
