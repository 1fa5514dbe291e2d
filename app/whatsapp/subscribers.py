"""What other services' events change here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.contracts.events import Event, LeadAssigned, LeadCreated, LeadDeleted
from app.kit import dead_letters, gone
from app.kit.inbox import received
from app.whatsapp.commands import people


def link_lead(event: LeadCreated) -> None:
    """A contact became a lead."""
    if event.contact_id is not None and not gone.is_gone("whatsapp", event.lead_id):
        people.link_lead(event.contact_id, event.lead_id, event.owner_id, at=received().at)


def assign_owner(event: LeadAssigned) -> None:
    """A lead has another owner."""
    if not gone.is_gone("whatsapp", event.lead_id):
        people.assign_owner(event.lead_id, event.owner_id, event.contact_id, at=received().at)


def unlink_lead(event: LeadDeleted) -> None:
    """A lead is gone."""
    gone.note("whatsapp", event.lead_id)
    dead_letters.forget("whatsapp", {LeadCreated.name, LeadAssigned.name}, lead_id=event.lead_id)
    people.unlink_lead(event.lead_id, at=received().at)


HANDLERS: dict[type[Event], Callable[[Any], None]] = {
    LeadCreated: link_lead,
    LeadAssigned: assign_owner,
    LeadDeleted: unlink_lead,
}
