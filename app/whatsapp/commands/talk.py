"""Conversations: what a contact said goes through the engine, what the engine wants becomes rows.

Everything one message causes is one transaction under the contact's lock: either all of it happened or none, and two
messages of the same person are never worked on at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select

from app.contracts.events import ConversationCompleted, ConversationExpired
from app.contracts.problems import problem
from app.kit.db import db, utcnow
from app.kit.errors import Invalid
from app.kit.outbox import publish
from app.kit.telemetry import bound, get_logger
from app.whatsapp import engine
from app.whatsapp.commands import contacts, intake, turns
from app.whatsapp.models import (
    BOT,
    COMPLETED,
    EXPIRED,
    HUMAN,
    MESSAGE_FAILED,
    OPEN,
    WAITING,
    Contact,
    Conversation,
    Flow,
    Message,
    Timer,
)
from app.whatsapp.providers import SENDERS
from app.whatsapp.queries import flows, inbound

REPLY_LENGTH = 4096
"""Longest text a person may send at once (Meta's limit)."""

EXPIRY_PAUSE = timedelta(minutes=10)
"""After how long ending a conversation that nobody goes on with is tried again when it failed."""

log = get_logger("whatsapp")


def handle(contact_ids: Collection[str], limit: int) -> int:
    """Handle what waits of these contacts, each one's messages in their order, at most `limit`; how many they were."""
    now = utcnow()
    people = contacts.lock(contact_ids)
    messages = _due(inbound.unhandled(people, limit), now)
    talks = turns.open_conversations(people)
    spoken = {
        message.contact_id for message in messages if not _to_nobody(message, people[message.contact_id])
    }
    turns.forget_timers({talks[contact_id].id for contact_id in spoken & talks.keys()})
    catalogue = flows.Catalogue()
    if spoken - talks.keys():
        catalogue.read()  # before anything is changed, or the query would write half of it
    for message in messages:
        contact = people[message.contact_id]
        contact.last_position += 1
        message.position = contact.last_position
        message.handled_at = now
        contact.last_inbound_at = now
        with bound(request_id=message.request_id):
            talk = _handle(message, contact, talks.get(contact.id), catalogue, now)
            log.info("message handled", message_id=message.id, conversation_id=talk.id if talk else None)
        if talk is not None and talk.status in OPEN:
            talks[contact.id] = talk
        elif talks.pop(contact.id, None) is not None:
            db.session.flush()  # the row must be seen as closed before the next one of this contact is opened
    return len(messages)


def _handle(
    message: Message, contact: Contact, talk: Conversation | None, catalogue: flows.Catalogue, now: datetime
) -> Conversation | None:
    """What a message leads to; gives the conversation that it belongs to."""
    if _to_nobody(message, contact):
        talk = talk or turns.newest_conversation(contact.id)
        message.conversation = talk
        return talk
    if talk is not None:
        message.conversation = talk
        turns.proceed(talk, _reply_of(message), now)
        return talk
    flow = catalogue.triggered(message.text) or catalogue.get(contact.channel.default_flow_id)
    if flow is None:
        return None
    talk = turns.begin(contact, flow, variables={}, started_by="contact", said=message.text, now=now)
    message.conversation = talk
    return talk


def _to_nobody(message: Message, contact: Contact) -> bool:
    """Whether the bot has nothing to say to it."""
    return message.silent or contact.mode == HUMAN


def _due(messages: Sequence[Message], now: datetime) -> list[Message]:
    """Those whose turn it is: one that waits for its next attempt holds back the later ones of its contact."""
    held: set[str] = set()
    due = []
    for message in messages:
        if message.next_attempt_at is not None and message.next_attempt_at > now:
            held.add(message.contact_id)
        elif message.contact_id not in held:
            due.append(message)
    return due


def note_failure(contact_id: str, error: Exception) -> None:
    """The oldest message could not be handled: try later, or show it among the dead letters and go on without it."""
    now = utcnow()
    contact = turns.lock_contact(contact_id)
    message = next(iter(inbound.unhandled({contact_id}, 1)), None)
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
        turns.forget_timers({running.id})
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


def note_timer_failure(timer_id: str, error: Exception) -> None:
    """Try a timer again later; one that cannot be handled is given up in the end."""
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
    turns.forget_timers({conversation.id})
    publish(
        ConversationExpired(
            conversation_id=conversation.id, contact_id=conversation.contact_id, flow_id=conversation.flow_id
        )
    )


def note_expiry_failure(conversation_id: str, _error: Exception) -> None:
    """Try to end a conversation again later, so that it stands in nobody's way."""
    conversation = db.session.get(Conversation, conversation_id)
    if conversation is not None and conversation.status == WAITING:
        conversation.expires_at = utcnow() + EXPIRY_PAUSE


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
        message = turns.put_out(contact, conversation, piece, (), author=by)
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
        turns.forget_timers({conversation.id})


def return_to_bot(contact_id: str) -> None:
    """The bot answers this contact again, from the next message on."""
    turns.lock_contact(contact_id).mode = BOT


def _reply_of(message: Message) -> engine.Reply:
    kind = "button" if message.kind == "choice" else message.kind
    return engine.Reply(text=message.text, payload=message.choice_id, kind=kind)
