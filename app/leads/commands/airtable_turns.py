"""Taking turns: one process at a time reads or writes a table, for as long as it keeps saying so.

A merge compares what we read with what we last agreed on; were two processes to read and write the same table, one
would take the other's half-finished work for somebody's edit. A turn ends by itself when its process dies; what it
had not recorded is done again, which an upsert makes harmless.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flask import current_app
from sqlalchemy import func, select, update

from app.contracts.events import AirtableSynced
from app.kit import telemetry
from app.kit.db import db, new_id, utcnow
from app.kit.errors import ProviderError, RateLimited
from app.kit.outbox import publish
from app.kit.resilience import BreakerOpen, backoff
from app.kit.rows import claim, insert_once
from app.kit.secrets import Undecryptable
from app.leads.mapping import Mapped
from app.leads.models import AirtableCallCount, AirtableConnection, AirtableLink
from app.leads.providers import PENALTY_SECONDS
from app.leads.queries import airtable as queries

LEASE = timedelta(seconds=180)
"""How long a turn lasts without a sign of life: longer than the slowest call, so that a slow process is not overtaken.

By the adapter's limits that is some 130 s: the pace's 5 s, connect and three times the read time-out (93 s), and one
read time-out more (30 s), because the limit of the whole is looked at only when something arrives.
"""

RETRY_SECONDS = (5, 15, 60, 300, 900)
"""How long a connection rests after the n-th failure in a row."""

ACCOUNT_SECONDS = 300.0
"""How long it rests when Airtable refuses the token: a person must act, but it may be mended in Airtable."""

ACCOUNT_CODES = frozenset({"AUTHENTICATION_REQUIRED", "INVALID_PERMISSIONS", "401", "403"})
"""What Airtable says to a token that it does not accept, or not for this base."""

log = telemetry.get_logger("leads")


class LostTurn(Exception):
    """The turn is another's by now, or a person paused the connection: stop and touch nothing."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A connection that is ours for a while, as it was when the turn began."""

    connection_id: str
    claim: str
    base_id: str
    table_id: str
    id_column: str
    modified_column: str
    modified_name: str
    pairs: tuple[Mapped, ...]
    direction: str
    policy: str
    new_records: str
    create_options: bool
    many: bool
    full_due: bool
    pull_since: str
    pulled_seconds: float | None
    webhook_wanted: bool
    webhook_id: str
    webhook_cursor: int
    webhook_pinged: str
    webhook_url: str
    webhook_expires_in: float | None
    endpoint: str | None
    token: str = field(repr=False)

    @property
    def reads(self) -> bool:
        """Whether Airtable's changes are taken over."""
        return self.direction in ("both", "in")

    @property
    def wanted_columns(self) -> list[str]:
        """Ids of the columns to read."""
        ids = [self.id_column, self.modified_column, *(item.column for item in self.pairs)]
        return list(dict.fromkeys(filter(None, ids)))


def take_turn(what: str, *, but: frozenset[str] = frozenset()) -> Turn | None:
    """Claim a connection that has something to push or pull; None when there is none. but: ids to leave out."""
    db.session.expire_all()
    now = utcnow()
    due = queries.has_due_links(now) if what == "push" else AirtableConnection.next_pull_at <= now
    rows = claim(
        AirtableConnection,
        queries.ready(now),
        due,
        AirtableConnection.id.not_in(but),
        order_by=[
            AirtableConnection.pushed_at.asc().nulls_first()
            if what == "push"
            else AirtableConnection.next_pull_at
        ],
        limit=1,
        lease=LEASE,
    )
    return _begin(rows[0]) if rows else None


def _begin(row: AirtableConnection) -> Turn | None:
    try:
        token = queries.token_of(row)
    except Undecryptable:
        _halt(row, "undecryptable", "")
        return None
    if not token:
        _halt(row, "no_token", "")
        return None
    now = utcnow()
    row.claim_token = new_id()
    names = {item["id"]: item["name"] for item in row.columns or ()}
    public = (current_app.config.get("PUBLIC_URL") or "").rstrip("/")
    reachable = public.startswith("https://") or (row.stand_in and bool(public))
    return Turn(
        connection_id=row.id,
        claim=row.claim_token,
        base_id=row.base_id,
        table_id=row.table_id,
        id_column=row.id_column,
        modified_column=row.modified_column,
        modified_name=names.get(row.modified_column, ""),
        pairs=queries.field_map(row),
        direction=row.direction,
        policy=row.policy,
        new_records=row.new_records,
        create_options=row.create_options,
        many=(db.session.scalar(select(func.count()).select_from(AirtableConnection)) or 0) > 1,
        full_due=queries.whole_is_due(row, now),
        pull_since=row.pull_since,
        pulled_seconds=(now - row.pulled_at).total_seconds() if row.pulled_at else None,
        webhook_wanted=row.webhook_wanted and reachable and row.direction in ("both", "in"),
        webhook_id=row.webhook_id,
        webhook_cursor=row.webhook_cursor,
        webhook_pinged=row.webhook_pinged,
        webhook_url=f"{public}/airtable/notify/{row.id}",
        webhook_expires_in=(row.webhook_expires_at - now).total_seconds() if row.webhook_expires_at else None,
        endpoint=queries.endpoint_of(row),
        token=token,
    )


def keep_turn(turn: Turn, *, calls: int = 0) -> AirtableConnection:
    """Lock the connection and prolong the turn; counts calls made. Raises LostTurn."""
    row: AirtableConnection | None = db.session.scalar(
        select(AirtableConnection)
        .where(AirtableConnection.id == turn.connection_id)
        .with_for_update(of=AirtableConnection)
        .execution_options(populate_existing=True)
    )
    if row is None or row.claim_token != turn.claim or row.state != "active":
        raise LostTurn(turn.connection_id)
    row.claimed_until = utcnow() + LEASE
    count_calls(turn.base_id, calls)
    return row


def end_turn(turn: Turn, *, calls: int = 0) -> None:
    """Let others have the connection."""
    count_calls(turn.base_id, calls)
    db.session.execute(
        update(AirtableConnection)
        .where(AirtableConnection.id == turn.connection_id, AirtableConnection.claim_token == turn.claim)
        .values(claimed_until=None, claim_token=None)
        .execution_options(synchronize_session=False)
    )


def count_calls(base_id: str, calls: int) -> None:
    """Add to the calls of this month."""
    if calls <= 0:
        return
    key = {"base_id": base_id, "month": queries.month()}
    insert_once(AirtableCallCount, {**key, "calls": 0}, ["base_id", "month"])
    db.session.execute(
        update(AirtableCallCount)
        .where(AirtableCallCount.base_id == base_id, AirtableCallCount.month == key["month"])
        .values(calls=AirtableCallCount.calls + calls)
        .execution_options(synchronize_session=False)
    )


def hold(turn: Turn, error: ProviderError) -> None:
    """Let a connection rest after a failure that has nothing to do with one record; everything stays due."""
    try:
        row = keep_turn(turn)
    except LostTurn:
        return
    now = utcnow()
    row.error_code, row.last_error = error.code or type(error).__name__, error.detail[:500]
    if isinstance(error, RateLimited):
        wait = error.retry_after if error.retry_after is not None else PENALTY_SECONDS
    elif isinstance(error, BreakerOpen):
        wait = error.retry_after
    elif error.code in ACCOUNT_CODES:
        wait = ACCOUNT_SECONDS
    else:
        row.failures += 1
        wait = backoff(row.failures, RETRY_SECONDS)
    row.held_until = now + timedelta(seconds=wait)
    log.warning("airtable rests", connection_id=row.id, code=row.error_code, seconds=round(wait))


def heal(row: AirtableConnection) -> None:
    """A call worked: whatever was wrong is over."""
    row.failures, row.held_until = 0, None
    row.error_code = row.last_error = None


def stop(turn: Turn, code: str, detail: str) -> None:
    """Stop a connection until a person has looked: the base, the table or a column is gone. Nothing is lost."""
    try:
        row = keep_turn(turn)
    except LostTurn:
        return
    _halt(row, code, detail)


def _halt(row: AirtableConnection, code: str, detail: str) -> None:
    row.state, row.error_code, row.last_error = "stopped", code, detail[:500]
    row.claimed_until = row.claim_token = None
    log.error("airtable stopped", connection_id=row.id, code=code)


def refresh_columns(turn: Turn, columns: list[dict[str, Any]], table_name: str) -> None:
    """Take over names, types and choices as the table has them now; ids stay what they are."""
    row = keep_turn(turn)
    known = {item["id"]: item for item in columns}
    row.columns, row.table_name = columns, table_name or row.table_name
    row.field_map = [
        {**item, "column_name": known[item["column"]]["name"], "type": known[item["column"]]["type"]}
        if item["column"] in known
        else item
        for item in row.field_map
    ]


def tell(connection_id: str, direction: str, lead_ids: list[str]) -> None:
    """Publish that leads and a table agree again."""
    if lead_ids:
        publish(AirtableSynced(connection_id=connection_id, direction=direction, lead_ids=lead_ids))


def links_of(turn: Turn, record_ids: list[str]) -> list[AirtableLink]:
    """The links of these records."""
    return list(
        db.session.scalars(
            select(AirtableLink)
            .where(AirtableLink.connection_id == turn.connection_id, AirtableLink.record_id.in_(record_ids))
            .execution_options(populate_existing=True)
        )
    )
