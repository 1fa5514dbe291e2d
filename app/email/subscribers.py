"""What the email service does when something happens elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.contracts.events import EmailRequested, Event, LeadCreated, LeadDeleted
from app.email import commands, queries
from app.email.commands import Order
from app.kit import dead_letters, gone
from app.kit.errors import Invalid

WELCOME = "welcome"
"""Key of the template that a new lead gets; without such a template nothing is sent."""

DEMO = "demo"
"""Source of the leads that a new installation shows: nobody reads their mail."""


def welcome(event: LeadCreated) -> None:
    """Welcome a new lead, once, in their language if the template exists in it; not when it is gone by now."""
    if not event.email or event.source == DEMO:
        return
    found = queries.find_template(WELCOME, event.language)
    if found is None or gone.is_gone("email", event.lead_id):
        return
    known = {
        "name": event.lead_name,
        "company": event.company or "",
        "email": event.email,
        "phone": event.phone or "",
        "source": event.source,
    }
    declared = {variable.name for variable in found.source.variables}
    _queue(
        Order(
            to=event.email,
            template=WELCOME,
            language=event.language,
            variables={name: value for name, value in known.items() if name in declared},
            lead_id=event.lead_id,
            dedupe_key=f"welcome:{event.lead_id}",
        )
    )


def send_requested(event: EmailRequested) -> None:
    """Send what a flow asked for. Variables that the template does not know are left out: flows live longer."""
    if event.lead_id and gone.is_gone("email", event.lead_id):
        return
    found = queries.find_template(event.template, event.language)
    declared = {variable.name for variable in found.source.variables} if found else set(event.variables)
    _queue(
        Order(
            to=event.to,
            template=event.template,
            language=event.language,
            variables={name: value for name, value in event.variables.items() if name in declared},
            lead_id=event.lead_id,
            dedupe_key=f"request:{event.request_id}",
        )
    )


def stop_lead(event: LeadDeleted) -> None:
    """Send nothing more to a lead that is gone; what was sent stays, since deleting can be undone."""
    gone.note("email", event.lead_id)
    dead_letters.forget("email", {LeadCreated.name, EmailRequested.name}, lead_id=event.lead_id)
    commands.stop_lead(event.lead_id)


def _queue(order: Order) -> None:
    try:
        commands.queue_email(order)
    except Invalid as refusal:
        commands.note_unsendable(order, refusal.problems)


HANDLERS: dict[type[Event], Callable[[Any], None]] = {
    LeadCreated: welcome,
    EmailRequested: send_requested,
    LeadDeleted: stop_lead,
}
