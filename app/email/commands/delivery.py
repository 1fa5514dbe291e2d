"""Claim, hand over, record: what is written around a provider's call, so that a crash anywhere sends nothing twice.

A worker claims rows for a while. Right before the provider gets a message, `handing_over_at` is written; when the
answer is known, it is recorded. So a row whose worker died is either untouched (sent by the next worker) or may
have been sent: then it becomes “unknown” and a person decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import select, update

from app.contracts.events import EmailFailed, EmailSent
from app.email.mime import Letter
from app.email.models import DEFERRED, FAILED, QUEUED, SENDING, SENT, UNKNOWN, Attempt, Message
from app.email.providers import Result
from app.kit import outbox, telemetry
from app.kit.db import claim, db, utcnow
from app.kit.errors import Misconfigured, ProviderError, RateLimited, Temporary, Unknown
from app.kit.resilience import BreakerOpen, backoff

RETRY_SECONDS = (30, 120, 600, 1800, 7200, 21_600)
"""How long to wait after the n-th temporary failure; the last one goes on until give_up_at."""

CONFIGURATION_SECONDS = 120
"""How long to wait when our own account or settings are at fault: a person must act, tries would be wasted."""

log = telemetry.get_logger("email")


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A message that is ours for a while. until: proves that the claim is still the same one."""

    letter: Letter
    until: datetime


class LostClaim(Exception):
    """The message is no longer ours to send: the lease ran out, or somebody cancelled or erased it."""


def claim_due(limit: int, *, sender: str) -> list[Claimed]:
    """Take the messages that are due, oldest first; sender: what goes into From."""
    db.session.expire_all()  # a draining job keeps its session: what it remembers of rows is old
    _take_back()
    now = utcnow()
    rows = claim(
        Message,
        Message.status.in_((QUEUED, DEFERRED)),
        Message.next_attempt_at <= now,
        order_by=[Message.next_attempt_at, Message.id],
        limit=limit,
        lease=_setting("CLAIM_SECONDS"),  # after it others take over what this worker has not begun
    )
    for row in rows:
        row.status = SENDING
    return [Claimed(letter=_letter(row, sender), until=row.claimed_until or now) for row in rows]


def _setting(name: str) -> timedelta:
    return timedelta(seconds=current_app.config[name])


def _letter(row: Message, sender: str) -> Letter:
    return Letter(
        ref=row.id,
        sender=sender,
        to=row.to_ascii,
        subject=row.subject,
        text=row.text,
        html=row.html,
        date=row.created_at,
    )


def _take_back() -> None:
    """Decide about what dead workers left: untouched messages are due again, handed over ones are unknown."""
    now = utcnow()
    rows = db.session.scalars(
        select(Message)
        .where(Message.status == SENDING, Message.next_attempt_at <= now, Message.claimed_until < now)
        .limit(500)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        row.claimed_until = None
        if row.handing_over_at is None:
            row.status = QUEUED
            continue
        row.status, row.next_attempt_at = UNKNOWN, None
        row.error_code = "interrupted"
        row.last_error = "Sending was interrupted; the message may have been sent."
        _note(row, UNKNOWN, now, provider=row.provider or "", code=row.error_code, detail=row.last_error)
        log.warning("email fate unknown", message_id=row.id, reason="interrupted")


def note_handing_over(claimed: Claimed, *, provider: str) -> None:
    """Write down that the provider is about to get the message; from now on only its answer tells.

    Raises LostClaim when the message is not ours any more: it must not be sent then.
    """
    now = utcnow()
    # After so long at the provider its fate counts as unknown; longer than any time-out there.
    until = now + _setting("MAIL_ANSWER_SECONDS")
    taken: Any = db.session.execute(
        update(Message)
        .where(
            Message.id == claimed.letter.ref,
            Message.status == SENDING,
            Message.claimed_until == claimed.until,
            Message.handing_over_at.is_(None),
        )
        .values(handing_over_at=now, claimed_until=until, provider=provider)
        .execution_options(synchronize_session=False)
    )
    if taken.rowcount != 1:
        raise LostClaim(claimed.letter.ref)


def record(result: Result, *, provider: str) -> str | None:
    """Write down what became of a message; its new status, or None when it is settled already."""
    row: Message | None = db.session.get(Message, result.ref, with_for_update=True, populate_existing=True)
    if row is None or row.status not in (SENDING, UNKNOWN):
        return None
    now = utcnow()
    row.claimed_until, row.handing_over_at, row.provider = None, None, provider
    if result.error is None:
        row.status, row.sent_at, row.next_attempt_at = SENT, now, None
        row.provider_message_id = (result.provider_message_id or "")[:200] or None
        row.attempts += 1
        row.error_code = row.last_error = None
        outbox.publish(EmailSent(message_id=row.id, lead_id=row.lead_id, template=row.template))
        _note(row, SENT, now, provider=provider)
    else:
        _record_error(row, result.error, now, provider)
    telemetry.PROVIDER_CALLS.labels(provider=f"mail_{provider}", outcome=row.status).inc()
    return row.status


def release(refs: Iterable[str], error: ProviderError, *, provider: str) -> None:
    """Give claimed messages back that were not begun, because the provider could not be reached or refuses us."""
    now = utcnow()
    rows = db.session.scalars(
        select(Message)
        .where(Message.id.in_(list(refs)), Message.status == SENDING, Message.handing_over_at.is_(None))
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    for row in rows:
        row.claimed_until = None
        _record_error(row, error, now, provider)


def _record_error(row: Message, error: ProviderError, now: datetime, provider: str) -> None:
    row.error_code, row.last_error = (error.code or "")[:60] or None, error.detail[:500]
    if isinstance(error, Unknown):
        row.status, row.next_attempt_at = UNKNOWN, None
        row.attempts += 1
    elif isinstance(error, BreakerOpen):
        # The breaker spoke, not the provider: nothing was tried, so nothing is counted or told.
        row.status = DEFERRED
        row.next_attempt_at = now + timedelta(seconds=backoff(1, (error.retry_after,)))
        return
    elif isinstance(error, Misconfigured):
        row.status = DEFERRED
        row.next_attempt_at = now + timedelta(seconds=backoff(1, (CONFIGURATION_SECONDS,)))
    elif isinstance(error, Temporary):
        _defer(row, error, now)
    else:
        row.status, row.next_attempt_at = FAILED, None
        row.attempts += 1
    _note(row, row.status, now, provider=provider, code=row.error_code, detail=row.last_error)
    log.warning(
        "email not sent", message_id=row.id, status=row.status, code=error.code, attempts=row.attempts
    )
    if row.status == FAILED:
        outbox.publish(EmailFailed(message_id=row.id, reason=error.code or "refused", lead_id=row.lead_id))


def _defer(row: Message, error: Temporary, now: datetime) -> None:
    row.attempts += 1
    wait = backoff(row.attempts, RETRY_SECONDS)
    if isinstance(error, RateLimited) and error.retry_after:
        wait = max(wait, error.retry_after)
    later = now + timedelta(seconds=wait)
    if row.give_up_at is not None and later > row.give_up_at:
        row.status, row.next_attempt_at = FAILED, None
        return
    row.status, row.next_attempt_at = DEFERRED, later


def _note(
    row: Message,
    outcome: str,
    now: datetime,
    *,
    provider: str,
    code: str | None = None,
    detail: str | None = None,
) -> None:
    values: dict[str, Any] = {"provider": provider, "outcome": outcome, "code": code, "detail": detail}
    db.session.add(Attempt(message_id=row.id, at=now, **values))
