"""Short ways to the leads that tests need."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from app.kit.auth import SYSTEM, Principal, principal_of
from app.kit.db import db, engine_of, transaction
from app.leads import commands
from app.leads.models import Lead, LeadEvent

ANN = {"name": "Ann Smith", "email": "ann@example.com", "phone": "+34600000012"}


def keep(by: Principal = SYSTEM, **values: Any) -> Lead:
    """A lead, made by the command, committed."""
    with transaction():
        lead, _ = commands.create_lead(values or ANN, by=by)
    return lead


def seller(user: Any) -> Principal:
    """The principal of a user with the seller's role."""
    return principal_of(user.id, user.username, ["seller"])


def timeline(lead_id: str) -> list[str]:
    """What happened to a lead, oldest first."""
    _look_anew()
    query = select(LeadEvent.what).where(LeadEvent.lead_id == lead_id).order_by(LeadEvent.id)
    return list(db.session.scalars(query))


def living() -> list[Lead]:
    """All leads that are not deleted."""
    _look_anew()
    return list(db.session.scalars(select(Lead).where(Lead.deleted_at.is_(None)).order_by(Lead.id)))


def published(name: str) -> list[dict[str, Any]]:
    """The data of this service's events of one name, oldest first."""
    outbox = Lead.metadata.tables["leads_outbox"]
    query = select(outbox.c.data).where(outbox.c.name == name).order_by(outbox.c.id)
    with engine_of("leads").connect() as connection:
        return list(connection.scalars(query))


def _look_anew() -> None:
    """Forget what this test has seen: SQLite would go on showing it, and so would the session."""
    db.session.rollback()
    db.session.expire_all()
