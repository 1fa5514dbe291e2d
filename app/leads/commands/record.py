"""Writing a lead's row: derived columns, tags, timeline and events, the same whoever changes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import inspect, select

from app.contracts.events import LeadAssigned, LeadCreated, LeadStageChanged, LeadUpdated
from app.contracts.problems import Problem, problem
from app.kit.auth import Principal
from app.kit.db import db, new_id, utcnow
from app.kit.errors import NotFound, PreconditionFailed
from app.kit.outbox import publish
from app.kit.rows import insert_once
from app.leads import matching
from app.leads.commands.airtable_marks import mark_dirty
from app.leads.models import NAME_LENGTH, Lead, LeadEvent, Tag
from app.leads.queries.cached import canonical, forget

# Fields of the input that are columns under another name, or none at all.
_COLUMNS = {"stage": "stage_key"}


def load_for_change(
    lead_id: str, by: Principal, *, version: int | None = None, deleted: bool = False
) -> Lead:
    """The lead, locked until the transaction ends.

    Raises NotFound when there is none or `by` may not see it, PreconditionFailed when it has another version.
    """
    lead_id = canonical(lead_id)
    row = db.session.scalar(
        select(Lead)
        .where(Lead.id == lead_id, Lead.deleted_at.is_not(None) if deleted else Lead.deleted_at.is_(None))
        .with_for_update(of=Lead)
        .execution_options(populate_existing=True)
    )
    if row is None or (by.own_only and row.owner_id != by.user_id):
        raise NotFound("lead", lead_id)
    if version is not None and version != row.version:
        raise PreconditionFailed("Somebody changed this meanwhile; read it again and repeat your change.")
    forget(row.id)
    return row


def column_of(field: str) -> str:
    """Where the row keeps an input field."""
    return _COLUMNS.get(field, field)


def field_of(lead: Lead, field: str) -> Any:
    """The current value of an input field."""
    if field == "tags":
        return [tag.name for tag in lead.tags]
    return getattr(lead, column_of(field))


def write(lead: Lead, values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Put clean values into the row; returns what changed as {field: [old, new]}, JSON-plain."""
    changes: dict[str, list[Any]] = {}
    for field, given in values.items():
        old, new = field_of(lead, field), given
        if field == "tags":
            if [matching.fold(name) for name in old] == sorted(matching.fold(name) for name in new):
                continue
            lead.tags = tags_named(new)
            new = [tag.name for tag in lead.tags]
        elif old == new:
            continue
        else:
            setattr(lead, column_of(field), new)
            if field == "stage" and inspect(lead).persistent:
                db.session.expire(
                    lead, ["stage"]
                )  # else the loaded relationship would go on showing the old one
        changes[field] = [plain(old), plain(new)]
    if changes:
        _derive(lead)
    return changes


def _derive(lead: Lead) -> None:
    lead.email_key = matching.email_key(lead.email) if lead.email else None
    lead.phone_key = matching.match_key(lead.phone) if lead.phone else None
    lead.name_key = matching.fold(lead.name)[:NAME_LENGTH]
    lead.search_text = matching.search_text(lead.name, lead.company, lead.email, lead.phone)


def announce(lead: Lead, changes: dict[str, list[Any]], by: Principal) -> None:
    """Version, timeline and events for changes that write() reported; nothing when there are none."""
    if not changes:
        return
    lead.version += 1
    lead.updated_at = utcnow()
    mark_dirty(lead, by, changes)
    stage = changes.pop("stage", None)
    owner = changes.pop("owner_id", None)
    name = changes.pop("owner_name", None)
    if stage:
        lead.stage_changed_at = lead.updated_at
        note(lead, "stage_changed", by, {"from": stage[0], "to": stage[1]})
        publish(LeadStageChanged(lead_id=lead.id, old_stage=stage[0], new_stage=stage[1]))
    if owner or name:
        note(lead, "assigned", by, {"from": name[0] if name else "", "to": lead.owner_name})
    if owner or name or "contact_id" in changes:
        tell_owner(lead, lead.contact_id)
    if changes:
        note(lead, "changed", by, {"changes": changes})
        publish(
            LeadUpdated(
                lead_id=lead.id,
                version_number=lead.version,
                changes={field: new for field, (_, new) in changes.items()},
                contact_id=lead.contact_id,
            )
        )


def tell_owner(lead: Lead, contact_id: str | None) -> None:
    """Say whose lead a contact is; the whatsapp service shows sellers the conversations of their own leads."""
    publish(
        LeadAssigned(
            lead_id=lead.id, owner_id=lead.owner_id, owner_name=lead.owner_name, contact_id=contact_id
        )
    )


def announce_new(lead: Lead, by: Principal) -> None:
    """Timeline and event of a new lead."""
    mark_dirty(lead, by)
    note(lead, "created", by, {"source": lead.source})
    publish(
        LeadCreated(
            lead_id=lead.id,
            lead_name=lead.name,
            email=lead.email,
            phone=lead.phone,
            company=lead.company or None,
            source=lead.source,
            language=lead.language,
            stage=lead.stage_key,
            owner_id=lead.owner_id,
            contact_id=lead.contact_id,
            conversation_id=lead.conversation_id,
        )
    )


def note(lead: Lead, what: str, by: Principal, data: Mapping[str, Any] | None = None) -> LeadEvent:
    """Add a line to the lead's timeline."""
    line = LeadEvent(
        id=new_id(), lead_id=lead.id, what=what, by=by.name[:130], at=utcnow(), data=dict(data or {})
    )
    db.session.add(line)
    return line


def others_with(lead_id: str | None, values: Mapping[str, Any]) -> dict[str, Lead]:
    """Living leads that have this phone or e-mail already: {"phone": …, "email": …}, without `lead_id` itself."""
    found: dict[str, Lead] = {}
    for field, column, key in (
        ("phone", Lead.phone_key, matching.match_key),
        ("email", Lead.email_key, matching.email_key),
    ):
        if not values.get(field):
            continue
        row = db.session.scalar(select(Lead).where(column == key(values[field]), Lead.deleted_at.is_(None)))
        if row is not None and row.id != lead_id:
            found[field] = row
    return found


def taken(fields: Iterable[str]) -> list[Problem]:
    """The problems of a phone or an e-mail that belongs to another lead."""
    sentences = {
        "phone": problem("/phone", "taken", "Another lead has this telephone number."),
        "email": problem("/email", "taken", "Another lead has this e-mail address."),
    }
    return [sentences[field] for field in fields]


def tags_named(names: Iterable[str]) -> list[Tag]:
    """The tags of these names, made where they do not exist yet; sorted as the lead shows them."""
    wanted = {matching.fold(name): name for name in names}
    if not wanted:
        return []
    known = _tags(wanted)
    for key in sorted(wanted.keys() - {tag.key for tag in known}):  # sorted: two makers cannot lock crosswise
        insert_once(Tag, {"id": new_id(), "key": key, "name": wanted[key]}, ["key"])
    return _tags(wanted)


def _tags(keys: Iterable[str]) -> list[Tag]:
    return list(db.session.scalars(select(Tag).where(Tag.key.in_(keys)).order_by(Tag.key)))


def plain(value: Any) -> Any:
    """The value as JSON-plain."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return value
