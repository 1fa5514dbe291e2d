"""Changing, moving, assigning, deleting and restoring a lead that is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import IntegrityError

from app.contracts.events import LeadDeleted, LeadUpdated
from app.contracts.problems import problem
from app.kit.auth import Principal
from app.kit.db import db, utcnow
from app.kit.errors import Conflict, Forbidden, Invalid, NotFound
from app.kit.outbox import publish
from app.kit.storable import storable
from app.leads import matching
from app.leads.commands.airtable_marks import mark_dirty
from app.leads.commands.create import forbid_links, identified, nobody, own
from app.leads.commands.record import (
    announce,
    field_of,
    load_for_change,
    note,
    others_with,
    taken,
    tell_owner,
    write,
)
from app.leads.commands.values import CUSTOM_KEYS, NOTES_LENGTH, blank, tidy
from app.leads.models import Lead, LeadEvent
from app.leads.queries.cached import canonical


def change_lead(
    lead_id: str,
    values: Mapping[str, Any],
    *,
    by: Principal,
    version: int | None = None,
    whole: bool = False,
) -> Lead:
    """Give fields of a lead new values; a change that changes nothing keeps the version.

    `custom` is merged key by key, None takes a key away, and None for all of it clears it; tags are replaced.
    version: the one the caller has seen, or None to change whatever is there. whole: fields that are not given
    become blank (PUT); where the lead came from stays.

    Raises NotFound, PreconditionFailed, Invalid (every problem), Conflict when phone or e-mail are another lead's,
    Forbidden when a seller gives the lead away or names another conversation.
    """
    lead = load_for_change(lead_id, by, version=version)
    clean, problems = tidy({**blank(), **values} if whole else values, owner_now=lead.owner_id)
    if not problems and not identified(
        {f: clean.get(f, field_of(lead, f)) for f in ("name", "email", "phone")}
    ):
        problems.append(nobody())
    if "custom" in clean and not whole and values["custom"] is not None:
        merged = {**lead.custom, **clean["custom"]}
        clean["custom"] = {key: value for key, value in merged.items() if value is not None}
        if len(clean["custom"]) > CUSTOM_KEYS:
            problems.append(
                problem("/custom", "too_many", "There may be at most %(limit)s of them.", limit=CUSTOM_KEYS)
            )
    if problems:
        raise Invalid(problems)
    if "owner_id" in clean:
        own(clean, by)
        if clean["owner_id"] is None:
            clean["owner_name"] = ""
    elif by.own_only and "owner_name" in clean:
        raise Forbidden("You may not assign leads to others.")
    forbid_links(clean, lead, by)
    others = others_with(lead.id, clean)
    if others:
        raise Conflict(*taken(others))
    try:
        with db.session.begin_nested():
            changes = write(lead, clean)
            announce(lead, changes, by)
            db.session.flush()
    except IntegrityError:  # somebody took the phone or the address since we looked
        raise Conflict(*taken([field for field in ("phone", "email") if clean.get(field)])) from None
    return lead


def move_lead(lead_id: str, stage: str, *, by: Principal, version: int | None = None) -> Lead:
    """Put a lead into another stage of the funnel; raises as change_lead."""
    return change_lead(lead_id, {"stage": stage}, by=by, version=version)


def assign_lead(
    lead_id: str, owner_id: int | None, owner_name: str, *, by: Principal, version: int | None = None
) -> Lead:
    """Give a lead to a user of the platform, or to nobody (None); raises as change_lead."""
    return change_lead(lead_id, {"owner_id": owner_id, "owner_name": owner_name}, by=by, version=version)


def delete_lead(lead_id: str, *, by: Principal, version: int | None = None) -> Lead:
    """Take a lead out of every list; restore_lead brings it back. Raises NotFound, PreconditionFailed."""
    lead = load_for_change(lead_id, by, version=version)
    lead.deleted_at = lead.updated_at = utcnow()
    lead.version += 1
    mark_dirty(lead, by)
    note(lead, "deleted", by)
    publish(LeadDeleted(lead_id=lead.id))
    return lead


def restore_lead(lead_id: str, *, by: Principal) -> Lead:
    """Undo delete_lead.

    Raises NotFound when no deleted lead has this id, Conflict when phone or e-mail are a living lead's by now.
    """
    lead = load_for_change(lead_id, by, deleted=True)
    others = others_with(lead.id, {"phone": lead.phone, "email": lead.email})
    if others:
        raise Conflict(*taken(others))
    try:
        with db.session.begin_nested():
            lead.deleted_at = None
            lead.updated_at = utcnow()
            lead.version += 1
            db.session.flush()
    except IntegrityError:
        raise Conflict(*taken([f for f in ("phone", "email") if field_of(lead, f)])) from None
    mark_dirty(lead, by)
    note(lead, "restored", by)
    publish(
        LeadUpdated(
            lead_id=lead.id,
            version_number=lead.version,
            changes={"deleted_at": None},
            contact_id=lead.contact_id,
        )
    )
    if lead.contact_id:
        tell_owner(lead, lead.contact_id)
    return lead


def add_note(lead_id: str, text: str, *, by: Principal) -> LeadEvent:
    """Write a note into the timeline; raises NotFound, Invalid when it is empty or too long."""
    lead = load_for_change(lead_id, by)
    text = storable(text).strip()
    if not text or len(text) > NOTES_LENGTH:
        raise Invalid(
            [problem("/text", "invalid_note", "A note has 1 to %(limit)s characters.", limit=NOTES_LENGTH)]
        )
    return note(lead, "note", by, {"text": text})


def tag_lead(lead_id: str, *, by: Principal, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> Lead:
    """Add and take away tags by name, whatever their case; raises as change_lead."""
    lead = load_for_change(lead_id, by)
    gone = {matching.fold(name) for name in remove}
    names = [tag.name for tag in lead.tags if tag.key not in gone]
    return change_lead(lead_id, {"tags": [*names, *add]}, by=by)


def record_email(lead_id: str, what: str, data: Mapping[str, Any], *, by: Principal) -> bool:
    """Note in the timeline what became of an e-mail; False when the lead is not here (any more)."""
    try:
        lead = db.session.get(Lead, canonical(lead_id))
    except NotFound:
        return False
    if lead is None:
        return False
    note(lead, what, by, data)
    return True
