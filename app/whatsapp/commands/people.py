"""What the leads service tells about our contacts: which lead they became and whose it is.

It is told in any order; `at`, when it happened, says whether a contact has heard of something newer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, or_, update

from app.kit.db import db
from app.whatsapp.models import Contact


def link_lead(contact_id: str, lead_id: str, owner_id: int | None, *, at: datetime) -> None:
    """Note which lead a contact became. An unknown contact is nothing to us: it may be long gone."""
    _tell(Contact.id == contact_id, at, lead_id=lead_id, owner_id=owner_id)


def assign_owner(lead_id: str, owner_id: int | None, contact_id: str | None, *, at: datetime) -> None:
    """Note whose lead it is now: sellers see the conversations of their own leads only."""
    _tell(Contact.lead_id == lead_id, at, owner_id=owner_id)
    if contact_id is not None:
        # lead.assigned may overtake lead.created
        _tell(Contact.id == contact_id, at, lead_id=lead_id, owner_id=owner_id)


def unlink_lead(lead_id: str, *, at: datetime) -> None:
    """Forget a lead that is gone; its conversations stay."""
    _tell(Contact.lead_id == lead_id, at, lead_id=None, owner_id=None)


def _tell(who: ColumnElement[bool], at: datetime, **values: Any) -> None:
    heard_nothing_newer = or_(Contact.lead_told_at.is_(None), Contact.lead_told_at <= at)
    db.session.execute(update(Contact).where(who, heard_nothing_newer).values(lead_told_at=at, **values))
