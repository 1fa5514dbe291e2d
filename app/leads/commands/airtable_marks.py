"""A lead has changed: note, in the transaction that changes it, that Airtable has to be told.

This is the one hook of the sync in the other commands. It must be cheap and can only fail with the change itself:
where to and whether at all is decided by the job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from app.kit.auth import SYSTEM, Principal
from app.kit.context import request_id
from app.kit.db import db, utcnow
from app.kit.rows import insert_once
from app.leads.models import AirtableLink, Lead
from app.leads.queries import airtable as queries

AIRTABLE = replace(SYSTEM, name="Airtable")
"""Who the timeline names for changes that come from a table."""

QUIET = timedelta(seconds=2)
"""A lead is written when nothing of it has changed for so long …"""

PATIENCE = timedelta(seconds=5)
"""… or when it has waited for so long: people who type do not hold it up for ever."""


def mark_dirty(lead: Lead, by: Principal, changes: Mapping[str, list[Any]] | None = None) -> None:
    """Note that Airtable has to be told of a lead.

    changes: field → [old, new] as announced, so that "newest wins" knows when we changed what; None: everything is new.
    What came from Airtable itself is no news to it.
    """
    if by is AIRTABLE or not queries.any_connection():
        return
    now = utcnow()
    insert_once(
        AirtableLink,
        {
            "lead_id": lead.id, "status": "new", "tagged": False, "shadow": {}, "changed_at": {}, "elsewhere": [],
            "revision": 0,
        },
        ["lead_id"],
    )  # fmt: skip
    link = db.session.get(AirtableLink, lead.id, with_for_update=True, populate_existing=True)
    if link is None or link.status == "unlinked":
        return
    link.request_id = request_id()
    if changes:
        link.changed_at = {**link.changed_at, **dict.fromkeys(_fields(changes), now.isoformat())}
    make_due(link, now)


def make_due(link: AirtableLink, now: datetime, *, at_once: bool = False) -> None:
    """Have a link's lead written soon."""
    link.revision += 1
    link.dirty_since = link.dirty_since or now
    link.due_at = now if at_once else min(now + QUIET, max(link.dirty_since + PATIENCE, now))


def _fields(changes: Mapping[str, list[Any]]) -> list[str]:
    names = [name for name in changes if name != "custom"]
    if "custom" in changes:
        old, new = (side or {} for side in changes["custom"])
        names += [f"custom.{key}" for key in {*old, *new} if old.get(key) != new.get(key)]
    return names
