"""What became of the messages we sent: states only go forward, whatever order the news comes in.

sent < delivered < read. A failure stands beside them: it counts until something says that the message did arrive.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, or_, select

from app.contracts.events import MessageStatusChanged
from app.kit.db import as_id, db, utcnow
from app.kit.jobs import ring
from app.kit.outbox import publish
from app.kit.rows import delete_some
from app.kit.telemetry import bound, get_logger
from app.whatsapp.commands import contacts
from app.whatsapp.models import (
    DELIVERED,
    MESSAGE_FAILED,
    QUEUED,
    READ,
    SENDING,
    SENT,
    UNKNOWN,
    Message,
    Receipt,
)
from app.whatsapp.providers.base import StatusUpdate

RANK = {QUEUED: 0, SENDING: 1, UNKNOWN: 1, SENT: 2, MESSAGE_FAILED: 3, DELIVERED: 4, READ: 5}
"""How much a state says. Delivered beats failed: Meta sometimes says both, and what arrived has arrived."""

NAME_LENGTH = 200
"""So much of a provider's id is kept."""

KEPT_BATCH = 100
"""Messages that get their kept receipts at a time."""

SEND_JOB = "whatsapp.send_messages"

log = get_logger("whatsapp")


_KEPT = (
    select(Receipt)
    .where(
        Receipt.channel_id.in_(bindparam("channels", expanding=True)),
        Receipt.provider_id.in_(bindparam("names", expanding=True)),
    )
    .order_by(Receipt.id)
)
"""Made once, as those of app.whatsapp.queries."""


class Changes:
    """What providers told of messages, in the order it came; found by one query, applied under the contacts' locks."""

    def __init__(self, told: Sequence[tuple[str, StatusUpdate]]) -> None:
        """told: pairs of (channel id, what was told)."""
        self._told = told
        self._found = _where_they_are(told)

    @property
    def contact_ids(self) -> set[str]:
        """Whom to lock before apply(): contact before message, as everybody does."""
        return set(self._found.values())

    def apply(self) -> None:
        """Take note of it all; what is told of a message that is not known yet is kept until it is."""
        if not self._told:
            return
        by_id = _messages(self._found)
        by_name = {(row.channel_id, row.provider_id): row for row in by_id.values() if row.provider_id}
        for channel_id, update in self._told:
            name = (channel_id, update.provider_id[:NAME_LENGTH])
            message = by_id.get(as_id(update.reference) or "")
            if message is None or message.channel_id != channel_id:
                message = by_name.get(name)
            if message is None:
                db.session.add(_receipt(channel_id, update))
                continue
            if message.provider_id is None and name not in by_name:
                message.provider_id = name[1]
                by_name[name] = message
            _apply(message, update)


def _apply(message: Message, update: StatusUpdate) -> None:
    held_back_others = message.status == SENDING
    _log_told(message, update.status)
    advance_state(message, update.status, at=update.at, error=update.error, code=update.error_code)
    if held_back_others and message.status != SENDING:
        # Its sender was killed before the answer came; now the messages behind it may leave.
        message.contact.next_send_at = utcnow()
        ring(SEND_JOB)


def _log_told(message: Message, status: str) -> None:
    log.info("message state told", message_id=message.id, status=status, request_id=message.request_id)


def _receipt(channel_id: str, update: StatusUpdate) -> Receipt:
    return Receipt(
        channel_id=channel_id,
        provider_id=update.provider_id[:NAME_LENGTH],
        status=update.status,
        error=update.error,
        error_code=update.error_code,
        at=update.at,
    )


def name_messages(named: Sequence[tuple[Message, str]], known: Collection[Message]) -> None:
    """Note the provider's ids, unless one is known; of two messages with one id the first has it.

    known: among others all outbound messages that have one of these ids already.
    """
    taken = {(row.channel_id, row.provider_id) for row in known if row.direction == "out"}
    for message, name in named:
        key = (message.channel_id, name[:NAME_LENGTH])
        if message.provider_id is None and key not in taken:
            message.provider_id = key[1]
            taken.add(key)


def apply_kept(messages: Collection[Message]) -> None:
    """Apply what was said of these messages before we knew their provider's ids."""
    by_name = {(row.channel_id, row.provider_id): row for row in messages if row.provider_id}
    if not by_name:
        return
    channel_ids, names = {channel_id for channel_id, _ in by_name}, {name for _, name in by_name}
    rows = db.session.scalars(_KEPT, {"channels": list(channel_ids), "names": list(names)}).all()
    for row in rows:
        message = by_name.get((row.channel_id, row.provider_id))
        if message is not None:
            _log_told(message, row.status)
            advance_state(message, row.status, at=row.at, error=row.error, code=row.error_code)
            db.session.delete(row)


def match_kept() -> None:
    """Apply receipts whose message got its id at the same moment as they came."""
    found = db.session.execute(
        select(Message.id, Message.contact_id)
        .join(
            Receipt, (Receipt.channel_id == Message.channel_id) & (Receipt.provider_id == Message.provider_id)
        )
        .where(Message.direction == "out")
        .limit(KEPT_BATCH)
    ).all()
    if found:
        by_contact = {row.id: row.contact_id for row in found}
        contacts.lock(set(by_contact.values()))
        apply_kept(_messages(by_contact).values())


def advance_state(
    message: Message, status: str, *, at: datetime, error: str | None = None, code: str | None = None
) -> None:
    """Move the message forward to `status`; what says less than is known already changes nothing."""
    if status == "queued":  # the provider has it: an unanswered call did arrive
        status = SENT if message.status in (SENDING, UNKNOWN) else message.status
    if status not in RANK or RANK[status] <= RANK.get(message.status, 0):
        _stamp(message, status, at)
        return
    message.status = status
    _stamp(message, status, at)
    if status == MESSAGE_FAILED:
        message.last_error, message.error_code = error, code
    elif status in (SENT, DELIVERED, READ):
        message.last_error = message.error_code = None
    _tell(message, code)


def call_unknown(message: Message, why: str) -> None:
    """Nobody said whether the message arrived; a person decides whether to send it again."""
    message.status = UNKNOWN
    message.last_error = why
    _tell(message, None)


def _tell(message: Message, code: str | None) -> None:
    with bound(request_id=message.request_id):
        publish(MessageStatusChanged(message_id=message.id, status=message.status, error=code))


def purge_receipts(before: datetime) -> int:
    """Forget a batch of receipts of messages that are not ours (another program may use the number); how many."""
    return delete_some(Receipt, Receipt.received_at < before, order_by=Receipt.received_at)


def _stamp(message: Message, status: str, at: datetime) -> None:
    column = {SENT: "sent_at", DELIVERED: "delivered_at", READ: "read_at", MESSAGE_FAILED: "failed_at"}.get(
        status
    )
    if column is not None and getattr(message, column) is None:
        setattr(message, column, at)


def _where_they_are(told: Sequence[tuple[str, StatusUpdate]]) -> dict[str, str]:
    """Contact id by message id of the messages that are told of, as far as they are known."""
    if not told:
        return {}
    known_by: list[Any] = [
        and_(
            Message.channel_id.in_({channel_id for channel_id, _ in told}),
            Message.provider_id.in_({update.provider_id[:NAME_LENGTH] for _, update in told}),
        )
    ]
    references = {reference for _, update in told if (reference := as_id(update.reference))}
    if references:
        known_by.append(Message.id.in_(references))
    rows = db.session.execute(
        select(Message.id, Message.contact_id).where(Message.direction == "out", or_(*known_by))
    )
    return {row.id: row.contact_id for row in rows}


def _messages(ids: Collection[str]) -> dict[str, Message]:
    """The messages as they are now; their contacts are locked."""
    if not ids:
        return {}
    rows = db.session.scalars(
        select(Message).where(Message.id.in_(sorted(ids))).execution_options(populate_existing=True)
    )
    return {row.id: row for row in rows}
