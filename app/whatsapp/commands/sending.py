"""Each reply goes out once, in order, and no transaction is open while a provider is asked.

A contact is a lane: whoever claims it may hand over its first unsent message, nothing else. The message becomes
`sending` in a commit of its own just before the call. A process killed before that commit has sent nothing, and the
message simply leaves later; one killed after it may have sent it, so the message waits for the provider's callback,
which carries our reference, and becomes `unknown` when none comes. Nothing unknown is ever repeated by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flask import current_app

from app.contracts.problems import problem
from app.kit.context import request_id
from app.kit.db import db, is_id, utcnow
from app.kit.errors import Conflict, Misconfigured, NotFound, Permanent, ProviderError, RateLimited, Temporary
from app.kit.jobs import ring
from app.kit.resilience import BreakerOpen, backoff
from app.kit.secrets import Undecryptable
from app.whatsapp.commands import contacts, states
from app.whatsapp.models import (
    MESSAGE_FAILED,
    QUEUED,
    SENDING,
    SENT,
    UNKNOWN,
    UNSENT,
    Channel,
    Contact,
    Message,
)
from app.whatsapp.providers import Accepted, Choice, Outgoing, Recipient
from app.whatsapp.queries import channels
from app.whatsapp.queries import sending as queries

RETRY_STEPS = (5, 15, 60, 300, 900, 1800)
"""Seconds before the n-th repeat of a call that delivered nothing."""

ATTEMPTS = 8
"""Calls that delivered nothing after which a message has failed: some two hours."""

FAULT_PAUSE = timedelta(minutes=2)
"""How long nobody on a channel is called after the provider refused our account."""

RATE_PAUSE = timedelta(seconds=5)
"""How long a channel rests when the provider says “too fast” and not for how long."""

LONGEST_PAUSE = timedelta(hours=1)

GIVE_UP = timedelta(hours=24)
"""After so long an unsent reply answers nobody any more (and WhatsApp's window has closed)."""

CALLBACK_PATH = "/message/status"


@dataclass(frozen=True, kw_only=True)
class Errand:
    """One call to make: what to send, by whom, with which credentials. request_id: of what caused the message."""

    message_id: str
    request_id: str | None
    contact_id: str
    channel_id: str
    provider: str
    outgoing: Outgoing
    credentials: dict[str, str] = field(repr=False)


def hand_over(limit: int) -> list[Errand]:
    """Claim up to `limit` lanes and mark the first message of each as being sent; call after the commit."""
    now = utcnow()
    lanes = queries.claim(now, _claimed_until(now), limit)
    heads = queries.heads([contact.id for contact in lanes])
    marked = _Marked(now)
    for contact in lanes:
        marked.add(contact, heads.get(contact.id))
    return marked.errands


def record(results: Sequence[tuple[Errand, Accepted | ProviderError]], *, go_on: bool) -> list[Errand]:
    """Note what providers said, and let go of the lanes; or, to go on, mark and give the next message of each."""
    now = utcnow()
    lanes = contacts.lock({errand.contact_id for errand, _ in results})
    ids = {errand.message_id for errand, _ in results}
    names = {
        result.provider_id[: states.NAME_LENGTH] for _, result in results if isinstance(result, Accepted)
    }
    known = queries.messages(ids, {errand.channel_id for errand, _ in results}, names)
    heads = queries.heads(lanes, without=ids)
    said = [(lanes[errand.contact_id], known[errand.message_id], result) for errand, result in results]
    accepted = [(message, result.provider_id) for _, message, result in said if isinstance(result, Accepted)]
    states.name_messages(accepted, known.values())
    for contact, message, result in said:
        if isinstance(result, Accepted):
            states.advance_state(message, SENT, at=now)
            _heal(contact.channel, message)
        elif message.status == SENDING:  # else a callback was quicker and knows more than the broken call
            _note_refusal(message, contact.channel, result, now)
    states.apply_kept([message for message, _ in accepted])
    marked = _Marked(now)
    for contact, message, _ in said:
        head = heads.get(contact.id)
        if message.status in UNSENT:  # it is the first one still
            _release(contact, message, now)
        elif go_on and head is not None and head.message.status == QUEUED and _open(head.channel, now):
            marked.add(contact, head)
        else:
            _release(contact, head.message if head else None, now)
    return marked.errands


class _Marked:
    """Messages that become `sending`, and the errands that send them."""

    def __init__(self, now: datetime) -> None:
        self.errands: list[Errand] = []
        self._now = now
        self._credentials: dict[str, dict[str, str] | None] = {}

    def add(self, contact: Contact, head: queries.Head | None) -> None:
        """Mark the first message of a claimed lane, or give the lane back when it has to wait."""
        message = head.message if head else None
        if head is not None and message is not None and message.status == SENDING:
            message = _settle(message, head.channel, self._now)
        if head is None or message is None or message.status == SENDING or _later(message, self._now):
            _release(contact, message, self._now)
            return
        credentials = self._credentials_of(head)
        if credentials is None:
            _release(contact, message, self._now)
            return
        message.status, message.handing_over_at = SENDING, self._now
        message.attempts += 1
        contact.claimed_until = _claimed_until(self._now)
        self.errands.append(_errand(message, contact, head.channel, credentials))

    def _credentials_of(self, head: queries.Head) -> dict[str, str] | None:
        channel = head.channel
        if channel.id not in self._credentials:
            try:
                self._credentials[channel.id] = channels.opened(channel.provider, head.credentials)
            except Undecryptable:
                _hold(channel, self._now + FAULT_PAUSE, channels.UNREADABLE)
                self._credentials[channel.id] = None
        return self._credentials[channel.id]


def send_again(message_id: str, *, contact_id: str, by: str) -> None:
    """Queue a failed or unknown message again, behind what waits; a person decided that. Raises Conflict."""
    contact = contacts.lock({contact_id}).get(contact_id)
    if contact is None:
        raise NotFound("contact", contact_id)
    message = None
    if is_id(message_id):
        message = db.session.get(Message, message_id, with_for_update=True, populate_existing=True)
    if message is None or message.direction != "out" or message.contact_id != contact.id:
        raise NotFound("message", message_id)
    if message.status not in (MESSAGE_FAILED, UNKNOWN):
        raise Conflict(
            problem("", "not_failed", "Only a message that failed or is unknown can be sent again.")
        )
    copy = Message(
        channel_id=message.channel_id,
        contact_id=message.contact_id,
        conversation_id=message.conversation_id,
        direction="out",
        kind=message.kind,
        text=message.text,
        choices=message.choices,
        author=by,
        status=QUEUED,
    )
    enqueue(contact, copy)


def enqueue(contact: Contact, message: Message) -> None:
    """Put an outbound message at the end of the contact's lane; the caller holds the contact's lock."""
    contact.last_position += 1
    message.position = contact.last_position
    message.request_id = request_id()
    db.session.add(message)
    now = utcnow()
    if contact.next_send_at is None or contact.next_send_at > now:
        contact.next_send_at = now
    ring(states.SEND_JOB)


def callback_url() -> str | None:
    """Where providers that ask for it should tell what became of a message; None while nobody could reach us."""
    public = current_app.config.get("PUBLIC_URL")
    return f"{public.rstrip('/')}{CALLBACK_PATH}" if public else None


def _errand(message: Message, contact: Contact, channel: Channel, credentials: dict[str, str]) -> Errand:
    return Errand(
        message_id=message.id,
        request_id=message.request_id,
        contact_id=contact.id,
        channel_id=channel.id,
        provider=channel.provider,
        credentials=credentials,
        outgoing=Outgoing(
            reference=message.id,
            to=Recipient(user_id=contact.user_id, phone=contact.phone),
            text=message.text,
            choices=tuple(Choice(id=item["id"], label=item["label"]) for item in message.choices or ()),
            callback_url=callback_url(),
        ),
    )


def _settle(message: Message, channel: Channel, now: datetime) -> Message | None:
    """A message whose sender is gone: repeat it where that is harmless, else wait, else call it unknown."""
    if channel.provider == "simulator":
        message.status = QUEUED  # accepting is all a simulator does; doing it twice changes nothing
        return message
    if message.handing_over_at is not None and now < message.handing_over_at + _reconcile():
        return message
    states.call_unknown(message, message.last_error or "The process ended while the provider was called.")
    following = queries.heads({message.contact_id}, without={message.id}).get(message.contact_id)
    return following.message if following else None


def _claimed_until(now: datetime) -> datetime:
    """More than the slowest call: connect, then three times the read time-out."""
    return now + _setting("CLAIM_SECONDS")


def _open(channel: Channel, now: datetime) -> bool:
    """Whether the channel may be called; as queries.claim asks the database."""
    return channel.active and (channel.held_until is None or channel.held_until <= now)


def _reconcile() -> timedelta:
    """How long to wait for a callback that tells whether an unanswered call arrived."""
    return _setting("WHATSAPP_ANSWER_SECONDS")


def _setting(name: str) -> timedelta:
    return timedelta(seconds=current_app.config[name])


def _later(message: Message, now: datetime) -> bool:
    return message.next_attempt_at is not None and message.next_attempt_at > now


def _release(contact: Contact, message: Message | None, now: datetime) -> None:
    """Give the lane back and say when its first unsent message is due."""
    contact.claimed_until = None
    if message is None:
        contact.next_send_at = None
    elif message.status == SENDING:
        contact.next_send_at = (message.handing_over_at or now) + _reconcile()
    else:
        contact.next_send_at = max(now, message.next_attempt_at or now)


def _note_refusal(message: Message, channel: Channel, error: ProviderError, now: datetime) -> None:
    message.last_error, message.error_code = error.detail, error.code
    spent = message.attempts >= ATTEMPTS or now - message.created_at > GIVE_UP
    if isinstance(error, Permanent) or (isinstance(error, Temporary) and spent):
        states.advance_state(message, MESSAGE_FAILED, at=now, error=error.detail, code=error.code)
        return
    if not isinstance(error, Temporary):
        # Unknown: it may have been delivered. Later messages wait for the callback as long as this one does.
        return
    message.status, message.handing_over_at = QUEUED, None
    if isinstance(error, BreakerOpen):
        message.attempts -= 1
        _hold(channel, now + timedelta(seconds=error.retry_after or 0), None)
    elif isinstance(error, Misconfigured):
        message.attempts -= 1  # the account's fault, not the message's
        _hold(channel, now + FAULT_PAUSE, error.detail)
    elif isinstance(error, RateLimited):
        message.attempts -= 1
        wait = RATE_PAUSE if error.retry_after is None else timedelta(seconds=error.retry_after)
        message.next_attempt_at = now + min(wait, LONGEST_PAUSE)
    else:
        message.next_attempt_at = now + timedelta(seconds=backoff(message.attempts, RETRY_STEPS))


def _hold(channel: Channel, until: datetime, fault: str | None) -> None:
    channel.held_at = utcnow()
    if channel.held_until is None or channel.held_until < until:
        channel.held_until = until
    if fault is not None:
        channel.fault = fault


def _heal(channel: Channel, message: Message) -> None:
    """A call that was accepted ends the pause, unless it was under way already when the pause began."""
    began = message.handing_over_at
    if channel.held_at is not None and began is not None and began > channel.held_at:
        channel.fault = channel.held_until = channel.held_at = None
