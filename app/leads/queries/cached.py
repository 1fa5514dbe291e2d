"""One lead by id, from Redis when it is there.

The document is the same for everybody; who may see it is decided after the look-up, from the owner inside it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from app.kit import cache
from app.kit.auth import Principal
from app.kit.db import as_id, db, in_transaction
from app.kit.errors import NotFound
from app.leads.models import Lead


def lead_document(lead_id: str, by: Principal) -> dict[str, Any]:
    """The lead as the API shows it. Raises NotFound when there is none or `by` may not see it."""
    lead_id = canonical(lead_id)
    found, token = cache.get(_key(lead_id))
    if found is None:
        if not in_transaction():
            # The token is new, so must be what we read: a snapshot that is open since before it could hold the
            # row of before an invalidation that the token already knows of.
            db.session.rollback()
        lead = db.session.scalar(
            select(Lead)
            .where(Lead.id == lead_id, Lead.deleted_at.is_(None))
            .execution_options(populate_existing=True)
        )
        if lead is None:
            raise NotFound("lead", lead_id)
        found = as_document(lead)
        cache.put(_key(lead_id), found, token)
    if by.own_only and found["owner_id"] != by.user_id:
        raise NotFound("lead", lead_id)
    return dict(found)


def forget(lead_id: str) -> None:
    """Drop the cached lead, now and after the running transaction."""
    cache.invalidate("leads", _key(lead_id))


def canonical(lead_id: str) -> str:
    """The id as the database writes it; raises NotFound for what is no UUID, so that nothing else must check."""
    found = as_id(lead_id)
    if found is None:
        raise NotFound("lead")
    return found


def as_document(lead: Lead) -> dict[str, Any]:
    """The lead as JSON-plain values; amounts are text, so that no reader makes floats of them."""
    return {
        "id": lead.id,
        "name": lead.name,
        "company": lead.company,
        "email": lead.email,
        "phone": lead.phone,
        "stage": lead.stage_key,
        "source": lead.source,
        "language": lead.language,
        "owner_id": lead.owner_id,
        "owner_name": lead.owner_name,
        "amount": None if lead.amount is None else str(lead.amount),
        "currency": lead.currency,
        "next_contact_on": None if lead.next_contact_on is None else lead.next_contact_on.isoformat(),
        "notes": lead.notes,
        "custom": lead.custom,
        "tags": [tag.name for tag in lead.tags],
        "contact_id": lead.contact_id,
        "conversation_id": lead.conversation_id,
        "version": lead.version,
        "created_at": lead.created_at.isoformat(),
        "updated_at": lead.updated_at.isoformat(),
    }


def _key(lead_id: str) -> str:
    return f"lead:{lead_id}"
