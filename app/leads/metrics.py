"""What the leads service tells Prometheus: how far Airtable is behind, and how much of its calls is spent."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, select

from app.kit.db import db, utcnow
from app.kit.metrics import Gauge, Part, Sample, breakers_part, distinct, due_part
from app.leads.commands.airtable_turns import ACCOUNT_CODES
from app.leads.models import AirtableCallCount, AirtableConnection, AirtableLink
from app.leads.queries import airtable

LABELS = ("connection",)
DIRTY = Gauge(
    name="embudo_airtable_dirty_leads", meaning="Leads of which Airtable has still to be told", labels=LABELS
)
LAG = Gauge(
    name="embudo_airtable_lag_seconds",
    meaning="Seconds for which the oldest change that should have gone has waited; 0 when none has",
    labels=LABELS,
)
CALLS = Gauge(
    name="embudo_airtable_calls_this_month",
    meaning="Calls made for the connection's base since the month began (UTC)",
    labels=LABELS,
)
PAUSED = Gauge(
    name="embudo_airtable_paused",
    meaning="Whether a person lets the connection rest",
    labels=LABELS,
)
STOPPED = Gauge(
    name="embudo_airtable_stopped",
    meaning="Whether the connection goes on only when a person has acted: it stopped, or its token is refused",
    labels=LABELS,
)


def _airtable() -> Iterator[Sample]:
    now = utcnow()
    rows = db.session.execute(
        select(
            AirtableConnection.id,
            AirtableConnection.name,
            AirtableConnection.base_id,
            AirtableConnection.state,
            AirtableConnection.error_code,
        ).where(AirtableConnection.state != "draft")
    ).all()
    if not rows:
        return
    waiting = {
        row[0]: row[1:]
        for row in db.session.execute(
            select(AirtableLink.connection_id, func.count(), func.min(AirtableLink.due_at))
            .where(AirtableLink.due_at.is_not(None), AirtableLink.connection_id.is_not(None))
            .group_by(AirtableLink.connection_id)
        )
    }
    calls = {
        row[0]: row[1]
        for row in db.session.execute(
            select(AirtableCallCount.base_id, AirtableCallCount.calls).where(
                AirtableCallCount.month == airtable.month(now),
                AirtableCallCount.base_id.in_({row.base_id for row in rows}),
            )
        )
    }
    names = distinct((row.id, row.name) for row in rows)
    for row in rows:
        count, oldest = waiting.get(row.id, (0, None))
        labels = (names[row.id],)
        # A refused token is tried again and again, but Airtable takes no other by itself.
        refused = row.state == "active" and row.error_code in ACCOUNT_CODES
        yield DIRTY, labels, count
        yield LAG, labels, 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
        yield CALLS, labels, calls.get(row.base_id, 0)
        yield PAUSED, labels, float(row.state == "paused")
        yield STOPPED, labels, float(row.state == "stopped" or refused)


def _bases() -> dict[str, str]:
    rows = db.session.scalars(
        select(AirtableConnection.base_id).where(AirtableConnection.state != "draft").distinct()
    )
    return {f"airtable:{base}": f"airtable: {base}" for base in rows}


PARTS = (
    due_part(
        "leads",
        {
            "push_airtable": lambda now: (AirtableLink.due_at, airtable.link_is_due(now)),
            "pull_airtable": lambda now: (
                AirtableConnection.next_pull_at,
                (airtable.ready(now), airtable.free(now), AirtableConnection.next_pull_at <= now),
            ),
        },
    ),
    Part(name="Airtable", gauges=(DIRTY, LAG, CALLS, PAUSED, STOPPED), read=_airtable, needs=("leads",)),
    breakers_part("leads", _bases),
)
