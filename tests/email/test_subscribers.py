"""What happens elsewhere becomes mail, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from app.contracts.events import EmailRequested, Event, LeadCreated, LeadDeleted
from app.email import commands, queries
from app.email.models import Message, Template
from app.kit import db, inbox

MakeTemplate = Callable[..., Template]
Drain = Callable[[], None]

LEAD = LeadCreated(
    lead_id="0198f000-0000-7000-8000-00000000aaaa",
    lead_name="Lucía",
    email="lucia@example.com",
    phone="+34600000012",
    company="Olivar S.L.",
    source="whatsapp",
    language="es",
    stage="new",
)

REQUEST = EmailRequested(
    request_id="run-1:7",
    conversation_id="0198f000-0000-7000-8000-00000000bbbb",
    template="greeting",
    to="lucia@example.com",
    language="es",
    variables={"name": "Lucía", "count": "3"},
)


@pytest.fixture
def happen(app: Flask) -> Callable[..., None]:
    """Let an event arrive, as a new delivery each time: ``happen(event, at=then)``."""

    def deliver(event: Event, at: datetime | None = None) -> None:
        letter: dict[str, Any] = {
            "id": db.new_id(),
            "type": f"embudo.{event.name}.v{event.version}",
            "time": (at or db.utcnow()).isoformat(),
            "requestid": None,
            "data": event.data(),
        }
        assert inbox.receive("email", letter) is None

    return deliver


def mails() -> list[Message]:
    db.db.session.rollback()
    db.db.session.expire_all()
    return [queries.get_message(message.id) for message in queries.list_messages()]


def welcome(make_template: MakeTemplate, language: str) -> Template:
    return make_template(
        key="welcome",
        language=language,
        subject=f"[{language}] {{{{ name }}}}",
        body="<p>{{ name }}, {{ company }}</p>",
        variables=[{"name": "name", "required": True}, {"name": "company"}],
    )


def test_a_new_lead_is_welcomed_in_its_language(
    make_template: MakeTemplate, happen: Callable[[Event], None], drain: Drain
) -> None:
    welcome(make_template, "es")
    welcome(make_template, "en")

    happen(replace(LEAD, language="en"))
    drain()

    (mail,) = mails()
    assert (mail.status, mail.to, mail.subject, mail.lead_id) == (
        "sent",
        "lucia@example.com",
        "[en] Lucía",
        LEAD.lead_id,
    )
    assert mail.text == "Lucía, Olivar S.L.\n"


def test_a_lead_is_welcomed_once_however_often_it_is_told(
    make_template: MakeTemplate, happen: Callable[[Event], None], drain: Drain
) -> None:
    welcome(make_template, "es")

    for _ in range(3):
        happen(LEAD)
        drain()

    assert len(mails()) == 1


def test_a_language_without_a_template_is_served_in_another(
    make_template: MakeTemplate, happen: Callable[[Event], None]
) -> None:
    welcome(make_template, "en")

    happen(LEAD)

    assert [mail.template_language for mail in mails()] == ["en"]


def test_without_an_address_or_a_template_nothing_is_sent(
    make_template: MakeTemplate, happen: Callable[[Event], None]
) -> None:
    happen(LEAD)
    welcome(make_template, "es")
    happen(replace(LEAD, lead_id="0198f000-0000-7000-8000-00000000cccc", email=None))

    assert mails() == []


def test_a_welcome_that_lacks_a_value_is_kept_as_failed_and_can_be_mended(
    make_template: MakeTemplate, happen: Callable[[Event], None], drain: Drain
) -> None:
    made = welcome(make_template, "es")
    happen(replace(LEAD, lead_name=""))

    (mail,) = mails()
    assert (mail.status, mail.error_code) == ("failed", "unsendable")
    assert "name" in (mail.last_error or "")

    with db.transaction():
        commands.change_template(
            made.id, {"variables": [{"name": "name", "default": "amiga"}, {"name": "company"}]}
        )
    with db.transaction():
        commands.retry_email(mail.id)
    drain()
    (mail,) = mails()
    assert (mail.status, mail.subject) == ("sent", "[es] amiga")


def test_a_flow_can_ask_for_a_mail_once_with_text_values_and_more_than_the_template_knows(
    make_template: MakeTemplate, happen: Callable[[Event], None], drain: Drain
) -> None:
    make_template(language="es")

    for _ in range(2):
        happen(replace(REQUEST, variables={**REQUEST.variables, "extra": "x"}))
    drain()

    (mail,) = mails()
    assert (mail.status, mail.subject, mail.variables["count"]) == ("sent", "Hello Lucía", 3)


@pytest.mark.parametrize(
    "changes", [{"template": "nothing"}, {"to": "no address"}, {"variables": {"name": "x", "count": "many"}}]
)
def test_a_flows_wish_that_cannot_be_fulfilled_is_shown_as_failed(
    make_template: MakeTemplate, happen: Callable[[Event], None], drain: Drain, changes: dict[str, Any]
) -> None:
    make_template(language="es")

    happen(replace(REQUEST, **changes))
    drain()

    (mail,) = mails()
    assert mail.status == "failed"
    assert mail.last_error


def test_a_deleted_lead_gets_no_more_mail_and_keeps_its_history(
    make_template: MakeTemplate, happen: Callable[[Event], None], drain: Drain
) -> None:
    make_template(language="es")
    welcome(make_template, "es")
    happen(replace(REQUEST, lead_id=LEAD.lead_id))
    drain()
    happen(LEAD)

    happen(LeadDeleted(lead_id=LEAD.lead_id))
    drain()

    assert [(mail.template, mail.status, mail.to) for mail in mails()] == [
        ("welcome", "cancelled", "lucia@example.com"),
        ("greeting", "sent", "lucia@example.com"),
    ]


def test_a_lead_that_is_gone_gets_no_mail_that_was_wanted_before(
    make_template: MakeTemplate, happen: Callable[..., None]
) -> None:
    welcome(make_template, "es")
    make_template(language="es")
    before = db.utcnow() - timedelta(minutes=1)

    happen(LeadDeleted(lead_id=LEAD.lead_id))
    happen(LEAD, at=before)
    happen(replace(REQUEST, lead_id=LEAD.lead_id), at=before)
    assert mails() == []

    happen(replace(REQUEST, lead_id=LEAD.lead_id))  # it was brought back meanwhile
    assert len(mails()) == 1
