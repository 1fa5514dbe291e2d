"""What other services tell that matters to leads. Each runs once per event: the inbox sees to that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from app.contracts.events import (
    EmailBounced,
    EmailComplained,
    EmailFailed,
    EmailSent,
    EmailUnsubscribed,
    Event,
    LeadCaptured,
)
from app.kit.auth import SYSTEM
from app.leads.commands import capture_lead, record_email

EMAIL = replace(SYSTEM, name="E-mail")


def keep_captured(event: LeadCaptured) -> None:
    """A flow captured somebody."""
    capture_lead(event)


def note_email_sent(event: EmailSent) -> None:
    """A mail to a lead went out."""
    if event.lead_id:
        data = {"message_id": event.message_id, "template": event.template or ""}
        record_email(event.lead_id, "email_sent", data, by=EMAIL)


def note_email_failed(event: EmailFailed) -> None:
    """A mail to a lead will not go out."""
    if event.lead_id:
        data = {"message_id": event.message_id, "reason": event.reason}
        record_email(event.lead_id, "email_failed", data, by=EMAIL)


def note_email_bounced(event: EmailBounced) -> None:
    """A mail to a lead came back."""
    if event.lead_id:
        data = {"message_id": event.message_id, "reason": event.reason}
        record_email(event.lead_id, "email_bounced", data, by=EMAIL)


def note_email_complained(event: EmailComplained) -> None:
    """A lead called a mail spam."""
    if event.lead_id:
        data = {"message_id": event.message_id, "template": event.template or ""}
        record_email(event.lead_id, "email_complained", data, by=EMAIL)


def note_email_unsubscribed(event: EmailUnsubscribed) -> None:
    """A lead wants no more marketing."""
    if event.lead_id:
        data = {"message_id": event.message_id, "template": event.template or ""}
        record_email(event.lead_id, "email_unsubscribed", data, by=EMAIL)


for _handler in (
    note_email_sent,
    note_email_failed,
    note_email_bounced,
    note_email_complained,
    note_email_unsubscribed,
):
    # Most mail of a bulk is to no lead of ours: that is settled without a write.
    _handler.wanted = lambda event: bool(event.lead_id)  # type: ignore[union-attr]


HANDLERS: dict[type[Event], Callable[[Any], None]] = {
    LeadCaptured: keep_captured,
    EmailSent: note_email_sent,
    EmailFailed: note_email_failed,
    EmailBounced: note_email_bounced,
    EmailComplained: note_email_complained,
    EmailUnsubscribed: note_email_unsubscribed,
}
