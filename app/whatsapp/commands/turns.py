"""One turn of a conversation: the engine decides, here its wishes become rows and events.

Whoever calls these holds the contact's lock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, assert_never
from uuid import UUID, uuid5

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import joinedload

from app.contracts.events import (
    ConversationCompleted,
    ConversationHandedOver,
    ConversationStarted,
    EmailRequested,
    LeadCaptured,
)
from app.contracts.problems import problem
from app.kit import zone
from app.kit.db import db, new_id
from app.kit.errors import Conflict, NotFound
from app.kit.outbox import publish
from app.kit.telemetry import get_logger
from app.whatsapp import engine
from app.whatsapp.commands import contacts, sending
from app.whatsapp.models import (
    COMPLETED,
    FAILED,
    HANDED_OVER,
    HUMAN,
    OPEN,
    QUEUED,
    WAITING,
    Contact,
    Conversation,
    Flow,
    Message,
    Timer,
)
from app.whatsapp.providers import SENDERS, Choice
from app.whatsapp.queries import flows

PATH_LENGTH = 500
"""Node ids remembered of a conversation; enough for the longest that anybody reads."""

FAILURES = {
    "failed": "The contact did not answer the question, and the flow says nothing about that.",
    "limit": "The conversation went in circles and was stopped.",
}
"""Why a conversation failed, by the engine's outcome; msgids, shown in the admin."""

_TALKS = (
    select(Conversation)
    .where(Conversation.contact_id.in_(bindparam("contacts", expanding=True)), Conversation.status.in_(OPEN))
    .options(joinedload(Conversation.flow, innerjoin=True))
    .execution_options(populate_existing=True)
)
"""Made once, as those of app.whatsapp.queries."""

log = get_logger("whatsapp")


def begin(
    contact: Contact,
    flow: Flow,
    *,
    variables: Mapping[str, Any],
    started_by: str,
    said: str = "",
    now: datetime,
) -> Conversation:
    """Start the flow's published version with a contact whose lock the caller holds."""
    number = flow.published_version
    if number is None:
        raise Conflict(
            problem("/flow", "unpublished", "The flow “%(name)s” is not published.", name=flow.name)
        )
    conversation = Conversation(
        id=new_id(),
        contact_id=contact.id,
        channel_id=contact.channel_id,
        flow_id=flow.id,
        version=number,
        started_by=started_by[:120],
        started_at=now,
    )
    conversation.contact, conversation.channel, conversation.flow = contact, contact.channel, flow
    db.session.add(conversation)
    publish(
        ConversationStarted(
            conversation_id=conversation.id, contact_id=contact.id, flow_id=flow.id, flow_version=number
        )
    )
    step = engine.start(
        flows.compiled(flow.id, number, flow.name),
        contact=_contact_root(contact),
        variables=variables,
        channel=_channel_root(conversation),
        now=zone.local(now),
        message={"text": said},
    )
    _apply(conversation, step, now)
    return conversation


def lock_contact(contact_id: str) -> Contact:
    """The contact, locked until the transaction ends; raises NotFound."""
    contact = contacts.lock({contact_id}).get(contact_id)
    if contact is None:
        raise NotFound("contact", contact_id)
    return contact


def open_conversation(contact_id: str) -> Conversation | None:
    """The conversation that waits for this contact."""
    return open_conversations({contact_id}).get(contact_id)


def open_conversations(contact_ids: Collection[str]) -> dict[str, Conversation]:
    """The conversations that wait for these contacts, by contact, with their flows."""
    rows = db.session.scalars(_TALKS, {"contacts": list(contact_ids)})
    return {row.contact_id: row for row in rows}


def newest_conversation(contact_id: str) -> Conversation | None:
    """The contact's latest conversation, open or not."""
    return db.session.scalar(
        select(Conversation)
        .where(Conversation.contact_id == contact_id)
        .order_by(Conversation.id.desc())
        .limit(1)
    )


def _contact_root(contact: Contact) -> dict[str, str]:
    return {"name": contact.name, "phone": contact.phone or "", "user_id": contact.user_id}


def _channel_root(conversation: Conversation) -> dict[str, str]:
    return {"name": conversation.channel.name}


def _compiled(conversation: Conversation) -> engine.Flow:
    return flows.compiled(conversation.flow_id, conversation.version, conversation.flow.name)


def proceed(conversation: Conversation, reply: engine.Reply | engine.Timeout, now: datetime) -> None:
    """Go on with what the contact said, or with their silence."""
    step = engine.advance(
        _compiled(conversation),
        conversation.state,
        reply,
        contact=_contact_root(conversation.contact),
        channel=_channel_root(conversation),
        now=zone.local(now),
    )
    if step.state is not conversation.state:  # the very same: a stale timer, nothing happened
        _apply(conversation, step, now)


def _apply(conversation: Conversation, step: engine.Step, now: datetime) -> None:
    """Write what the engine decided."""
    compiled = _compiled(conversation)
    conversation.state = step.state
    conversation.turn = step.state["turn"]
    conversation.path = _longer(conversation.path or [], [node for node, _ in step.trace])
    conversation.status = WAITING
    conversation.updated_at = now
    conversation.expires_at = now + timedelta(minutes=compiled.expire_minutes)
    for effect in step.effects:
        _perform(conversation, effect, compiled.language, now)


def _longer(path: list[str], passed: list[str]) -> list[str]:
    """The way so far and what was passed now, each node once where it was left and entered again at once."""
    longer = list(path)
    for node in passed:
        if not longer or longer[-1] != node:
            longer.append(node)
    return longer[-PATH_LENGTH:]


def _perform(conversation: Conversation, effect: engine.Effect, language: str, now: datetime) -> None:
    match effect:
        case engine.SendMessage():
            _say(conversation, effect)
        case engine.CaptureLead():
            publish(
                LeadCaptured(
                    capture_id=_act_id(conversation, effect.key),
                    conversation_id=conversation.id,
                    contact_id=conversation.contact_id,
                    channel=conversation.channel.provider,
                    language=language,
                    fields=dict(effect.fields),
                    contact_name=conversation.contact.name,
                    contact_phone=conversation.contact.phone,
                )
            )
        case engine.RequestEmail():
            publish(
                EmailRequested(
                    request_id=_act_id(conversation, effect.key),
                    conversation_id=conversation.id,
                    template=effect.template,
                    to=effect.to,
                    language=language,
                    variables=dict(effect.variables),
                    lead_id=conversation.contact.lead_id,
                )
            )
        case engine.SetTimer():
            due = now + timedelta(minutes=effect.minutes)
            db.session.add(Timer(conversation=conversation, turn=effect.turn, due_at=due))
        case engine.HandOver():
            conversation.contact.mode = HUMAN
            hand_over(conversation, effect.note, now)
        case engine.Finished():
            _finish(conversation, effect, now)
        case _:
            assert_never(effect)


def _act_id(conversation: Conversation, key: str) -> str:
    """The same id for the same act of the same conversation, whoever computes it again."""
    return str(uuid5(UUID(conversation.id), key))


def _finish(conversation: Conversation, effect: engine.Finished, now: datetime) -> None:
    close(conversation, COMPLETED if effect.outcome == "completed" else FAILED, now)
    if effect.outcome != "completed":
        conversation.error = FAILURES[effect.outcome]
        log.warning("conversation failed", conversation_id=conversation.id, outcome=effect.outcome)
    publish(
        ConversationCompleted(
            conversation_id=conversation.id,
            contact_id=conversation.contact_id,
            flow_id=conversation.flow_id,
            outcome=effect.outcome,
        )
    )


def _say(conversation: Conversation, effect: engine.SendMessage) -> None:
    choices = tuple(Choice(id=choice.id, label=choice.label) for choice in effect.choices)
    pieces = SENDERS[conversation.channel.provider].split(effect.text, choices)
    for index, piece in enumerate(pieces):
        last = index == len(pieces) - 1
        put_out(conversation.contact, conversation, piece, choices if last else (), author="")


def put_out(
    contact: Contact,
    conversation: Conversation | None,
    text: str,
    choices: tuple[Choice, ...],
    *,
    author: str,
) -> Message:
    """Queue a message behind what waits; author: the person who wrote it, empty for the bot."""
    message = Message(
        channel_id=contact.channel_id,
        contact_id=contact.id,
        conversation=conversation,
        direction="out",
        kind="text",
        text=text,
        choices=[{"id": choice.id, "label": choice.label} for choice in choices],
        author=author[:120],
        status=QUEUED,
    )
    sending.enqueue(contact, message)
    return message


def hand_over(conversation: Conversation, note: str, now: datetime) -> None:
    """The bot's part is over; a person goes on."""
    close(conversation, HANDED_OVER, now)
    conversation.note = note
    publish(
        ConversationHandedOver(
            conversation_id=conversation.id,
            contact_id=conversation.contact_id,
            flow_id=conversation.flow_id,
            note=note,
        )
    )


def close(conversation: Conversation, status: str, now: datetime) -> None:
    """End the conversation."""
    conversation.status = status
    conversation.updated_at = now
    conversation.expires_at = None


def forget_timers(conversation_ids: Collection[str]) -> None:
    """Delete the timers of conversations that go on or end. One that is left does nothing: it knows its turn."""
    if conversation_ids:
        db.session.execute(delete(Timer).where(Timer.conversation_id.in_(conversation_ids)))
