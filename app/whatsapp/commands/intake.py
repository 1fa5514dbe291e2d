"""From a provider's request to rows that wait for their turn.

Two steps, because they fail for different reasons. store_webhook() keeps the bytes; it is on the path of the request
and does nothing else. take_in() understands them: contacts, inbound messages, states of our own messages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, bindparam, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from app.contracts.events import MessageReceived
from app.kit.context import request_id
from app.kit.db import UtcDateTime, db, engine_of, new_id, utcnow
from app.kit.errors import NotFound
from app.kit.outbox import publish
from app.kit.resilience import backoff
from app.kit.rows import delete_some, insert_many_once, insert_once
from app.kit.telemetry import bound, get_logger, masked
from app.whatsapp.commands import contacts, simulator, states
from app.whatsapp.models import MESSAGE_FAILED, RECEIVED, Channel, Message, Webhook
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

HEARD_SECONDS = 5
"""How exactly a channel knows when it was last heard of: its row is not written for every webhook."""

log = get_logger("whatsapp")


_KEEP_ON_POSTGRESQL, _KEEP_ON_SQLITE = (
    dialect.insert(Webhook.__table__)
    .on_conflict_do_nothing(index_elements=["digest"])
    .execution_options(preserve_rowcount=True)
    for dialect in (postgresql, sqlite)
)


_PROCESSED = (
    update(Webhook)
    .where(Webhook.id.in_(bindparam("ids", expanding=True)))
    .values(processed_at=bindparam("now", type_=UtcDateTime), last_error=None)
    .execution_options(synchronize_session=False)
)
"""Made once, as those of app.whatsapp.queries.inbound."""


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
        "request_id": request_id(),
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


@dataclass(frozen=True, kw_only=True)
class _Arrival:
    """A message in a webhook, and who sent it."""

    row: Webhook
    index: int
    person: contacts.Person
    item: InboundMessage


@dataclass(kw_only=True)
class _Mail:
    """What webhooks brought, understood but not written yet."""

    rows: list[Webhook] = field(default_factory=list)
    arrivals: list[_Arrival] = field(default_factory=list)
    updates: list[tuple[str, StatusUpdate]] = field(default_factory=list)
    heard: dict[str, tuple[Channel, datetime]] = field(default_factory=dict)


def take_in(limit: int = BATCH, *, singly: bool = False) -> int:
    """Understand the oldest waiting webhooks, all by the same few statements; how many were looked at.

    singly: each in a savepoint of its own, for when together they fail: one that the database refuses must not hold
    back the others.
    """
    _take_turn()
    now = utcnow()
    rows = inbound.due_webhooks(now, limit)
    if not singly:
        _keep_mail(_understood(rows, now), now)
        return len(rows)
    for row in rows:
        try:
            with db.session.begin_nested():
                _keep_mail(_understood([row], now), now)
        except Exception as error:  # noqa: BLE001 (logged with the note)
            _note_failure(row, error, now)
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


def purge(now: datetime) -> bool:
    """Forget a batch of handled webhooks that no provider repeats any more, and of receipts that nobody claimed.

    Whether there may be more.
    """
    limit = now - KEEP
    webhooks = delete_some(
        Webhook, Webhook.processed_at < limit, Webhook.dead_at.is_(None), order_by=Webhook.processed_at
    )
    return bool(webhooks + states.purge_receipts(limit))


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
    about = {"webhook_id": row.id, "provider": row.provider, "request_id": row.request_id}
    if isinstance(error, UnknownNumber):
        log.warning("webhook for an unknown number", **about)
    else:
        log.error("webhook failed", exc_info=error, **about)
    row.attempts += 1
    row.last_error = short(error)
    row.next_attempt_at = retry_at(row.attempts, now)
    if row.next_attempt_at is None or isinstance(error, UnknownNumber):
        row.dead_at = now  # a number does not appear by waiting: the owner adds it and replays


def _understood(rows: Sequence[Webhook], now: datetime) -> _Mail:
    """What these webhooks say. Of one that nobody can read the failure is noted; the others go on."""
    mail = _Mail()
    known: dict[tuple[str, str], Channel] = {}
    for row in rows:
        one = _Mail(rows=[row])
        try:
            for index, item in enumerate(_items(row)):
                key = (row.provider, item.account)
                channel = known.get(key) or _channel_of(row, item.account)
                known[key] = channel
                one.heard[channel.id] = (channel, row.received_at)
                if isinstance(item, StatusUpdate):
                    one.updates.append((channel.id, item))
                elif item.user_id:
                    person = _person(row, channel.id, item)
                    one.arrivals.append(_Arrival(row=row, index=index, person=person, item=item))
        except DBAPIError:
            raise
        except Exception as error:  # noqa: BLE001 (logged with the note)
            _note_failure(row, error, now)
            continue
        mail.rows += one.rows
        mail.arrivals += one.arrivals
        mail.updates += one.updates
        mail.heard |= one.heard
    return mail


def _items(row: Webhook) -> Sequence[InboundMessage | StatusUpdate]:
    raw = Raw(url=row.url, method="POST", headers=row.headers or {}, body=bytes(row.body))
    parse = simulator.parse if row.provider == simulator.PROVIDER else SENDERS[row.provider].parse
    return parse(raw)


def _person(row: Webhook, channel_id: str, item: InboundMessage) -> contacts.Person:
    # Every chat of the simulator is somebody new, whatever number they give themselves.
    simulated = row.provider == simulator.PROVIDER
    return contacts.Person(
        channel_id=channel_id,
        identities=(item.user_id,) if simulated else item.identities,
        phone=item.phone,
        name=item.name or "",
        known_by_phone=not simulated,
    )


def _keep_mail(mail: _Mail, now: datetime) -> None:
    """Write what was understood."""
    people = contacts.Directory([arrival.person for arrival in mail.arrivals])
    senders = [people.contact_of(arrival.person).id for arrival in mail.arrivals]
    changes = states.Changes(mail.updates)
    contacts.lock({*people.changed, *changes.contact_ids})
    people.apply()
    changes.apply()
    _keep_messages(mail.arrivals, senders, now)
    if mail.rows:
        db.session.execute(_PROCESSED, {"now": now, "ids": [row.id for row in mail.rows]})
    # Last, because senders lock a contact before its channel and the other way round could wait for ever.
    for channel_id in sorted(mail.heard):
        channel, at = mail.heard[channel_id]
        if channel.last_webhook_at is None or at - channel.last_webhook_at > timedelta(seconds=HEARD_SECONDS):
            channel.last_webhook_at = at
    if mail.updates:
        states.match_kept()


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


def _keep_messages(arrivals: Sequence[_Arrival], senders: Sequence[str], now: datetime) -> None:
    """Store the messages; those that are here already, by their provider's id, are repeats."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for arrival, contact_id in zip(arrivals, senders, strict=True):
        item = arrival.item
        key = (arrival.person.channel_id, item.provider_id[:200], "in")
        if key in rows:
            continue
        rows[key] = {
            "id": new_id(),
            "channel_id": key[0],
            "contact_id": contact_id,
            "direction": key[2],
            "kind": item.kind,
            "text": item.text or _caption(item),
            "choices": [],
            "choice_id": item.choice_id[:300] if item.choice_id else None,
            "payload": item.raw,
            "author": "",
            "provider_id": key[1],
            "request_id": arrival.row.request_id,
            "webhook_id": arrival.row.id,
            "webhook_index": arrival.index,
            "silent": item.group or item.kind in SILENT,
            "status": RECEIVED,
            "attempts": 0,
            "created_at": now,
        }
    fresh = insert_many_once(Message, list(rows.values()), ["channel_id", "provider_id", "direction"])
    for key, row in rows.items():
        if key in fresh:
            with bound(request_id=row["request_id"]):
                publish(
                    MessageReceived(
                        message_id=row["id"],
                        contact_id=row["contact_id"],
                        channel_id=row["channel_id"],
                        kind=row["kind"],
                    )
                )


def _caption(item: InboundMessage) -> str:
    return next((media.caption for media in item.media if media.caption), "")
