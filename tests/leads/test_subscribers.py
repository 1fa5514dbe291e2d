"""What other services tell: conversations become leads, mails become lines of the timeline, each once."""

from __future__ import annotations

from typing import Any

import pytest

from app.contracts.events import EmailFailed, EmailSent, Event, LeadCaptured
from app.kit import inbox
from app.kit.auth import SYSTEM
from app.kit.db import new_id, utcnow
from app.leads.queries import funnel
from tests.leads.people import keep, living, published, timeline

pytestmark = pytest.mark.usefixtures("app")


def letter(event: Event) -> dict[str, Any]:
    """The event as it arrives."""
    return {
        "specversion": "1.0",
        "id": new_id(),
        "source": f"/embudo/{event.service}",
        "type": f"embudo.{event.name}.v{event.version}",
        "time": utcnow().isoformat(),
        "data": event.data(),
    }


def captured(fields: dict[str, str], **more: Any) -> LeadCaptured:
    values: dict[str, Any] = {
        "capture_id": new_id(),
        "conversation_id": new_id(),
        "contact_id": new_id(),
        "channel": "simulator",
        "language": "es",
        "fields": fields,
    }
    return LeadCaptured(**{**values, **more})


def deliver(event: Event, times: int = 1) -> None:
    sent = letter(event)
    for _ in range(times):
        assert inbox.receive("leads", sent) is None


def test_a_captured_lead_carries_its_conversation() -> None:
    event = captured(
        {"name": "Lucía", "email": "lucia@example.com", "phone": "600000012", "interest": "catálogo"}
    )
    deliver(event)
    [lead] = living()
    assert (lead.name, lead.email, lead.phone) == ("Lucía", "lucia@example.com", "+34600000012")
    assert (lead.source, lead.language, lead.custom) == ("whatsapp", "es", {"interest": "catálogo"})
    assert (lead.contact_id, lead.conversation_id) == (event.contact_id, event.conversation_id)
    assert published("lead.created")[0]["conversation_id"] == event.conversation_id


def test_a_repeated_delivery_is_handled_once() -> None:
    deliver(captured({"name": "Lucía", "phone": "+34600000012"}), times=3)
    [lead] = living()
    assert timeline(lead.id) == ["created"]
    assert len(published("lead.created")) == 1


def test_what_cannot_be_read_is_kept_and_the_lead_is_not_lost() -> None:
    deliver(captured({"name": "Pepe", "email": "pepe@@x", "phone": "12", "amount": "mucho"}))
    [lead] = living()
    assert (lead.name, lead.email, lead.phone, lead.amount) == ("Pepe", None, None, None)
    for said in ("pepe@@x", "12", "mucho"):
        assert said in lead.notes
    line = next(item for item in funnel.timeline(lead.id, SYSTEM) if item.what == "unreadable")
    assert line.data["fields"] == {
        "email": "invalid_email", "phone": "invalid_phone", "amount": "invalid_amount"
    }  # fmt: skip


def test_the_contacts_own_number_serves_where_the_flow_gave_none_and_tells_the_country() -> None:
    deliver(captured({"name": "Vale"}, contact_phone="+5215512345678"))
    deliver(captured({"name": "Tía de Vale", "phone": "55 8765 4321"}, contact_phone="+5215599999999"))
    assert [(lead.name, lead.phone) for lead in living()] == [
        ("Vale", "+525512345678"),
        ("Tía de Vale", "+525587654321"),
    ]


def test_a_contact_without_number_comes_back_as_the_same_lead() -> None:
    contact = new_id()
    deliver(captured({}, contact_id=contact, contact_name="Ana ✨"))
    deliver(captured({"email": "ana@example.com"}, contact_id=contact))
    [lead] = living()
    assert (lead.name, lead.email) == ("Ana ✨", "ana@example.com")


def test_the_whatsapp_service_learns_which_lead_a_contact_is() -> None:
    lead = keep(name="A", phone="+34600000012")
    first, second = captured({"phone": "600000012"}), captured({"phone": "600000012"})
    deliver(first)
    deliver(second)
    told = [(event["lead_id"], event["contact_id"]) for event in published("lead.assigned")]
    assert told == [(lead.id, first.contact_id), (lead.id, second.contact_id)]
    assert "assigned" not in timeline(lead.id)


def test_a_flow_cannot_move_or_give_away_a_lead() -> None:
    lead = keep(name="A", phone="+34600000012")
    deliver(captured({"phone": "+34600000012", "stage": "won", "owner_id": "1", "source": "api"}))
    [found] = living()
    assert found.id == lead.id
    assert (found.stage_key, found.owner_id, found.source) == ("new", None, "manual")
    assert found.custom == {"stage": "won", "owner_id": "1", "source": "api"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": "x" * 5000, "notes": "y" * 50_000, "company": "z" * 5000},
        {f"field{number}": "v" * 5000 for number in range(200)},
        {"k" * 200: "v", "": "w", "a\x00": "b\x00\ud800"},
        {"email": "x" * 2000, "phone": "9" * 2000, "currency": "doubloons", "next_contact_on": "mañana"},
        {"name": None, "amount": 5},
    ],
)
def test_no_conversation_is_too_strange_for_a_lead(fields: dict[str, Any]) -> None:
    deliver(captured(fields, language="x" * 50))
    assert len(living()) == 1


def test_mails_are_lines_of_the_timeline_once_each() -> None:
    lead = keep()
    deliver(EmailSent(message_id=new_id(), lead_id=lead.id, template="welcome"), times=2)
    deliver(EmailFailed(message_id=new_id(), lead_id=lead.id, reason="mailbox full"))
    assert timeline(lead.id) == ["created", "email_sent", "email_failed"]


def test_a_mail_without_or_of_an_unknown_lead_is_nobodys_line() -> None:
    deliver(EmailSent(message_id=new_id()))
    deliver(EmailSent(message_id=new_id(), lead_id=new_id()))
    deliver(EmailSent(message_id=new_id(), lead_id="not an id"))
    assert living() == []
