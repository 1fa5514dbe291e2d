"""What the webhooks service does when something happens elsewhere: the same for every public event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.contracts.events import EVENTS, Event, LeadDeleted
from app.kit import dead_letters, gone, inbox
from app.kit.db import db
from app.webhooks import commands, queries

ABOUT_LEADS = frozenset(name for name in EVENTS if name.startswith("lead."))
"""Names of the events that may hold personal data of the lead which is their subject."""


def tell(event: Event) -> None:
    """Queue the event for the endpoints that want it; a lead that is gone takes its personal data along."""
    if isinstance(event, LeadDeleted):
        gone.note("webhooks", event.lead_id)
        dead_letters.forget("webhooks", ABOUT_LEADS, lead_id=event.lead_id)
        commands.erase_lead(event.lead_id)
    elif event.name in ABOUT_LEADS and gone.is_gone("webhooks", event.subject):
        return
    envelope = inbox.received()
    commands.queue_event(event, event_id=envelope.event_id, at=envelope.at)


def _wanted(event: Event) -> bool:
    """Whether there is anything to do; spares the busiest events a transaction where nobody listens."""
    wanted = isinstance(event, LeadDeleted) or queries.anybody_wants(event.name)
    db.session.rollback()  # ends the read, or a long drain would go on seeing the endpoints of its beginning
    return wanted


def _interest() -> set[str]:
    """Names of the events that would be told to anybody."""
    return {LeadDeleted.name, *queries.wanted_names()}


tell.wanted = _wanted  # type: ignore[attr-defined]
tell.interest = _interest  # type: ignore[attr-defined]

HANDLERS: dict[type[Event], Callable[[Any], None]] = {
    event: tell for event in EVENTS.values() if event.public
}
