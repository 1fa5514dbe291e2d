"""What became of the messages we sent: states only go forward, whatever order the news comes in.

sent < delivered < read. A failure stands beside them: it counts until something says that the message did arrive.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import delete, or_, select

from app.contracts.events import MessageStatusChanged
from app.kit.db import db, utcnow
from app.kit.jobs import ring
from app.kit.outbox import publish
from app.whatsapp.models import (
    DELIVERED,
    MESSAGE_FAILED,
    QUEUED,
    READ,
    SENDING,
    SENT,
    UNKNOWN,
    Contact,
    Message,
    Receipt,
)
from app.whatsapp.providers.base import StatusUpdate

RANK = {QUEUED: 0, SENDING: 1, UNKNOWN: 1, SENT: 2, MESSAGE_FAILED: 3, DELIVERED: 4, READ: 5}
"""How much a state says. Delivered beats failed: Meta sometimes says both, and what arrived has arrived."""

ID_HEX = 32

SEND_JOB = "whatsapp.send_messages"


def apply_update(channel_id: str, update: StatusUpdate) -> None:
    """Take note of a status; one whose message is not known yet is kept until it is."""
    message = _find(channel_id, update)
    if message is None:
        db.session.add(
            Receipt(
                channel_id=channel_id,
                provider_id=update.provider_id[:200],
                status=update.status,
                error=update.error,
                error_code=update.error_code,
                at=update.at,
            )
        )
        return
    name_message(message, update.provider_id)
    held_back_others = message.status == SENDING
    advance_state(message, update.status, at=update.at, error=update.error, code=update.error_code)
    if held_back_others and message.status != SENDING:
        # Its sender was killed before the answer came; now the messages behind it may leave.
        message.contact.next_send_at = utcnow()
        ring(SEND_JOB)


def name_message(message: Message, provider_id: str) -> None:
    """Note the provider's id, unless it is known; a provider that gives one id to two messages names the first."""
    provider_id = provider_id[:200]
    if message.provider_id is not None:
        return
    same = (Message.channel_id == message.channel_id, Message.provider_id == provider_id)
    taken = select(Message.id).where(*same, Message.direction == "out").limit(1)
    if db.session.execute(taken).first() is None:
        message.provider_id = provider_id


def apply_kept(message: Message) -> None:
    """Apply what was said of this message before we knew its provider's id."""
    if message.provider_id is None:
        return
    rows = db.session.scalars(
        select(Receipt)
        .where(Receipt.channel_id == message.channel_id, Receipt.provider_id == message.provider_id)
        .order_by(Receipt.id)
    ).all()
    for row in rows:
        advance_state(message, row.status, at=row.at, error=row.error, code=row.error_code)
        db.session.delete(row)


def match_kept() -> None:
    """Apply receipts whose message got its id at the same moment as they came."""
    rows = db.session.scalars(
        select(Message)
        .join(
            Receipt, (Receipt.channel_id == Message.channel_id) & (Receipt.provider_id == Message.provider_id)
        )
        .limit(100)
    ).unique()
    for message in rows.all():
        apply_kept(message)


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
    publish(MessageStatusChanged(message_id=message.id, status=status, error=code))


def call_unknown(message: Message, why: str) -> None:
    """Nobody said whether the message arrived; a person decides whether to send it again."""
    message.status = UNKNOWN
    message.last_error = why
    publish(MessageStatusChanged(message_id=message.id, status=UNKNOWN))


def purge_receipts(before: datetime) -> None:
    """Forget receipts of messages that are not ours (the same number may be used by another program)."""
    db.session.execute(delete(Receipt).where(Receipt.received_at < before))


def _stamp(message: Message, status: str, at: datetime) -> None:
    column = {SENT: "sent_at", DELIVERED: "delivered_at", READ: "read_at", MESSAGE_FAILED: "failed_at"}.get(
        status
    )
    if column is not None and getattr(message, column) is None:
        setattr(message, column, at)


def _find(channel_id: str, update: StatusUpdate) -> Message | None:
    known_by: list[Any] = [Message.provider_id == update.provider_id]
    reference = update.reference
    if reference and _is_id(reference):
        known_by.append(Message.id == reference)
    where = (Message.channel_id == channel_id, Message.direction == "out", or_(*known_by))
    found = db.session.execute(select(Message.id, Message.contact_id).where(*where).limit(1)).first()
    if found is None:
        return None
    # Contact before message, as everybody who locks both does: else two of them could wait for each other.
    db.session.get(Contact, found.contact_id, with_for_update=True, populate_existing=True)
    return db.session.get(Message, found.id, with_for_update=True, populate_existing=True)


def _is_id(value: str) -> bool:
    plain = value.replace("-", "")
    return len(plain) == ID_HEX and all(c in "0123456789abcdef" for c in plain.lower())
