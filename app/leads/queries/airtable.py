"""What the Airtable sync has to know: who is due, what a lead says in plain values, and how it all does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import current_app
from sqlalchemy import ColumnElement, and_, exists, func, or_, select

from app.kit.db import db, utcnow
from app.kit.errors import NotFound
from app.kit.secrets import derived_key
from app.leads import mapping
from app.leads.mapping import LEAD_FIELDS, Column, Condition, Mapped, Rule
from app.leads.mapping.columns import CUSTOM
from app.leads.models import (
    AirtableCallCount,
    AirtableConflict,
    AirtableConnection,
    AirtableLink,
    AirtableRoute,
    Lead,
)
from app.leads.queries.cached import as_document, canonical

CONFLICTS_SHOWN = 100
BLOCKED_SHOWN = 100
STAND_IN_PATH = "/stand-in/airtable"
"""Where the web serves the local stand-in."""

ONE_MACHINE = ("127.0.0.1", "localhost", "::1", "[::1]")
"""Where the web listens when it has one machine with its workers; elsewhere they must be told where it is."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How a connection does. lag_seconds: how long the oldest change waits that should have gone (None: none does)."""

    linked: int = 0
    waiting: int = 0
    blocked: int = 0
    conflicts: int = 0
    calls: int = 0
    lag_seconds: float | None = None


def any_connection() -> bool:
    """Whether leads are kept anywhere in Airtable."""
    known = select(AirtableConnection.id).where(AirtableConnection.state != "draft").limit(1)
    return db.session.scalar(known) is not None


def connections() -> list[AirtableConnection]:
    """All connections by name."""
    return list(
        db.session.scalars(
            select(AirtableConnection).order_by(AirtableConnection.name, AirtableConnection.id)
        )
    )


def connection(connection_id: str) -> AirtableConnection:
    """One connection; raises NotFound."""
    row = db.session.get(AirtableConnection, _uuid(connection_id))
    if row is None:
        raise NotFound("Airtable connection", connection_id)
    return row


def routes() -> list[AirtableRoute]:
    """The routing rules in their order; defaults (no conditions) come last whatever their place."""
    rows = list(db.session.scalars(select(AirtableRoute).order_by(AirtableRoute.position, AirtableRoute.id)))
    return sorted(rows, key=lambda row: not row.conditions)


def rules() -> list[Rule]:
    """The same for mapping.route()."""
    return [
        Rule(target=row.connection_id, conditions=tuple(Condition(**item) for item in row.conditions))
        for row in routes()
    ]


def ready(now: datetime) -> ColumnElement[bool]:
    """Condition of the connections that may be used now."""
    held = AirtableConnection.held_until
    return and_(AirtableConnection.state == "active", or_(held.is_(None), held <= now))


def free(now: datetime) -> ColumnElement[bool]:
    """Condition of the connections that nobody is using."""
    claimed = AirtableConnection.claimed_until
    return or_(claimed.is_(None), claimed < now)


def has_due_links(now: datetime) -> ColumnElement[bool]:
    """Condition of the connections with leads to write."""
    return exists().where(AirtableLink.connection_id == AirtableConnection.id, AirtableLink.due_at <= now)


def link_is_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Conditions of the leads that could be written, or told where they belong, now."""
    usable = select(AirtableConnection.id).where(ready(now), free(now))
    whose = AirtableLink.connection_id
    return AirtableLink.due_at <= now, or_(whose.is_(None), whose.in_(usable))


def push_is_due() -> bool:
    """Whether any lead waits to be written, or to be told where it belongs."""
    now = utcnow()
    unrouted = select(AirtableLink.lead_id).where(
        AirtableLink.connection_id.is_(None), AirtableLink.due_at <= now
    )
    usable = select(AirtableConnection.id).where(ready(now), free(now), has_due_links(now))
    return any(db.session.scalar(query.limit(1)) is not None for query in (unrouted, usable))


def whole_is_due(row: AirtableConnection, now: datetime) -> bool:
    """Whether the whole table should be read, or such a reading is under way."""
    is_under_way = row.reading_id is not None and not row.reading_after
    return is_under_way or row.next_full_at is None or row.next_full_at <= now


def pull_is_due() -> bool:
    """Whether any table should be read now."""
    now = utcnow()
    due = select(AirtableConnection.id).where(ready(now), free(now), AirtableConnection.next_pull_at <= now)
    return db.session.scalar(due.limit(1)) is not None


def field_map(row: AirtableConnection) -> tuple[Mapped, ...]:
    """The pairs of a connection, as far as its direction lets them go."""
    return tuple(
        Mapped(**{**item, "direction": _narrowed(row.direction, item)}) for item in row.field_map or ()
    )


def _narrowed(whole: str, item: dict[str, Any]) -> str:
    own = str(item.get("direction", "both"))
    if whole in ("both", own):
        return own
    return whole if own == "both" else "none"


def columns(row: AirtableConnection) -> list[Column]:
    """The table's columns as they were last seen."""
    return [Column(**{**item, "choices": tuple(item.get("choices", ()))}) for item in row.columns or ()]


def plain_values(lead: Lead) -> dict[str, Any]:
    """A lead's values by field name, as the mapping compares them; custom fields as custom.<key>."""
    document = as_document(lead)
    values = {name: document[name] for name in LEAD_FIELDS}
    values |= {name: document[name] or "" for name in ("email", "phone")}
    return values | {f"{CUSTOM}{key}": value for key, value in (lead.custom or {}).items()}


def values_for(lead: Lead, pairs: Iterable[Mapped]) -> dict[str, Any]:
    """The values of the mapped fields; a custom field that the lead has not is empty."""
    values = plain_values(lead)
    return {item.field: values.get(item.field) for item in pairs}


def target_of(lead: Lead, known: Iterable[Rule]) -> str | None:
    """The connection that a lead belongs to by the routing rules."""
    return mapping.route(plain_values(lead), known)


def token_of(row: AirtableConnection) -> str:
    """The token to call with, "" when there is none. Raises Undecryptable."""
    if row.stand_in:
        return stand_in_token()
    stored = row.token or {}
    return str(stored.get("token") or current_app.config.get("AIRTABLE_API_KEY") or "")


def endpoint_of(row: AirtableConnection) -> str | None:
    """The address to call, None for Airtable's own."""
    if row.stand_in:
        return stand_in_url()
    return current_app.config.get("AIRTABLE_ENDPOINT_URL") or None


def stand_in_token() -> str:
    """What the local stand-in takes for a token: known to this installation only."""
    return "patStandIn." + derived_key("airtable stand-in").hex()


def stand_in_url() -> str:
    """Where this installation's web serves the stand-in, as its workers reach it."""
    config = current_app.extensions["embudo_config"]
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(config.host, config.host)  # noqa: S104 (asks, does not bind)
    own = f"http://{host}:{config.port}" + STAND_IN_PATH
    return str(current_app.config.get("AIRTABLE_STAND_IN_URL") or own)


def stand_in_offered() -> bool:
    """Whether to offer the stand-in: to who has no credentials of Airtable, and where the workers can reach it."""
    is_told = bool(current_app.config.get("AIRTABLE_STAND_IN_URL"))
    is_near = current_app.extensions["embudo_config"].host in ONE_MACHINE
    return not current_app.config.get("AIRTABLE_API_KEY") and (is_told or is_near)


def month(now: datetime | None = None) -> str:
    """The month that calls are counted under; Airtable's billing month may begin on another day."""
    return (now or utcnow()).strftime("%Y-%m")


def figures() -> dict[str, Figures]:
    """Figures by connection id; a fixed number of queries."""
    now = utcnow()
    link = AirtableLink
    rows = db.session.execute(
        select(
            link.connection_id,
            func.count(link.record_id),
            func.count(link.due_at),
            func.count().filter(link.status == "blocked"),
            func.min(link.due_at),
        )
        .where(link.connection_id.is_not(None))
        .group_by(link.connection_id)
    ).all()
    open_conflicts = dict(
        db.session.execute(
            select(AirtableConflict.connection_id, func.count())
            .where(AirtableConflict.resolved_at.is_(None))
            .group_by(AirtableConflict.connection_id)
        ).all()
    )
    calls = dict(
        db.session.execute(
            select(AirtableCallCount.base_id, AirtableCallCount.calls).where(
                AirtableCallCount.month == month(now)
            )
        ).all()
    )
    by_id = {row[0]: row[1:] for row in rows}
    found = {}
    for item in connections():
        linked, waiting, blocked, oldest = by_id.get(item.id, (0, 0, 0, None))
        lag = max(0.0, (now - oldest).total_seconds()) if oldest and oldest <= now else None
        found[item.id] = Figures(
            linked=linked,
            waiting=waiting,
            blocked=blocked,
            conflicts=open_conflicts.get(item.id, 0),
            calls=calls.get(item.base_id, 0),
            lag_seconds=lag,
        )
    return found


def conflicts(*, limit: int = CONFLICTS_SHOWN) -> list[tuple[AirtableConflict, Lead]]:
    """Open conflicts with their leads, newest first."""
    return [
        (row[0], row[1])
        for row in db.session.execute(
            select(AirtableConflict, Lead)
            .join(Lead, Lead.id == AirtableConflict.lead_id)
            .where(AirtableConflict.resolved_at.is_(None), Lead.deleted_at.is_(None))
            .order_by(AirtableConflict.id.desc())
            .limit(limit)
        )
    ]


def is_decided(conflict_id: str) -> bool:
    """Whether there was such a conflict and somebody has decided it."""
    row = db.session.get(AirtableConflict, conflict_id)
    return row is not None and row.resolved_at is not None


def blocked(*, limit: int = BLOCKED_SHOWN) -> list[tuple[AirtableLink, Lead]]:
    """Leads that Airtable refuses, or whose record has values we cannot take, with the reason."""
    return [
        (row[0], row[1])
        for row in db.session.execute(
            select(AirtableLink, Lead)
            .join(Lead, Lead.id == AirtableLink.lead_id)
            .where(AirtableLink.error_code.is_not(None), Lead.deleted_at.is_(None))
            .order_by(AirtableLink.lead_id.desc())
            .limit(limit)
        )
    ]


def link_of(lead_id: str) -> AirtableLink | None:
    """A lead's link, or None."""
    return db.session.get(AirtableLink, _uuid(lead_id))


def _uuid(text: str) -> str:
    return canonical(text)
