"""Claim, hand over, record: what is written around a provider's call, so that a crash anywhere sends nothing twice.

A worker claims rows for a while. Right before a provider gets a few of them, `handing_over_at` is written; when its
answers are known, they are recorded, together with the next few's mark: one commit for each group. So a row whose
worker died is either untouched (sent by the next worker) or may have been sent: then it becomes “unknown”, until
the provider tells what became of it or a person decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import case, insert, select, update

from app.contracts.events import EmailFailed, EmailSent
from app.email import queries
from app.email.commands.claiming import Claimed, due
from app.email.commands.suppressions import suppress
from app.email.models import (
    ALL,
    CANCELLED,
    DEFERRED,
    FAILED,
    HARD_BOUNCE,
    LEAD_DELETED,
    NO_WAY,
    QUEUED,
    SENDING,
    SENT,
    UNKNOWN,
    Attempt,
    Message,
)
from app.email.providers import Result
from app.kit import outbox, telemetry
from app.kit.db import db, utcnow
from app.kit.errors import Misconfigured, ProviderError, RateLimited, Temporary, Unknown
from app.kit.resilience import BreakerOpen, backoff

RETRY_SECONDS = (30, 120, 600, 1800, 7200, 21_600)
"""How long to wait after the n-th temporary failure; the last one goes on until give_up_at."""

CONFIGURATION_SECONDS = 120
"""How long to wait when our own account or settings are at fault: a person must act, tries would be wasted."""

OWN_LIMITS = ("rate", "paused")
"""Codes of a RateLimited that no provider said: its rate is used up here, or it asked us earlier to wait."""

log = telemetry.get_logger("email")


def take_back() -> None:
    """Decide about what dead workers left: untouched messages are due again, handed over ones are unknown."""
    now = utcnow()
    rows = db.session.scalars(
        select(Message)
        .where(Message.status == SENDING, Message.claimed_until < now)
        .limit(500)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    for row in rows:
        row.claimed_until = None
        if row.handing_over_at is None:
            row.status = QUEUED
            continue
        if row.delivery is not None:  # the provider has told of it meanwhile, so it did leave
            mark_sent(row, now)
            continue
        row.status, row.next_attempt_at = UNKNOWN, None
        row.error_code = "interrupted"
        row.last_error = "Sending was interrupted; the message may have been sent."
        _note(row, UNKNOWN, now, provider=row.provider or "", code=row.error_code, detail=row.last_error)
        log.warning("email fate unknown", message_id=row.id, reason="interrupted", request_id=row.request_id)


def note_handing_over(group: Sequence[Claimed], *, provider: str) -> dict[str, datetime]:
    """Write down that a provider is about to get these; from now on only its answers tell.

    The refs that are still ours, each with its claim's new end: the others' leases ran out, or somebody took them
    back; they must not be sent.
    """
    if not group:
        return {}
    now = utcnow()
    # After so long at providers their fate counts as unknown; longer than any time-out there.
    until = now + timedelta(seconds=current_app.config["MAIL_ANSWER_SECONDS"])
    taken = db.session.execute(
        update(Message)
        .where(
            Message.id.in_([claimed.letter.ref for claimed in group]),
            Message.status == SENDING,
            Message.claimed_until.in_({claimed.until for claimed in group}),
            Message.handing_over_at.is_(None),
        )
        .values(handing_over_at=now, claimed_until=until, provider=provider)
        .returning(Message.id)
        .execution_options(synchronize_session=False)
    )
    return dict.fromkeys(taken.scalars(), until)


def record(results: Sequence[Result], *, provider: str, claims: Mapping[str, datetime]) -> None:
    """Write down what became of messages; those that are settled already stay as they are.

    claims: until when each message is ours. What was accepted has left, whoever has the message by now; an error
    says nothing about a message that another worker is sending.
    """
    now = utcnow()
    accepted = [result for result in results if result.error is None]
    if accepted:
        _record_accepted(accepted, now, provider)
    for result in results:
        if result.error is None:
            continue
        row: Message | None = db.session.get(
            Message, result.ref, with_for_update=True, populate_existing=True
        )
        if row is None or not (row.status == UNKNOWN or _is_ours(row, claims)):
            continue
        row.claimed_until, row.handing_over_at, row.provider = None, None, provider
        _record_error(row, result.error, now, provider)
        if result.no_such_mailbox:
            suppress(row.to_ascii, ALL, HARD_BOUNCE, message_id=row.id)
        telemetry.note_call(f"mail_{provider}", telemetry.outcome_of(result.error))


def _record_accepted(results: Sequence[Result], now: datetime, provider: str) -> None:
    """Many at once: one statement each for messages, tries and events."""
    given = {result.ref: (result.provider_message_id or "")[:200] or None for result in results}
    rows = db.session.execute(
        update(Message)
        .where(Message.id.in_(given), Message.status.in_((SENDING, UNKNOWN)))
        .values(
            provider_message_id=case(*((Message.id == ref, id_) for ref, id_ in given.items())), status=SENT, sent_at=now, next_attempt_at=None,
            claimed_until=None, handing_over_at=None, provider=provider, error_code=None, last_error=None,
            attempts=Message.attempts + 1,
        )
        .returning(Message.id, Message.lead_id, Message.template, Message.request_id)
        .execution_options(synchronize_session=False)
    ).all()  # fmt: skip
    if not rows:
        return
    db.session.execute(
        insert(Attempt.__table__),
        [{"message_id": row.id, "at": now, "provider": provider, "outcome": SENT} for row in rows],
    )
    outbox.publish_all(
        [EmailSent(message_id=row.id, lead_id=row.lead_id, template=row.template) for row in rows],
        request_ids=[row.request_id for row in rows],
    )
    for row in rows:
        log.info("email accepted", message_id=row.id, provider=provider, request_id=row.request_id)
    telemetry.note_call(f"mail_{provider}", telemetry.outcome_of(None), times=len(rows))


def mark_sent(row: Message, at: datetime) -> None:
    """Settle a message of which nobody knew: the provider has told something that only a sent one can have."""
    row.status, row.sent_at, row.next_attempt_at = SENT, row.sent_at or at, None
    row.claimed_until, row.handing_over_at = None, None
    row.error_code = row.last_error = None
    _note(row, SENT, utcnow(), provider=row.provider or "", code="reconciled")
    with telemetry.bound(request_id=row.request_id):
        outbox.publish(EmailSent(message_id=row.id, lead_id=row.lead_id, template=row.template))


def _is_ours(row: Message, claims: Mapping[str, datetime]) -> bool:
    """Whether nobody took the message over: after a claim's end another worker may be sending it."""
    return row.status == SENDING and row.id in claims and row.claimed_until == claims[row.id]


def release(
    errors: Iterable[tuple[str, ProviderError]], *, provider: str, claims: Mapping[str, datetime]
) -> None:
    """Give claimed messages back that were certainly not sent, each with the reason, unless others have them by now.

    The reasons concern a provider, not the messages: it cannot be reached, is too busy, or refuses us.
    claims: until when each message is ours.
    """
    now = utcnow()
    reasons = dict(errors)
    rows = db.session.scalars(
        select(Message)
        .where(Message.id.in_(list(reasons)), Message.status == SENDING)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    for row in rows:
        if not _is_ours(row, claims):
            continue
        row.claimed_until = row.handing_over_at = None
        _record_error(row, reasons[row.id], now, provider)


def give_back(claims: Mapping[str, datetime]) -> None:
    """Make claimed messages due again that were not sent, as if nothing had been; others may have them by now.

    Those whose lead was deleted meanwhile are stopped. claims: the refs, and until when each is ours.
    """
    is_unwanted = Message.error_code == LEAD_DELETED
    db.session.execute(
        update(Message)
        .where(
            Message.id.in_(claims),
            Message.status == SENDING,
            Message.claimed_until.in_(set(claims.values())),
        )
        .values(
            status=case((is_unwanted, CANCELLED), else_=QUEUED),
            next_attempt_at=case((is_unwanted, None), else_=Message.next_attempt_at),
            claimed_until=None,
            handing_over_at=None,
        )
        .execution_options(synchronize_session=False)
    )


def wait_for_way(limit: int) -> int:
    """Note on messages that are due why they do not leave: no way out can be used. On how many, at most limit.

    They stay due: they count as late, and leave as soon as a way can be used. Nothing is tried, so no try is noted;
    but those whose time is over fail.
    """
    now = utcnow()
    rows = db.session.scalars(
        select(Message)
        .where(*due(now), ~queries.waits_for_way(now))
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    for row in rows:
        row.status, row.error_code, row.last_error = DEFERRED, NO_WAY, "No way out can be used."
        if row.give_up_at is not None and row.give_up_at <= now:
            row.status, row.next_attempt_at = FAILED, None
            _tell_trouble(row, now, provider="")
    if rows:
        log.warning("emails wait, no way out can be used", count=len(rows))
    return len(rows)


def _record_error(row: Message, error: ProviderError, now: datetime, provider: str) -> None:
    row.error_code, row.last_error = (error.code or "")[:60] or None, error.detail[:500]
    if isinstance(error, Unknown):
        row.status, row.next_attempt_at = UNKNOWN, None
        row.attempts += 1
    elif isinstance(error, Temporary):
        is_tried = not isinstance(error, BreakerOpen | Misconfigured | RateLimited)
        row.attempts += is_tried
        _defer(row, _wait(row, error), now)
        if _is_our_own(error) and row.status == DEFERRED:
            return  # no provider spoke: nothing was tried, so there is nothing to tell
    else:
        row.status, row.next_attempt_at = FAILED, None
        row.attempts += 1
    _tell_trouble(row, now, provider=provider)


def _tell_trouble(row: Message, now: datetime, *, provider: str) -> None:
    """Say that a message did not leave: on its page, in the log, and to those who listen when it is for good."""
    _note(row, row.status, now, provider=provider, code=row.error_code, detail=row.last_error)
    with telemetry.bound(request_id=row.request_id):
        log.warning(
            "email not sent",
            message_id=row.id,
            provider=provider,
            status=row.status,
            code=row.error_code,
            attempts=row.attempts,
        )
        if row.status == FAILED:
            reason = row.error_code or "refused"
            outbox.publish(EmailFailed(message_id=row.id, reason=reason, lead_id=row.lead_id))


def _is_our_own(error: Temporary) -> bool:
    """Whether we held the message back ourselves: by a breaker, a rate, or a pause that a provider asked for."""
    return isinstance(error, BreakerOpen) or (isinstance(error, RateLimited) and error.code in OWN_LIMITS)


def _wait(row: Message, error: Temporary) -> float:
    """Seconds until the next try."""
    if isinstance(error, BreakerOpen):
        return backoff(1, (error.retry_after,))
    if isinstance(error, Misconfigured):
        return backoff(1, (CONFIGURATION_SECONDS,))
    if isinstance(error, RateLimited):
        return error.retry_after if error.retry_after is not None else backoff(1, RETRY_SECONDS)
    return backoff(row.attempts, RETRY_SECONDS)


def _defer(row: Message, seconds: float, now: datetime) -> None:
    later = now + timedelta(seconds=seconds)
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
