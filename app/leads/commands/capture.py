"""A conversation's answers become a lead.

People mistype in chats, and the flow has already said "thank you": whatever cannot be read is kept as a note with
a line in the timeline, the lead is never refused for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app.contracts.events import LeadCaptured
from app.kit.auth import SYSTEM
from app.kit.db import db
from app.kit.storable import storable
from app.leads import matching
from app.leads.commands.create import create_lead, identified
from app.leads.commands.record import note
from app.leads.commands.values import (
    CUSTOM_KEY_LENGTH,
    CUSTOM_KEYS,
    CUSTOM_VALUE_LENGTH,
    NOTES_LENGTH,
    default_country,
    tidy,
)
from app.leads.models import NAME_LENGTH, Lead

# What a flow may fill directly; every other name becomes a custom field. Not stage and owner: a contact who writes
# into a variable must not move leads about.
FLOW_FIELDS = ("name", "company", "email", "phone", "amount", "currency", "next_contact_on", "notes")
# Who the timeline names.
WHATSAPP = replace(SYSTEM, name="WhatsApp")


def capture_lead(event: LeadCaptured) -> tuple[Lead, bool]:
    """Keep what a conversation told; returns the lead and whether it is new."""
    told = {str(key): str(value).strip() for key, value in event.fields.items() if str(value or "").strip()}
    country = matching.region_of(event.contact_phone) or default_country()
    given = {field: told.pop(field) for field in FLOW_FIELDS if field in told}
    if "name" in given:
        given["name"] = given["name"][:NAME_LENGTH]
    clean, problems = tidy(given, country=country)
    unread = {item.where.lstrip("/").split("/")[0]: item.code for item in problems}
    if not clean.get("phone") and event.contact_phone:
        own_phone, _ = tidy({"phone": event.contact_phone}, country=country)
        clean |= own_phone
    if not clean.get("name") and event.contact_name:
        clean["name"] = matching.read_name(event.contact_name)[:NAME_LENGTH]
    if not identified(clean):
        clean["name"] = "WhatsApp"
    aside = "\n".join(f"{field}: {given[field]}" for field in unread)
    clean["notes"] = _room(clean.get("notes", ""), aside)
    clean["custom"] = _custom(told)
    language, _ = tidy({"language": event.language})
    lead, created = create_lead(
        {
            **clean,
            **language,
            "source": "whatsapp",
            "contact_id": event.contact_id,
            "conversation_id": event.conversation_id,
        },
        by=WHATSAPP,
        country=country,
    )
    if unread:
        db.session.flush()
        note(lead, "unreadable", WHATSAPP, {"fields": unread, "text": aside[:CUSTOM_VALUE_LENGTH]})
    return lead, created


def _custom(told: dict[str, str]) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for key, value in list(told.items())[:CUSTOM_KEYS]:
        name = matching.read_name(key)[:CUSTOM_KEY_LENGTH]
        if name:
            clean[name] = storable(value)[:CUSTOM_VALUE_LENGTH]
    return clean


def _room(notes: str, aside: str) -> str:
    return "\n".join(filter(None, (notes, storable(aside))))[:NOTES_LENGTH].strip()
