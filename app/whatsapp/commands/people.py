"""What the leads service tells about our contacts: which lead they became and whose it is."""

from __future__ import annotations

from sqlalchemy import update

from app.kit.db import db
from app.whatsapp.models import Contact


def link_lead(contact_id: str, lead_id: str, owner_id: int | None) -> None:
    """Note which lead a contact became. An unknown contact is nothing to us: it may be long gone."""
    db.session.execute(update(Contact).where(Contact.id == contact_id).values(lead_id=lead_id))
    # lead.assigned may have been here before: what it said is newer than what the lead was created with
    db.session.execute(
        update(Contact).where(Contact.id == contact_id, Contact.owner_id.is_(None)).values(owner_id=owner_id)
    )


def assign_owner(lead_id: str, owner_id: int | None, contact_id: str | None) -> None:
    """Note whose lead it is now: sellers see the conversations of their own leads only."""
    db.session.execute(update(Contact).where(Contact.lead_id == lead_id).values(owner_id=owner_id))
    if contact_id is not None:
        # lead.assigned may overtake lead.created
        db.session.execute(
            update(Contact).where(Contact.id == contact_id).values(lead_id=lead_id, owner_id=owner_id)
        )


def unlink_lead(lead_id: str) -> None:
    """Forget a lead that is gone; its conversations stay."""
    db.session.execute(update(Contact).where(Contact.lead_id == lead_id).values(lead_id=None, owner_id=None))
