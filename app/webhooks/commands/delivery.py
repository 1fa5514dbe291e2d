"""Claim and record: what is written around the calls, for many deliveries in one transaction.

A worker claims deliveries for a while, a few of each endpoint, so that no endpoint's backlog hides another's. When
it dies in between, the claim runs out and others send the message again with the same webhook-id: at least once is
what the standard promises, and the id is how receivers recognise a repeat.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, insert, select, union_all, update

from app.kit import telemetry
from app.kit.db import db, utcnow
from app.kit.resilience import backoff
from app.webhooks import queries
from app.webhooks.commands.endpoints import switch_off
from app.webhooks.commands.messages import TEST_EVENT
from app.webhooks.models import (
    DELIVERED,
    FAILED,
    FAILING,
    GONE,
    PENDING,
    Attempt,
    Delivery,
    Endpoint,
    Message,
)
from app.webhooks.providers import Outcome
from app.webhooks.signing import message_id

RETRY_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""How long to wait after the n-th failure, ± 20 %: ten tries within about 75 hours (Standard Webhooks' table)."""

ATTEMPTS = len(RETRY_SECONDS) + 1

DISABLE_AFTER = timedelta(days=5)
"""An endpoint whose every call failed for so long is switched off, as the standard advises."""

LASTING = timedelta(days=1)
"""So long must a delivery itself have been tried before its failure switches the endpoint off: the days before may have
been quiet ones, and a moment proves nothing."""

SILENCE = timedelta(days=2)
"""Tries of a delivery further apart are no series: we did not call in between. The schedule's longest wait is shorter."""

LEASE = timedelta(seconds=60)
"""How long a claim holds: longer than waiting for a slot and the slowest call together."""

ANSWER_CHARS = 1000
"""Kept of an answer: enough to see an error message."""

ENDPOINTS_PER_CLAIM = 32
"""Endpoints looked at in one claim, chosen by chance when more have work; SQLite limits a UNION."""

SUCCESS_NOTED_EVERY = timedelta(seconds=60)
"""`last_success_at` is written at most this often: a busy endpoint's row would be written at every batch."""

log = telemetry.get_logger("webhooks")


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A delivery that is ours for a while, with all that a call needs.

    until: when the claim ends, and the proof that it is still the same one. keys: the secrets to sign with.
    request_id: of what caused the event.
    """

    delivery_id: str
    endpoint_id: str
    url: str
    keys: tuple[str, ...]
    webhook_id: str
    body: bytes
    until: datetime
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """A call that is over. at: when it began."""

    parcel: Parcel
    outcome: Outcome
    at: datetime


def claim_due(
    allowance: Callable[[str], int], *, without: Collection[str] = (), now: datetime | None = None
) -> list[Parcel]:
    """Take due deliveries, of each endpoint at most its allowance, the longest due first.

    without: endpoints that have enough for now.
    """
    now = now or utcnow()
    chosen = queries.endpoints_with_work(now, without=without)
    if not chosen:
        return []
    random.shuffle(chosen)  # or the same few would come first for ever
    parts = [
        select(
            select(Delivery.id)
            .where(Delivery.endpoint_id == endpoint_id, *queries.waiting_now(now))
            .order_by(Delivery.next_attempt_at)
            .limit(max(1, allowance(endpoint_id)))
            .subquery()
        )
        for endpoint_id in chosen[:ENDPOINTS_PER_CLAIM]
    ]
    # A union names no table by which the session could find its database.
    ids = db.session.scalars(union_all(*parts), bind_arguments={"mapper": Delivery.__mapper__}).all()
    rows = db.session.execute(
        select(Delivery.id, Delivery.endpoint_id, Delivery.message_id, Message.body, Message.request_id)
        .join(Message, Message.id == Delivery.message_id)
        .where(Delivery.id.in_(ids), *queries.waiting_now(now))
        .order_by(Delivery.next_attempt_at, Delivery.id)
        .with_for_update(skip_locked=True, of=Delivery)
    ).all()
    if not rows:
        return []
    until = now + LEASE
    db.session.execute(
        update(Delivery)
        .where(Delivery.id.in_([row.id for row in rows]))
        .values(claimed_until=until)
        .execution_options(synchronize_session=False)
    )
    columns = (Endpoint.id, Endpoint.url, Endpoint.secrets, Endpoint.previous_until)
    endpoints = {
        row.id: row
        for row in db.session.execute(
            select(*columns).where(Endpoint.id.in_({row.endpoint_id for row in rows}))
        )
    }
    return [
        Parcel(
            delivery_id=row.id,
            endpoint_id=row.endpoint_id,
            url=endpoints[row.endpoint_id].url,
            keys=_keys(endpoints[row.endpoint_id], now),
            webhook_id=message_id(row.message_id, row.endpoint_id),
            body=bytes(row.body),
            until=until,
            request_id=row.request_id,
        )
        for row in rows
        if row.endpoint_id in endpoints
    ]


def _keys(endpoint: Any, now: datetime) -> tuple[str, ...]:
    current, previous = endpoint.secrets["current"], endpoint.secrets.get("previous")
    rotating = previous is not None and endpoint.previous_until is not None and now < endpoint.previous_until
    return (current, previous) if rotating else (current,)


def release(parcels: Iterable[Parcel]) -> None:
    """Give back what was claimed and not begun."""
    by_claim: dict[datetime, list[str]] = {}
    for parcel in parcels:
        by_claim.setdefault(parcel.until, []).append(parcel.delivery_id)
    for until, ids in by_claim.items():
        db.session.execute(
            update(Delivery)
            .where(Delivery.id.in_(ids), Delivery.claimed_until == until)
            .values(claimed_until=None)
            .execution_options(synchronize_session=False)
        )


def record(results: Sequence[Result], *, now: datetime | None = None) -> None:
    """Write down what became of calls, oldest first; claims that are no longer ours are left alone."""
    now = now or utcnow()
    endpoints = _endpoints(results, now)
    columns = (
        Delivery.id,
        Delivery.attempts,
        Delivery.series_start,
        Delivery.claimed_until,
        Delivery.event_type,
    )
    rows = {
        row.id: row
        for row in db.session.execute(
            select(*columns)
            .where(Delivery.id.in_([result.parcel.delivery_id for result in results]))
            .order_by(Delivery.id)
            .with_for_update(key_share=True)
        )
    }
    suspects = [
        rows[result.parcel.delivery_id]
        for result in results
        if result.outcome.error is not None
        and result.parcel.delivery_id in rows
        and result.parcel.endpoint_id in endpoints
        and endpoints[result.parcel.endpoint_id].has_failed_for_days(now)
    ]
    tries = _tries(suspects)
    changes: list[dict[str, Any]] = []
    attempts: list[dict[str, Any]] = []
    for result in results:
        row = rows.get(result.parcel.delivery_id)
        if row is None or row.claimed_until != result.parcel.until:
            continue
        changes.append(_change(row, result.outcome, now))
        attempts.append(_attempt(row, result))
        state = endpoints.get(result.parcel.endpoint_id)
        if state is not None:
            is_test = row.event_type == TEST_EVENT
            state.note(result.outcome, result.at, now, tries=tries.get(row.id, ()), is_test=is_test)
    if not changes:
        return
    table = Delivery.__table__
    names = [name for name in changes[0] if name != "key"]
    db.session.execute(
        update(table).where(table.c.id == bindparam("key")).values({name: bindparam(name) for name in names}),
        changes,
    )
    db.session.execute(insert(Attempt.__table__), attempts)
    for state in endpoints.values():
        state.write(now)


def _tries(rows: Sequence[Any]) -> dict[str, list[datetime]]:
    """When these deliveries were tried in their present series, oldest first."""
    if not rows:
        return {}
    series = {row.id: row.series_start for row in rows}
    found: dict[str, list[datetime]] = {}
    for delivery_id, n, at in db.session.execute(
        select(Attempt.delivery_id, Attempt.n, Attempt.at)
        .where(Attempt.delivery_id.in_(series))
        .order_by(Attempt.n)
    ):
        if n > series[delivery_id]:
            found.setdefault(delivery_id, []).append(at)
    return found


def _lasts(tries: Sequence[datetime], now: datetime) -> bool:
    """Whether these tries, without a silence between them, are a series that has lasted."""
    start = now
    for at in reversed(tries):
        if start - at > SILENCE:
            break
        start = at
    return now - start >= LASTING


def _change(row: Any, outcome: Outcome, now: datetime) -> dict[str, Any]:
    tries = row.attempts + 1 - row.series_start
    change: dict[str, Any] = {
        "key": row.id,
        "status": PENDING,
        "attempts": row.attempts + 1,
        "next_attempt_at": None,
        "claimed_until": None,
        "last_status": outcome.status,
        "last_error": outcome.error,
        "delivered_at": None,
    }
    if outcome.error is None:
        change |= {"status": DELIVERED, "delivered_at": now}
    elif outcome.error == "gone" or tries >= ATTEMPTS or row.event_type == TEST_EVENT:
        change["status"] = FAILED
    else:
        wait = max(backoff(tries, RETRY_SECONDS), outcome.retry_after or 0.0)
        change["next_attempt_at"] = now + timedelta(seconds=wait)
    telemetry.note_call("webhook", outcome.error or "ok", outcome.latency_ms / 1000)
    return change


def _attempt(row: Any, result: Result) -> dict[str, Any]:
    text = result.outcome.answer.decode("utf-8", "replace").replace("\x00", "�")  # PostgreSQL takes no NUL
    return {
        "delivery_id": row.id,
        "n": row.attempts + 1,
        "at": result.at,
        "status": result.outcome.status,
        "latency_ms": result.outcome.latency_ms,
        "error": result.outcome.error,
        "answer": text[:ANSWER_CHARS],
    }


class _EndpointState:
    """What a batch of results means for an endpoint."""

    def __init__(self, row: Any) -> None:
        self.id: str = row.id
        self.failing_since: datetime | None = row.first_failure_at
        self.before = (row.first_failure_at, row.last_success_at, row.paused_until)
        self.last_success_at: datetime | None = row.last_success_at
        self.paused_until: datetime | None = row.paused_until
        self.off: str | None = None

    def has_failed_for_days(self, now: datetime) -> bool:
        """Whether it has failed for so long that it may be switched off."""
        return self.failing_since is not None and now - self.failing_since >= DISABLE_AFTER

    def note(
        self, outcome: Outcome, at: datetime, now: datetime, *, tries: Sequence[datetime], is_test: bool
    ) -> None:
        """Take one result into account. tries: when the delivery was tried before; is_test: it is no real event."""
        if outcome.error is None:
            self.failing_since = None
            if self.last_success_at is None or now - self.last_success_at >= SUCCESS_NOTED_EVERY:
                self.last_success_at = now
            return
        if not is_test:
            self.failing_since = self.failing_since or at
        if outcome.retry_after:
            self.paused_until = now + timedelta(seconds=outcome.retry_after)
        if outcome.error == "gone":
            self.off = GONE
        elif not is_test and self.has_failed_for_days(now) and _lasts(tries, now):
            self.off = self.off or FAILING

    def write(self, now: datetime) -> None:
        """Store what changed."""
        after = (self.failing_since, self.last_success_at, self.paused_until)
        if after != self.before:
            db.session.execute(
                update(Endpoint)
                .where(Endpoint.id == self.id)
                .values(
                    first_failure_at=self.failing_since,
                    last_success_at=self.last_success_at,
                    paused_until=self.paused_until,
                )
                .execution_options(synchronize_session=False)
            )
        if self.off is not None:
            endpoint = db.session.get(Endpoint, self.id, populate_existing=True)
            if endpoint is not None:
                switch_off(endpoint, self.off, now)


def _endpoints(results: Sequence[Result], now: datetime) -> dict[str, _EndpointState]:
    """The endpoints of these results; locked, before their deliveries are, when something may change for them."""
    columns = (Endpoint.id, Endpoint.first_failure_at, Endpoint.last_success_at, Endpoint.paused_until)
    statement = select(*columns).order_by(Endpoint.id)
    failed = {result.parcel.endpoint_id for result in results if result.outcome.error is not None}
    ids = {result.parcel.endpoint_id for result in results}
    found = {row.id: row for row in db.session.execute(statement.where(Endpoint.id.in_(ids)))}
    changing = {
        id_
        for id_, row in found.items()
        if id_ in failed
        or row.first_failure_at is not None
        or row.last_success_at is None
        or now - row.last_success_at >= SUCCESS_NOTED_EVERY
    }
    if changing:
        locked = statement.where(Endpoint.id.in_(changing)).with_for_update(key_share=True)
        found |= {row.id: row for row in db.session.execute(locked)}
    return {id_: _EndpointState(row) for id_, row in found.items()}
