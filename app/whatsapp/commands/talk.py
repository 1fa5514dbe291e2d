"""Conversations: what a contact said goes through the engine, what the engine wants becomes rows.

Everything one message causes is one transaction under the contact's lock: either all of it happened or none, and two
messages of the same person are never worked on at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select

from app.contracts.events import ConversationCompleted, ConversationExpired
from app.contracts.problems import problem
from app.kit.db import db, utcnow
from app.kit.errors import Invalid
from app.kit.outbox import publish
from app.kit.telemetry import get_logger
from app.whatsapp import engine
from app.whatsapp.commands import intake, turns
from app.whatsapp.models import (
    BOT,
    COMPLETED,
    EXPIRED,
    HUMAN,
    MESSAGE_FAILED,
    WAITING,
    Contact,
    Conversation,
    Flow,
    Message,
    Timer,
)
from app.whatsapp.providers import SENDERS
from app.whatsapp.queries import flows

REPLY_LENGTH = 4096
"""Longest text a person may send at once (Meta's limit)."""

log = get_logger("whatsapp")


def handle_next(contact_id: str) -> bool:
    """Handle the oldest message of this contact that is due; False when there is none."""
    now = utcnow()
    contact = turns.lock_contact(contact_id)
    message = _oldest_unhandled(contact_id)
    if message is None or (message.next_attempt_at is not None and message.next_attempt_at > now):
        return False
    contact.last_position += 1
    message.position = contact.last_position
    message.handled_at = now
    contact.last_inbound_at = now
    conversation = turns.open_conversation(contact_id)
    if message.silent or contact.mode == HUMAN:
        around = conversation or turns.newest_conversation(contact_id)
        message.conversation_id = around.id if around is not None else None
        return True
    if conversation is not None:
        message.conversation_id = conversation.id
        turns.proceed(conversation, _reply_of(message), now)
        return True
    flow = flows.triggered(message.text) or _default_flow(contact)
    if flow is not None:
        begun = turns.begin(contact, flow, variables={}, started_by="contact", said=message.text, now=now)
        message.conversation_id = begun.id
    return True


def note_failure(contact_id: str, error: Exception) -> None:
    """The oldest message could not be handled: try later, or show it among the dead letters and go on without it."""
    now = utcnow()
    contact = turns.lock_contact(contact_id)
    message = _oldest_unhandled(contact_id)
    if message is None:
        return
    message.attempts += 1
    message.last_error = intake.short(error)
    message.next_attempt_at = intake.retry_at(message.attempts, now)
    if message.next_attempt_at is None:
        contact.last_position += 1
        message.position = contact.last_position
        message.status, message.failed_at, message.handled_at = MESSAGE_FAILED, now, now
        intake.bury(message.webhook_id, message.last_error, now)


def start_flow(contact_id: str, flow: Flow, *, variables: Mapping[str, Any], by: str) -> Conversation:
    """Start a flow on our side. A conversation that still waits is ended: a person decided to begin anew."""
    now = utcnow()
    contact = turns.lock_contact(contact_id)
    running = turns.open_conversation(contact_id)
    if running is not None:
        turns.close(running, COMPLETED, now)
        publish(
            ConversationCompleted(
                conversation_id=running.id, contact_id=contact_id, flow_id=running.flow_id, outcome="replaced"
            )
        )
        db.session.flush()
    contact.mode = BOT
    return turns.begin(contact, flow, variables=variables, started_by=by, now=now)


def fire_timer(timer_id: str) -> None:
    """“No answer by then”. A timer of an earlier turn, or of a conversation that is over, does nothing."""
    now = utcnow()
    timer = db.session.get(Timer, timer_id)
    if timer is None:
        return
    conversation = db.session.get(Conversation, timer.conversation_id)
    if conversation is not None:
        contact = turns.lock_contact(conversation.contact_id)
        db.session.refresh(conversation)
        if conversation.status == WAITING and conversation.turn == timer.turn and contact.mode == BOT:
            turns.proceed(conversation, engine.Timeout(turn=timer.turn), now)
    # By a statement: somebody else may have fired it while we waited for the lock.
    db.session.execute(delete(Timer).where(Timer.id == timer_id))


def drop_timer(timer_id: str, error: Exception) -> None:
    """A timer that cannot be handled must not be tried for ever."""
    timer = db.session.get(Timer, timer_id)
    if timer is None:
        return
    timer.attempts += 1
    retry = intake.retry_at(timer.attempts, utcnow())
    if retry is None:
        log.error(
            "timer given up",
            timer_id=timer_id,
            conversation_id=timer.conversation_id,
            error=intake.short(error),
        )
        db.session.delete(timer)
    else:
        timer.due_at = retry


def expire(conversation_id: str) -> None:
    """End a conversation in which nobody has answered within the flow's time."""
    now = utcnow()
    conversation = db.session.get(Conversation, conversation_id)
    if conversation is None:
        return
    turns.lock_contact(conversation.contact_id)
    db.session.refresh(conversation)
    if conversation.status != WAITING or conversation.expires_at is None or conversation.expires_at > now:
        return
    turns.close(conversation, EXPIRED, now)
    publish(
        ConversationExpired(
            conversation_id=conversation.id, contact_id=conversation.contact_id, flow_id=conversation.flow_id
        )
    )


def due_timers(now: datetime, limit: int) -> list[str]:
    """Ids of timers to fire."""
    return list(
        db.session.scalars(select(Timer.id).where(Timer.due_at <= now).order_by(Timer.due_at).limit(limit))
    )


def due_expiries(now: datetime, limit: int) -> list[str]:
    """Ids of conversations whose time is over."""
    return list(
        db.session.scalars(
            select(Conversation.id)
            .where(Conversation.status == WAITING, Conversation.expires_at <= now)
            .order_by(Conversation.expires_at)
            .limit(limit)
        )
    )


def write_as_person(contact_id: str, text: str, *, by: str) -> Message:
    """A person answers: the bot keeps still from now on. Raises Invalid."""
    text = text.strip()
    if not text:
        raise Invalid([problem("/text", "required", "Write something first.")])
    if len(text) > REPLY_LENGTH:
        raise Invalid([problem("/text", "too_long", "At most %(limit)s characters.", limit=REPLY_LENGTH)])
    if "\x00" in text:
        raise Invalid([problem("/text", "nul", "The text holds a NUL character.")])
    contact = turns.lock_contact(contact_id)
    take_over(contact_id)
    conversation = turns.newest_conversation(contact_id)
    pieces = SENDERS[contact.channel.provider].split(text, ())
    first: Message | None = None
    for piece in pieces:
        message = turns.put_out(contact, conversation.id if conversation else None, piece, (), author=by)
        first = first or message
    db.session.flush()
    if first is None:
        raise Invalid([problem("/text", "required", "Write something first.")])
    return first


def take_over(contact_id: str) -> None:
    """A person goes on: the bot's conversation ends as handed over, and the bot stays silent."""
    now = utcnow()
    contact = turns.lock_contact(contact_id)
    contact.mode = HUMAN
    conversation = turns.open_conversation(contact_id)
    if conversation is not None:
        turns.hand_over(conversation, "", now)


def return_to_bot(contact_id: str) -> None:
    """The bot answers this contact again, from the next message on."""
    turns.lock_contact(contact_id).mode = BOT


def _oldest_unhandled(contact_id: str) -> Message | None:
    return db.session.scalar(
        select(Message)
        .where(Message.contact_id == contact_id, Message.direction == "in", Message.handled_at.is_(None))
        .order_by(Message.webhook_id, Message.webhook_index)
        .limit(1)
        .execution_options(populate_existing=True)
    )


def _default_flow(contact: Contact) -> Flow | None:
    flow = contact.channel.default_flow
    if flow is None or flow.archived_at is not None or flow.published_version is None:
        return None
    return flow


def _reply_of(message: Message) -> engine.Reply:
    kind = "button" if message.kind == "choice" else message.kind
    return engine.Reply(text=message.text, payload=message.choice_id, kind=kind)
