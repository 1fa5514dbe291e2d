"""The leads service tells whose contacts are, in any order; the newest counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations

import pytest

from app.contracts.events import Event, LeadAssigned, LeadCreated, LeadDeleted
from app.kit import inbox, outbox
from app.kit.db import db, new_id, own_context, transaction
from app.whatsapp.models import Contact
from tests.whatsapp.conftest import Line

NOON = datetime.fromisoformat("2026-01-31T12:00:00+00:00")

ORDERS = list(permutations(range(3)))
"""In which three events may arrive."""


@pytest.fixture
def contact_id(meta: Line, drain: Callable[[], None]) -> str:
    """Somebody who has written."""
    meta.say("hola")
    drain()
    with own_context():
        return db.session.query(Contact.id).scalar()


def created(contact_id: str, owner_id: int | None = None) -> LeadCreated:
    """The contact became a lead."""
    return LeadCreated(
        lead_id=new_id(), lead_name="Ana", email=None, phone=None, company=None, source="whatsapp", language="es",
        stage="new", owner_id=owner_id, contact_id=contact_id,
    )  # fmt: skip


def hear(event: Event, minute: int) -> None:
    """The event of that minute after noon arrives."""
    letter = {
        "id": new_id(),
        "type": f"embudo.{event.name}.v{event.version}",
        "time": (NOON + timedelta(minutes=minute)).isoformat(),
        "requestid": None,
        "data": event.data(),
    }
    assert inbox.receive("whatsapp", letter) is None


def lead_and_owner(contact_id: str) -> tuple[str | None, int | None]:
    with own_context():
        contact = db.session.get_one(Contact, contact_id)
        return contact.lead_id, contact.owner_id


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_whatever_arrives_last_the_newest_owner_sees_the_conversation(
    contact_id: str, order: tuple[int, ...]
) -> None:
    lead = created(contact_id, owner_id=3)
    assigned = LeadAssigned(lead_id=lead.lead_id, owner_id=5, owner_name="Marta", contact_id=contact_id)
    told = [lead, assigned, replace(assigned, owner_id=12)]
    for minute in order:
        hear(told[minute], minute)
    assert lead_and_owner(contact_id) == (lead.lead_id, 12)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_a_lead_that_is_gone_is_nobodys_in_whatever_order_it_is_told(
    contact_id: str, order: tuple[int, ...]
) -> None:
    lead = created(contact_id)
    told = [
        lead,
        LeadAssigned(lead_id=lead.lead_id, owner_id=5, owner_name="Marta", contact_id=contact_id),
        LeadDeleted(lead_id=lead.lead_id),
    ]
    for minute in order:
        hear(told[minute], minute)
    assert lead_and_owner(contact_id) == (None, None)


def test_a_lead_that_was_brought_back_is_its_owners_again(contact_id: str) -> None:
    lead = created(contact_id)
    hear(lead, 0)
    back = LeadAssigned(lead_id=lead.lead_id, owner_id=5, owner_name="Marta", contact_id=contact_id)
    hear(back, 2)
    hear(LeadDeleted(lead_id=lead.lead_id), 1)
    assert lead_and_owner(contact_id) == (lead.lead_id, 5)


def test_the_news_of_one_commit_arrive_in_their_order(contact_id: str, drain: Callable[[], None]) -> None:
    lead = created(contact_id)
    with own_context(), transaction():
        outbox.publish(lead)
        for owner_id in (5, 12):
            outbox.publish(
                LeadAssigned(lead_id=lead.lead_id, owner_id=owner_id, owner_name="", contact_id=contact_id)
            )
    drain()
    assert lead_and_owner(contact_id) == (lead.lead_id, 12)
