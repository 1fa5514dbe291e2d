"""Take what is due: a worker's first step, in which mail to suppressed addresses is settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import Row, or_, select, update

from app.contracts.events import EmailFailed
from app.email.commands.messages import SEND_JOB
from app.email.commands.unsubscribing import list_headers
from app.email.mime import Letter
from app.email.models import (
    ALL,
    DEFERRED,
    MARKETING,
    QUEUED,
    SENDING,
    SUPPRESSED,
    Attempt,
    Message,
    Suppression,
)
from app.kit import outbox, telemetry
from app.kit.db import db, utcnow
from app.kit.jobs import ring

CLAIM_ROUNDS = 10
"""How often one transaction looks on when all that was due is held back: a long one would keep others waiting."""

_columns = (
    Message.id, Message.to_ascii, Message.subject, Message.text, Message.html, Message.created_at,
    Message.category, Message.lead_id, Message.request_id,
)  # fmt: skip

log = telemetry.get_logger("email")


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A message that is ours for a while. until: proves that the claim is still the same one.

    request_id: of what caused the message.
    """

    letter: Letter
    until: datetime
    request_id: str | None = None


def due(now: datetime) -> tuple[Any, ...]:
    """Conditions of messages that should be sent and that nobody has in hand."""
    return (
        Message.status.in_((QUEUED, DEFERRED)),
        Message.next_attempt_at <= now,
        or_(Message.claimed_until.is_(None), Message.claimed_until < now),
    )


def claim_due(limit: int, *, public_url: str = "") -> list[Claimed]:
    """Take the messages that are due, oldest first; those to suppressed addresses are settled at once.

    The letters lack their sender, which depends on the way they take. public_url: where unsubscribing is possible.
    """
    for _ in range(CLAIM_ROUNDS):
        found, claimed = _claim(limit, public_url)
        if claimed or not found:
            return claimed
    ring(SEND_JOB)  # all were held back; what may still be due is for another transaction
    return []


def _claim(limit: int, public_url: str) -> tuple[int, list[Claimed]]:
    """How many messages were due, at most limit, and those of them that may be sent."""
    now = utcnow()
    # Then others take over what this worker has not begun.
    until = now + timedelta(seconds=current_app.config["CLAIM_SECONDS"])
    found = db.session.execute(
        select(*_columns)
        .where(*due(now))
        .order_by(Message.next_attempt_at, Message.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    rows = _hold_back(found, now)
    if rows:
        _update(
            update(Message)
            .where(Message.id.in_([row.id for row in rows]))
            .values(status=SENDING, claimed_until=until)
        )
    claimed = [
        Claimed(letter=_letter(row, public_url), until=until, request_id=row.request_id) for row in rows
    ]
    return len(found), claimed


def _letter(row: Row[Any], public_url: str) -> Letter:
    return Letter(
        ref=row.id,
        sender="",
        to=row.to_ascii,
        subject=row.subject,
        text=row.text,
        html=row.html,
        date=row.created_at,
        headers=list_headers(row.id, public_url) if row.category == MARKETING else {},
    )


def _hold_back(rows: Sequence[Any], now: datetime) -> list[Any]:
    """Settle the messages whose recipients get no mail of that kind; the others."""
    if not rows:
        return []
    wanted = {row.to_ascii.lower() for row in rows}
    scopes: dict[str, dict[str, str]] = {}
    for address, scope, reason in db.session.execute(
        select(Suppression.address, Suppression.scope, Suppression.reason).where(
            Suppression.address.in_(wanted)
        )
    ):
        scopes.setdefault(address, {})[scope] = reason
    left: list[Any] = []
    for row in rows:
        held = scopes.get(row.to_ascii.lower(), {})
        why = held.get(ALL) or (held.get(MARKETING) if row.category == MARKETING else None)
        if why is None:
            left.append(row)
            continue
        code = f"suppressed_{why}"
        _update(
            update(Message)
            .where(Message.id == row.id)
            .values(
                status=SUPPRESSED, next_attempt_at=None, claimed_until=None, error_code=code, last_error=None
            )
        )
        db.session.add(Attempt(message_id=row.id, at=now, outcome=SUPPRESSED, code=code))
        with telemetry.bound(request_id=row.request_id):
            log.info("email held back", message_id=row.id, code=code)
            outbox.publish(EmailFailed(message_id=row.id, reason=code, lead_id=row.lead_id))
    return left


def _update(statement: Any) -> None:
    db.session.execute(statement.execution_options(synchronize_session=False))
