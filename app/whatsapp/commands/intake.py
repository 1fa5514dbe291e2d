"""From a provider's request to rows that wait for their turn.

Two steps, because they fail for different reasons. store_webhook() keeps the bytes; it is on the path of the request
and does nothing else. take_in() understands them: contacts, inbound messages, states of our own messages.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, delete, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from app.contracts.events import MessageReceived
from app.kit.db import db, engine_of, insert_once, new_id, utcnow
from app.kit.errors import NotFound
from app.kit.outbox import publish
from app.kit.resilience import backoff
from app.kit.telemetry import get_logger, masked
from app.whatsapp.commands import simulator, states
from app.whatsapp.models import BOT, MESSAGE_FAILED, RECEIVED, Channel, Contact, Message, Webhook
from app.whatsapp.providers import SENDERS
from app.whatsapp.providers.base import InboundMessage, Raw, StatusUpdate
from app.whatsapp.queries import channels, inbound

BATCH = 50
"""Webhooks taken in by one transaction."""

ATTEMPTS = 5
"""Failures after which a webhook or an inbound message is a dead letter: shown, replayable, blocking nobody."""

RETRY_STEPS = (2, 10, 60, 300)
"""Seconds before the n-th retry."""

KEEP = timedelta(days=30)
"""How long handled webhooks are kept raw: Meta repeats for up to 7 days, and a repeat must meet its digest."""

KEPT_HEADERS = ("content-type", "user-agent", "i-twilio-idempotency-token", "x-request-id")
"""What is kept of a webhook's headers; signatures are not, they have been checked."""

SILENT = frozenset({"reaction", "system"})
"""Kinds that are shown in the transcript but are no answer to the bot."""

TURN_KEY = 0x656D6275646F
"""Advisory lock: one process at a time takes webhooks in, so that a contact's messages keep their order."""

NAME_LENGTH = 200

log = get_logger("whatsapp")


_KEEP_ON_POSTGRESQL, _KEEP_ON_SQLITE = (
    dialect.insert(Webhook.__table__)
    .on_conflict_do_nothing(index_elements=["digest"])
    .execution_options(preserve_rowcount=True)
    for dialect in (postgresql, sqlite)
)


class UnknownNumber(LookupError):
    """A webhook for a number that no channel has; add the channel, then replay."""


def store_webhook(provider: str, raw: Raw, channel_id: str | None) -> bool:
    """Keep a verified request durably; False when these very bytes are here already.

    The one command with a commit of its own, and without the ORM: it is the whole of `POST /message`, and a session
    would double its cost (ADR on the hot path).
    """
    engine = engine_of("whatsapp")
    values = _row_of(provider, raw, channel_id)
    try:
        return _keep(engine, values)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        return _keep(engine, values)  # the database was restarted; the digest makes a second try harmless


def store_own_webhook(provider: str, raw: Raw) -> bool:
    """The same within the running transaction, for a door of ours that stores more than the webhook.

    A second connection would wait for the first one's lock, on SQLite until it gives up.
    """
    return insert_once(Webhook, _row_of(provider, raw, None), ["digest"])


def _row_of(provider: str, raw: Raw, channel_id: str | None) -> dict[str, Any]:
    return {
        "id": new_id(),
        "provider": provider,
        "digest": hashlib.sha256(b"\0".join((provider.encode(), raw.url.encode(), raw.body))).digest(),
        "channel_id": channel_id,
        "url": raw.url,
        "headers": {name: raw.headers[name] for name in KEPT_HEADERS if name in raw.headers},
        "body": raw.body,
        "received_at": utcnow(),
        "attempts": 0,
    }


def _keep(engine: Engine, values: dict[str, Any]) -> bool:
    if engine.dialect.name == "postgresql":
        # One statement is a transaction by itself: BEGIN and COMMIT would be two more round trips.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return connection.execute(_KEEP_ON_POSTGRESQL, values).rowcount == 1
    with engine.begin() as connection:
        return connection.execute(_KEEP_ON_SQLITE, values).rowcount == 1


def take_in(limit: int = BATCH) -> int:
    """Understand the oldest waiting webhooks; how many were looked at."""
    _take_turn()
    now = utcnow()
    rows = db.session.scalars(
        select(Webhook).where(*inbound.webhook_is_due(now)).order_by(Webhook.id).limit(limit)
    ).all()
    heard: dict[str, datetime] = {}
    for row in rows:
        try:
            with db.session.begin_nested():
                heard.update(_understand(row, now))
        except Exception as error:
            log.exception("webhook failed", webhook_id=row.id, provider=row.provider)
            _note_failure(row, error, now)
        else:
            row.processed_at = now
            row.last_error = None
    # Last, because senders lock a contact before its channel and the other way round could wait for ever.
    for channel_id, at in heard.items():
        db.session.execute(update(Channel).where(Channel.id == channel_id).values(last_webhook_at=at))
    states.match_kept()
    return len(rows)


def replay_webhook(webhook_id: str) -> None:
    """Give a dead letter its attempts back, its failed messages too; raises NotFound."""
    row = db.session.get(Webhook, webhook_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound("webhook", webhook_id)
    failed = db.session.scalars(
        select(Message).where(
            Message.webhook_id == row.id, Message.direction == "in", Message.status == MESSAGE_FAILED
        )
    ).all()
    for message in failed:
        message.status, message.handled_at, message.failed_at = RECEIVED, None, None
        message.attempts, message.next_attempt_at, message.last_error = 0, None, None
    row.dead_at = row.next_attempt_at = None
    row.attempts = 0
    if not failed:  # a webhook whose messages are stored has been understood already
        row.processed_at = None


def bury(webhook_id: str | None, error: str, now: datetime) -> None:
    """Show a webhook among the dead letters because one of its messages could not be handled."""
    row = db.session.get(Webhook, webhook_id) if webhook_id else None
    if row is not None:
        row.dead_at, row.last_error = now, error


def purge(now: datetime) -> None:
    """Forget handled webhooks that no provider repeats any more, and receipts that nobody claimed."""
    limit = now - KEEP
    db.session.execute(delete(Webhook).where(Webhook.processed_at < limit, Webhook.dead_at.is_(None)))
    states.purge_receipts(limit)


def short(error: Exception) -> str:
    """An error for the admin: its kind and words, without personal data, of bounded length."""
    return masked(f"{type(error).__name__}: {error}")[:500]


def retry_at(attempts: int, now: datetime) -> datetime | None:
    """When to try again after `attempts` failures; None: never."""
    return None if attempts >= ATTEMPTS else now + timedelta(seconds=backoff(attempts, RETRY_STEPS))


def _take_turn() -> None:
    # SQLite needs nothing: transaction() holds the only write lock.
    if db.session.get_bind(clause=Webhook.__table__).dialect.name == "postgresql":
        db.session.execute(
            text("SELECT pg_advisory_xact_lock(:key)"),
            {"key": TURN_KEY},
            bind_arguments={"clause": Webhook.__table__},
        )


def _note_failure(row: Webhook, error: Exception, now: datetime) -> None:
    row.attempts += 1
    row.last_error = short(error)
    row.next_attempt_at = retry_at(row.attempts, now)
    if row.next_attempt_at is None or isinstance(error, UnknownNumber):
        row.dead_at = now  # a number does not appear by waiting: the owner adds it and replays


def _understand(row: Webhook, now: datetime) -> dict[str, datetime]:
    raw = Raw(url=row.url, method="POST", headers=row.headers or {}, body=bytes(row.body))
    parse = simulator.parse if row.provider == simulator.PROVIDER else SENDERS[row.provider].parse
    found: dict[str, Channel] = {}
    for index, item in enumerate(parse(raw)):
        channel = found.get(item.account) or _channel_of(row, item.account)
        found[item.account] = channel
        if isinstance(item, StatusUpdate):
            states.apply_update(channel.id, item)
        elif item.user_id:
            _keep_message(row, index, channel, item, now)
    return {channel.id: row.received_at for channel in found.values()}


def _channel_of(row: Webhook, account: str) -> Channel:
    channel = channels.by_address(row.provider, account)
    if channel is not None:
        return channel
    if row.channel_id is None and channels.environment(row.provider):
        # The environment's secret signed it, so the number is of that account: nothing may be lost because
        # nobody has opened the channel's page yet.
        channel = Channel(name=f"{row.provider.title()} {account}", provider=row.provider, address=account)
        db.session.add(channel)
        db.session.flush()
        channels.forget_doors()
        log.info("channel added from the environment", channel_id=channel.id, provider=row.provider)
        return channel
    raise UnknownNumber(f"No {row.provider} channel has the number this webhook is for. Add it, then replay.")


def _keep_message(row: Webhook, index: int, channel: Channel, item: InboundMessage, now: datetime) -> None:
    if row.provider == simulator.PROVIDER:
        # Every chat of the simulator is somebody new, whatever number they give themselves.
        contact = contact_for(channel.id, (item.user_id,), item.phone, item.name or "", known_by_phone=False)
    else:
        contact = contact_for(channel.id, item.identities, item.phone, item.name or "")
    message_id = new_id()
    fresh = insert_once(
        Message,
        {
            "id": message_id,
            "channel_id": channel.id,
            "contact_id": contact.id,
            "direction": "in",
            "kind": item.kind,
            "text": item.text or _caption(item),
            "choices": [],
            "choice_id": item.choice_id[:300] if item.choice_id else None,
            "payload": item.raw,
            "author": "",
            "provider_id": item.provider_id[:200],
            "webhook_id": row.id,
            "webhook_index": index,
            "silent": item.group or item.kind in SILENT,
            "status": RECEIVED,
            "attempts": 0,
            "created_at": now,
        },
        ["channel_id", "provider_id", "direction"],
    )
    if fresh:
        publish(
            MessageReceived(
                message_id=message_id, contact_id=contact.id, channel_id=channel.id, kind=item.kind
            )
        )


def _caption(item: InboundMessage) -> str:
    return next((media.caption for media in item.media if media.caption), "")


def contact_for(
    channel_id: str, identities: tuple[str, ...], phone: str | None, name: str, *, known_by_phone: bool = True
) -> Contact:
    """The contact known by one of these user ids (strongest first) or by this phone; a new one otherwise.

    WhatsApp gave people new ids in 2026: whoever was known by the number stays the same contact under the new id.
    """
    known_by: list[Any] = [Contact.user_id.in_(identities)]
    if phone and known_by_phone:
        known_by.append(Contact.phone == phone)
    rows = db.session.scalars(
        select(Contact).where(Contact.channel_id == channel_id, or_(*known_by)).order_by(Contact.id).limit(10)
    ).all()
    by_id = {row.user_id: row for row in rows}
    contact = next(
        (by_id[identity] for identity in identities if identity in by_id), rows[0] if rows else None
    )
    if contact is None:
        contact = Contact(
            channel_id=channel_id, user_id=identities[0], phone=phone, name=name[:NAME_LENGTH], mode=BOT
        )
        db.session.add(contact)
        db.session.flush()
        return contact
    if identities[0] not in by_id:
        contact.user_id = identities[0]
    if phone and contact.phone != phone:
        contact.phone = phone
    if name and contact.name != name[:NAME_LENGTH]:
        contact.name = name[:NAME_LENGTH]
    return contact
