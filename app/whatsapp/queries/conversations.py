"""Conversations and their transcripts, as far as the asker may see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import selectinload

from app.contracts.problems import problem
from app.kit import zone
from app.kit.auth import Principal
from app.kit.db import db, is_id
from app.kit.errors import Invalid, NotFound
from app.whatsapp.models import (
    COMPLETED,
    HUMAN,
    MESSAGE_FAILED,
    UNKNOWN,
    Contact,
    Conversation,
    Message,
    Webhook,
)

TRANSCRIPT = 1000
"""Messages shown of one conversation, the latest ones."""


def id_or_none(where: str, value: object) -> str | None:
    """The value when it can be an id of ours, None when it is missing; raises Invalid for anything else."""
    if value is None:
        return None
    if not isinstance(value, str) or not is_id(value):
        raise Invalid([problem(where, "bad_id", "This is no id.")])
    return value


def visible(principal: Principal) -> tuple[Any, ...]:
    """Conditions on Contact: sellers see the conversations of their own leads only."""
    return (Contact.owner_id == principal.user_id,) if principal.own_only else ()


def conversation(conversation_id: str, principal: Principal) -> Conversation:
    """The conversation with its contact, channel and flow; raises NotFound also for what the asker may not see."""
    row = db.session.scalar(
        select(Conversation)
        .join(Contact)
        .where(Conversation.id == conversation_id, *visible(principal))
        .options(
            selectinload(Conversation.contact),
            selectinload(Conversation.channel),
            selectinload(Conversation.flow),
        )
    )
    if row is None:
        raise NotFound("conversation", conversation_id)
    return row


def conversations(
    principal: Principal,
    *,
    status: str | None = None,
    channel_id: str | None = None,
    contact_id: str | None = None,
    flow_id: str | None = None,
    before: str | None = None,
    limit: int,
) -> list[Conversation]:
    """Newest first; `before` is the id after which the page begins."""
    statement = (
        select(Conversation)
        .join(Contact)
        .where(*visible(principal))
        .order_by(Conversation.id.desc())
        .limit(limit)
        .options(
            selectinload(Conversation.contact),
            selectinload(Conversation.channel),
            selectinload(Conversation.flow),
        )
    )
    for column, value in (
        (Conversation.status, status),
        (Conversation.channel_id, channel_id),
        (Conversation.contact_id, contact_id),
        (Conversation.flow_id, flow_id),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if before is not None:
        statement = statement.where(Conversation.id < before)
    return list(db.session.scalars(statement))


def contact(contact_id: str, principal: Principal) -> Contact:
    """The contact; raises NotFound also for what the asker may not see."""
    row = db.session.scalar(
        select(Contact)
        .where(Contact.id == contact_id, *visible(principal))
        .options(selectinload(Contact.channel))
        .execution_options(populate_existing=True)
    )
    if row is None:
        raise NotFound("contact", contact_id)
    return row


def messages_of_conversation(conversation_id: str) -> list[Message]:
    """The conversation's messages in the order they were said."""
    return _in_order(Message.conversation_id == conversation_id)


def page_of_messages(conversation_id: str, *, after: int, limit: int) -> Sequence[Message]:
    """The conversation's first messages beyond position `after`, in the order they were said."""
    return db.session.scalars(
        select(Message)
        .where(Message.conversation_id == conversation_id, Message.position > after)
        .order_by(Message.position)
        .limit(limit)
    ).all()


def messages_of_contact(contact_id: str, *, after: int = 0) -> list[Message]:
    """All that was said with this contact from position `after` on; what waits to be handled comes last."""
    where = Message.contact_id == contact_id
    return _in_order(and_(where, Message.position > after) if after else where)


def latest_of(contact_ids: Sequence[str]) -> dict[str, Conversation]:
    """The newest conversation of each of these contacts."""
    if not contact_ids:
        return {}
    rank = func.row_number().over(partition_by=Conversation.contact_id, order_by=Conversation.id.desc())
    ranked = (
        select(Conversation.id, rank.label("rank")).where(Conversation.contact_id.in_(contact_ids)).subquery()
    )
    newest = select(ranked.c.id).where(ranked.c.rank == 1)
    rows = db.session.scalars(select(Conversation).where(Conversation.id.in_(newest)))
    return {row.contact_id: row for row in rows}


def started_since(since: datetime) -> int:
    """Conversations begun since then."""
    return _count(select(func.count()).select_from(Conversation).where(Conversation.started_at >= since))


def completed_since(since: datetime) -> int:
    """Conversations that reached their end since then."""
    return _count(
        select(func.count())
        .select_from(Conversation)
        .where(Conversation.status == COMPLETED, Conversation.updated_at >= since)
    )


def waiting_for_a_person() -> int:
    """Contacts whose last word waits for a person: the bot is silent there."""
    return _count(select(func.count()).select_from(Contact).where(Contact.mode == HUMAN))


def failed_since(since: datetime) -> int:
    """Messages that failed, or of which nobody knows, since then."""
    return _count(
        select(func.count())
        .select_from(Message)
        .where(Message.status.in_((MESSAGE_FAILED, UNKNOWN)), Message.created_at >= since)
    )


def messages_per_day(days: int, *, now: datetime | None = None) -> tuple[list[date], list[int], list[int]]:
    """(days, received, sent) of the last `days` days of the installation's zone."""
    shown = zone.last_days(days, now)
    day = zone.day_number(Message.created_at, shown)
    rows = db.session.execute(
        select(day, Message.direction, func.count())
        .where(Message.created_at >= zone.day_start(shown[0]))
        .group_by(day, Message.direction)
    ).all()
    found = {(number, direction): count for number, direction, count in rows}
    return (
        shown,
        [found.get((number, "in"), 0) for number in range(days)],
        [found.get((number, "out"), 0) for number in range(days)],
    )


def dead_webhooks(limit: int = 200) -> list[Webhook]:
    """Webhooks that could not be handled, newest first."""
    return list(
        db.session.scalars(
            select(Webhook).where(Webhook.dead_at.is_not(None)).order_by(Webhook.dead_at.desc()).limit(limit)
        )
    )


def count_dead_webhooks() -> int:
    """How many webhooks could not be handled."""
    return _count(select(func.count()).select_from(Webhook).where(Webhook.dead_at.is_not(None)))


def _count(statement: Any) -> int:
    return db.session.scalar(statement) or 0


def _in_order(where: Any) -> list[Message]:
    unplaced = Message.position.is_(None)
    rows = db.session.scalars(
        select(Message)
        .where(where)
        .order_by(unplaced.desc(), Message.position.desc(), Message.id.desc())
        .limit(TRANSCRIPT)
    ).all()
    return list(reversed(rows))
