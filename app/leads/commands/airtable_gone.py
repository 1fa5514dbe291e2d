"""Records that are no longer in Airtable, and webhooks that tell of it.

A filter that was set wrongly, a table that was emptied by mistake or a token that sees less than before looks like a
great many deletions. So what would take away many leads at once stops and asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select

from app.contracts.problems import problem
from app.kit import telemetry
from app.kit.auth import Principal
from app.kit.db import db, utcnow
from app.kit.errors import Conflict
from app.kit.jobs import ring
from app.leads.commands.airtable_marks import AIRTABLE, make_due
from app.leads.commands.airtable_reading import forget
from app.leads.commands.airtable_turns import Turn, keep_turn, links_of
from app.leads.commands.change import delete_lead
from app.leads.models import AirtableConnection, AirtableLink, Lead
from app.leads.providers import Hook
from app.leads.queries import airtable as queries

MANY = 20
"""More records gone in one run than this are a question, …"""

MANY_SHARE = 0.1
"""… and so is more than this share of all, …"""

ASKED = 5_000
"""Records that are remembered for the answer; with more, the next whole reading asks again."""

FEW = 3
"""… unless it is so few that no accident hides behind them."""

log = telemetry.get_logger("leads")


def note_missing(turn: Turn, reading_id: str) -> bool:
    """After a whole reading: what is linked and was not met in it is gone. False when the connection stopped to ask."""
    unseen = db.session.scalars(
        select(AirtableLink.record_id)
        .where(
            AirtableLink.connection_id == turn.connection_id,
            AirtableLink.record_id.is_not(None),
            AirtableLink.seen_in.is_distinct_from(reading_id),
        )
        .order_by(AirtableLink.record_id)
        .limit(ASKED)
    )
    return note_gone(turn, [record_id for record_id in unseen if record_id])


def note_gone(turn: Turn, record_ids: Sequence[str], *, calls: int = 0, cursor: int | None = None) -> bool:
    """These records are gone from Airtable; do what the connection says. False when it stopped to ask."""
    row = keep_turn(turn, calls=calls)
    if cursor is not None:
        row.webhook_cursor = cursor
    links = links_of(turn, list(record_ids)[:ASKED])
    if not links:
        return True
    if row.remote_deletions != "ignore" and _is_many(turn, len(links)):
        row.state, row.error_code, row.last_error = "stopped", "many_deletions", str(len(links))
        row.asked_deletions = [link.record_id for link in links if link.record_id]
        row.claimed_until = row.claim_token = None
        log.warning("airtable lost many records, asking", connection_id=row.id, count=len(links))
        return False
    _settle(row.remote_deletions, links)
    return True


def answer_deletions(connection_id: str, *, apply: bool, by: Principal) -> None:
    """A person decided: apply what the connection says of deletions, or keep the leads and write them anew.

    Raises NotFound, and Conflict when nothing is asked (any more): a second click must not start a table that somebody
    paused meanwhile.
    """
    queries.connection(connection_id)
    row = db.session.get(AirtableConnection, connection_id, with_for_update=True, populate_existing=True)
    if row is None or row.error_code != "many_deletions":
        raise Conflict(problem("", "not_asked", "This has been answered already."))
    links = list(
        db.session.scalars(
            select(AirtableLink).where(
                AirtableLink.connection_id == row.id, AirtableLink.record_id.in_(row.asked_deletions or [])
            )
        )
    )
    if apply:
        _settle(row.remote_deletions, links)
    else:
        now = utcnow()
        for link in links:
            _detach(link)
            make_due(link, now, at_once=True)
    row.asked_deletions, row.state = [], "active"
    row.error_code = row.last_error = None
    row.next_pull_at = utcnow()
    log.info("airtable deletions answered", connection_id=row.id, applied=apply, count=len(links), by=by.name)
    ring("leads.push_airtable")


def _is_many(turn: Turn, count: int) -> bool:
    linked = db.session.scalar(
        select(func.count(AirtableLink.record_id)).where(AirtableLink.connection_id == turn.connection_id)
    )
    return count > MANY or (count > FEW and count > MANY_SHARE * (linked or 0))


def _settle(policy: str, links: Sequence[AirtableLink]) -> None:
    ids = [link.lead_id for link in links]
    # Leads first, then links, as the other commands lock: else who edits one meanwhile is told of a deadlock.
    leads = {
        lead.id: lead
        for lead in db.session.scalars(
            select(Lead)
            .where(Lead.id.in_(ids))
            .order_by(Lead.id)
            .with_for_update(of=Lead)
            .execution_options(populate_existing=True)
        )
    }
    for link in db.session.scalars(
        select(AirtableLink)
        .where(AirtableLink.lead_id.in_(ids))
        .order_by(AirtableLink.lead_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all():
        unsent = link.due_at is not None
        _detach(link)
        lead = leads.get(link.lead_id)
        if lead is None or lead.deleted_at is not None:
            db.session.delete(link)
        elif unsent or policy == "ignore":
            # Changed here and not told yet: the later wish is that there be such a lead.
            link.status = "new"
        elif policy == "unlink":
            link.status = "unlinked"
            link.due_at = link.dirty_since = None
        else:
            db.session.delete(link)
            db.session.flush()
            delete_lead(link.lead_id, by=AIRTABLE)


def _detach(link: AirtableLink) -> None:
    link.record_id, link.tagged, link.shadow = None, False, {}


def keep_webhook(turn: Turn, hook: Hook, *, calls: int) -> None:
    """Remember a webhook that was just made; everything is read once, since it tells only of what comes."""
    row = keep_turn(turn, calls=calls)
    row.webhook_id, row.webhook_secret = hook.id, {"mac": hook.secret}
    row.webhook_cursor, row.webhook_pinged, row.webhook_error = 1, "", None
    row.webhook_expires_at = _moment(hook.expires_at)
    row.next_full_at = utcnow()
    forget(row)


def prolong_webhook(turn: Turn, expires_at: str | None, *, calls: int) -> None:
    """The webhook lives on."""
    row = keep_turn(turn, calls=calls)
    row.webhook_expires_at = _moment(expires_at) or row.webhook_expires_at


def drop_webhook(turn: Turn, reason: str | None, *, calls: int, retry: bool) -> None:
    """The webhook is gone or of no use. retry: make another; else the table is polled and the reason is told."""
    row = keep_turn(turn, calls=calls)
    row.webhook_id, row.webhook_secret, row.webhook_expires_at = "", None, None
    row.webhook_error = reason
    row.webhook_wanted = row.webhook_wanted and retry
    row.next_full_at = utcnow()
    forget(row)


def note_ping(connection_id: str, timestamp: str) -> bool:
    """A genuine ping: the table is read at once. False for one that was seen already (a repeat, or a replay)."""
    row: AirtableConnection | None = db.session.get(
        AirtableConnection, connection_id, with_for_update=True, populate_existing=True
    )
    if row is None or (row.webhook_pinged and timestamp <= row.webhook_pinged):
        return False
    row.webhook_pinged = timestamp[:40]
    row.next_pull_at = utcnow()
    ring("leads.pull_airtable")
    return True


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
