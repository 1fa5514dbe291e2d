"""A lead comes in: somebody new, or somebody we know already.

The same person is met again all the time. Looking first and inserting then is a race that two conversations in one
second win; the unique indexes decide, and who loses the insert looks again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.contracts.problems import problem
from app.kit.auth import Principal
from app.kit.db import db, new_id, utcnow
from app.kit.errors import Conflict, Forbidden, Invalid
from app.leads import matching
from app.leads.commands.record import (
    announce,
    announce_new,
    column_of,
    field_of,
    note,
    others_with,
    plain,
    taken,
    tell_owner,
    write,
)
from app.leads.commands.values import TAGS_PER_LEAD, blank, tidy
from app.leads.models import Lead
from app.leads.queries.cached import forget

# Insert, lose against another, find the other's lead gone again: more rounds than that are no coincidence.
ROUNDS = 4
# Fields of a known lead that a second capture may fill when they are empty.
_FILLABLE = (
    "name",
    "company",
    "email",
    "phone",
    "amount",
    "next_contact_on",
    "notes",
    "owner_id",
    "owner_name",
)
LINKS = ("contact_id", "conversation_id")
"""Into the whatsapp service."""


def create_lead(values: Mapping[str, Any], *, by: Principal, country: str | None = None) -> tuple[Lead, bool]:
    """Keep a lead; returns it and whether it is new.

    The same person (phone, then e-mail, then WhatsApp contact) is found: its empty fields are filled, nothing is
    overwritten, and the timeline says what else was told. country: by which a national phone is read.

    Raises Invalid with every problem, Forbidden when a seller assigns to somebody else or names a conversation, Conflict when a seller's
    new lead is already another seller's.
    """
    clean, problems = tidy(values, country=country)
    if not problems and not identified(clean):
        problems.append(nobody())
    if problems:
        raise Invalid(problems)
    own(clean, by)
    forbid_links(clean, None, by)
    for _ in range(ROUNDS):
        owners = others_with(None, clean)
        lead = owners.get("phone") or owners.get("email") or _by_contact(clean)
        try:
            with db.session.begin_nested():
                if lead is None:
                    return _insert(clean, by), True
                # locked and re-read: between the look and the lock somebody may have changed or deleted it
                lead = _locked(lead.id)
                if lead is not None:
                    _fill(lead, clean, owners, by)
                    return lead, False
        except IntegrityError:
            db.session.expire_all()
    raise Conflict(*taken([field for field in ("phone", "email") if clean.get(field)]))


def identified(values: Mapping[str, Any]) -> bool:
    """Whether anything says who this is."""
    return any(values.get(field) for field in ("name", "email", "phone"))


def nobody() -> Any:
    """The problem of a lead without name, e-mail and phone."""
    return problem("", "nobody", "A lead needs a name, an e-mail address or a telephone number.")


def own(clean: dict[str, Any], by: Principal) -> None:
    """What a seller makes is the seller's; raises Forbidden when it is meant for somebody else."""
    if not by.own_only:
        return
    if clean.get("owner_id", by.user_id) not in (by.user_id, None):
        raise Forbidden("You may not assign leads to others.")
    clean["owner_id"], clean["owner_name"] = by.user_id, by.name[:130]


def forbid_links(clean: Mapping[str, Any], lead: Lead | None, by: Principal) -> None:
    """Whose lead it is may see its conversation, so a seller cannot name one; raises Forbidden."""
    named = [f for f in LINKS if clean.get(f) and clean[f] != (getattr(lead, f) if lead else None)]
    if by.own_only and named:
        raise Forbidden("You may not say which conversation a lead comes from.")


def _insert(clean: Mapping[str, Any], by: Principal) -> Lead:
    now = utcnow()
    lead = Lead(
        id=new_id(),
        source="manual",
        owner_name="",
        contact_id=None,
        conversation_id=None,
        **{column_of(field): value for field, value in blank().items()},
        version=1,
        created_at=now,
        updated_at=now,
        stage_changed_at=now,
    )
    write(lead, clean)
    db.session.add(lead)
    db.session.flush()
    announce_new(lead, by)
    return lead


def _by_contact(clean: Mapping[str, Any]) -> Lead | None:
    if not clean.get("contact_id"):
        return None
    return db.session.scalars(
        select(Lead)
        .where(Lead.contact_id == clean["contact_id"], Lead.deleted_at.is_(None))
        .order_by(Lead.created_at, Lead.id)
        .limit(1)
    ).first()


def _locked(lead_id: str) -> Lead | None:
    return db.session.scalar(
        select(Lead)
        .where(Lead.id == lead_id, Lead.deleted_at.is_(None))
        .with_for_update(of=Lead)
        .execution_options(populate_existing=True)
    )


def _fill(lead: Lead, clean: Mapping[str, Any], owners: Mapping[str, Lead], by: Principal) -> None:
    if by.own_only and lead.owner_id not in (None, by.user_id):
        raise Conflict(*taken([field for field in owners if owners[field].id == lead.id] or ["phone"]))
    forget(lead.id)
    others = {field: row.id for field, row in owners.items() if row.id != lead.id}
    filling: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for field in _FILLABLE + LINKS:
        new, old = clean.get(field), field_of(lead, field)
        if new in (None, "") or new == old or field in others:
            continue
        if old in (None, ""):
            filling[field] = new
        elif field not in ("owner_id", "owner_name", *LINKS):
            told[field] = plain(new)
    if ("owner_id" in filling) != ("owner_name" in filling) and lead.owner_id is not None:
        filling.pop("owner_name", None)  # the name of another owner than the lead has
    if "amount" in filling and clean.get("currency"):
        filling["currency"] = clean["currency"]
    if clean.get("custom"):
        filling["custom"] = {**clean["custom"], **lead.custom}
        told |= {
            f"custom.{key}": value
            for key, value in clean["custom"].items()
            if key in lead.custom and lead.custom[key] != value
        }
    if clean.get("tags"):
        known = {matching.fold(tag.name): tag.name for tag in lead.tags}
        for name in clean["tags"]:
            known.setdefault(matching.fold(name), name)
        filling["tags"] = list(known.values())[:TAGS_PER_LEAD]
    changes = write(lead, filling)
    db.session.flush()
    data = {"source": clean.get("source", ""), "filled": sorted(changes), "told": told}
    if clean.get("conversation_id"):
        data["conversation_id"] = clean["conversation_id"]
    note(lead, "found_again", by, data)
    if others:
        # The phone is one lead's and the e-mail another's: a person must look, we do not guess.
        note(
            lead,
            "possible_duplicate",
            by,
            {"fields": sorted(others), "other_id": next(iter(others.values()))},
        )
    announce(lead, changes, by)
    if clean.get("contact_id") not in (None, lead.contact_id):
        tell_owner(lead, clean["contact_id"])  # the same person wrote from another number or channel
