"""What providers told becomes events of a message, suppressions, and news for other services.

Notices come twice, late, and in any order: an event is taken once by its key, and what outweighs stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from app.contracts.events import EmailBounced, EmailComplained, EmailDelivered, EmailFailed, EmailUnsubscribed
from app.email.commands.delivery import mark_sent
from app.email.commands.suppressions import suppress
from app.email.models import (
    ALL,
    COMPLAINT,
    FAILED,
    HARD_BOUNCE,
    MARKETING,
    UNKNOWN,
    UNSUBSCRIBED,
    Happening,
    Message,
    Notice,
)
from app.email.providers import feedback as words
from app.email.providers.feedback import KINDS, Told
from app.kit import outbox, telemetry
from app.kit.context import request_id
from app.kit.db import db, is_id, new_id, utcnow
from app.kit.jobs import ring
from app.kit.resilience import backoff
from app.kit.rows import claim, delete_some, insert_once
from app.kit.storable import storable

NOTICE_JOB = "email.take_in_notices"

BATCH = 20
LEASE = timedelta(seconds=60)
RETRY_SECONDS = (10, 60, 300, 1800)
ATTEMPTS = 6
"""Failures after which a notice is left for a person."""

EARLY = timedelta(minutes=10)
"""A notice that names only the provider's id may come before we have written that id down."""

KEEP = timedelta(days=30)
"""How long notices are kept as they came: they hold addresses, and are of use only while somebody asks."""

log = telemetry.get_logger("email")


class TooEarly(Exception):
    """The notice is about a message whose id at the provider we may not have recorded yet."""


def store_notice(provider: str, key: str, body: bytes) -> bool:
    """Keep what a provider posted; False when it is here already."""
    values = {
        "id": new_id(),
        "provider": provider,
        "key": key[:80],
        "body": body,
        "request_id": request_id(),
        "received_at": utcnow(),
        "attempts": 0,
        "next_attempt_at": utcnow(),
    }
    if not insert_once(Notice, values, ["key"]):
        return False
    ring(NOTICE_JOB)
    return True


def claim_notices() -> list[Notice]:
    """Take the notices that wait, oldest first; those long understood are forgotten."""
    now = utcnow()
    delete_some(Notice, Notice.received_at < now - KEEP, order_by=Notice.received_at)
    return claim(
        Notice, Notice.next_attempt_at <= now, order_by=[Notice.received_at], limit=BATCH, lease=LEASE
    )


def take_in(notice_id: str, told: Iterable[Told]) -> None:
    """Apply what a notice tells, and settle it. Raises TooEarly when it should be read again later."""
    notice: Notice | None = db.session.get(Notice, notice_id, with_for_update=True, populate_existing=True)
    if notice is None or notice.next_attempt_at is None:
        return
    for event in told:
        message = _message_of(event, notice)
        if message is not None:
            with telemetry.bound(request_id=message.request_id):
                _apply(event, message, notice.provider)
    notice.next_attempt_at = notice.claimed_until = notice.last_error = None


def note_notice_failure(notice_id: str, reason: str) -> None:
    """Try a notice again later, or leave it for a person."""
    notice: Notice | None = db.session.get(Notice, notice_id, with_for_update=True, populate_existing=True)
    if notice is None:
        return
    notice.attempts += 1
    notice.claimed_until, notice.last_error = None, telemetry.masked(storable(reason))[:500]
    again = utcnow() + timedelta(seconds=backoff(notice.attempts, RETRY_SECONDS))
    notice.next_attempt_at = again if notice.attempts < ATTEMPTS else None
    log.warning(
        "notice not understood", notice_id=notice_id, provider=notice.provider, attempts=notice.attempts
    )


def _message_of(event: Told, notice: Notice) -> Message | None:
    if event.message_id is not None:
        if not is_id(event.message_id):
            return None
        return db.session.get(Message, event.message_id, with_for_update=True, populate_existing=True)
    found: Message | None = db.session.scalars(
        select(Message)
        .where(Message.provider_message_id == event.provider_message_id, Message.provider == notice.provider)
        .limit(1)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).first()
    if found is None and notice.received_at > utcnow() - EARLY:
        raise TooEarly
    return found


def _apply(event: Told, message: Message, provider: str) -> None:
    fresh = insert_once(
        Happening,
        {
            "id": new_id(),
            "message_id": message.id,
            "provider": provider,
            "event_key": storable(event.event_key),
            "kind": event.kind,
            "at": event.at,
            "reason": event.reason,
            "detail": event.detail[:500] or None,
            "url": event.url and storable(event.url),
        },
        ["provider", "event_key"],
    )
    if not fresh:
        return
    if message.status == UNKNOWN:
        mark_sent(message, event.at)
    before = message.delivery
    advanced = before is None or KINDS.index(event.kind) > KINDS.index(before)
    if advanced and event.kind != words.UNSUBSCRIBED:
        message.delivery = event.kind
    log.info("email feedback", message_id=message.id, kind=event.kind, reason=event.reason)
    _suppress(event, message)
    _tell(event, message, advanced=advanced)


def _suppress(event: Told, message: Message) -> None:
    if not message.to_ascii:  # erased
        return
    if event.kind == words.COMPLAINED or event.suppress_as == COMPLAINT:
        suppress(message.to_ascii, ALL, COMPLAINT, message_id=message.id)
    elif event.permanent:
        suppress(message.to_ascii, ALL, HARD_BOUNCE, message_id=message.id)
    elif event.kind == words.UNSUBSCRIBED or event.suppress_as == UNSUBSCRIBED:
        suppress(message.to_ascii, MARKETING, UNSUBSCRIBED, message_id=message.id)


def _tell(event: Told, message: Message, *, advanced: bool) -> None:
    about: dict[str, Any] = {"message_id": message.id, "lead_id": message.lead_id}
    if event.kind == words.UNSUBSCRIBED:
        outbox.publish(EmailUnsubscribed(**about, template=message.template))
    elif not advanced:
        return
    elif event.kind == words.DELIVERED:
        outbox.publish(EmailDelivered(**about, template=message.template))
    elif event.kind == words.BOUNCED:
        outbox.publish(
            EmailBounced(
                **about,
                template=message.template,
                permanent=event.permanent,
                reason=event.reason or words.OTHER,
            )
        )
    elif event.kind == words.COMPLAINED:
        outbox.publish(EmailComplained(**about, template=message.template))
    elif event.kind == words.REJECTED:
        message.status = FAILED
        message.error_code, message.last_error = f"rejected_{event.reason or words.OTHER}", event.detail[:500]
        outbox.publish(EmailFailed(**about, reason=message.error_code))
