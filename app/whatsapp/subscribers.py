"""What other services' events change here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.contracts.events import Event, LeadAssigned, LeadCreated, LeadDeleted
from app.whatsapp.commands import people


def link_lead(event: LeadCreated) -> None:
    """A contact became a lead."""
    if event.contact_id is not None:
        people.link_lead(event.contact_id, event.lead_id, event.owner_id)


def assign_owner(event: LeadAssigned) -> None:
    """A lead has another owner."""
    people.assign_owner(event.lead_id, event.owner_id, event.contact_id)


def unlink_lead(event: LeadDeleted) -> None:
    """A lead is gone."""
    people.unlink_lead(event.lead_id)


HANDLERS: dict[type[Event], Callable[[Any], None]] = {
    LeadCreated: link_lead,
    LeadAssigned: assign_owner,
    LeadDeleted: unlink_lead,
}
