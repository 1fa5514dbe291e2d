"""A lead's card shows its mails, asked from the e-mail service, and works as well when nobody answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from app.email.models import STATUSES
from app.kit import remote
from app.leads.admin import mails
from tests.fakes.loopback import Answer, LoopbackServer, Received, Stall
from tests.leads.people import keep

ENGLISH = {"Accept-Language": "en"}
SILENT = "The e-mail service does not answer now"


class EmailService(LoopbackServer):
    """The e-mail service of another process."""

    def handle(self, request: Received) -> Answer:
        mail = {
            "id": "1",
            "subject": "Hola <Ann>",
            "status": "sent",
            "created_at": "2026-01-02T03:04:05+00:00",
        }
        return Answer(body={"items": [mail], "next": None})


@pytest.fixture
def elsewhere(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmailService]:
    """This process serves leads alone."""
    monkeypatch.setitem(app.extensions, "embudo_services", ("leads",))
    with EmailService() as server:
        monkeypatch.setitem(app.config, "SERVICE_URLS", {"email": server.url})
        yield server
        server.free()


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_of_a_mail_has_a_word(app: Flask, status: str) -> None:
    assert status in mails.STATUSES


def card(browser: Any, lead: Any) -> str:
    """The lead's page in English."""
    answer = browser.get(f"/admin/leads/show/{lead.id}", headers=ENGLISH)
    assert answer.status_code == 200
    return str(answer.text)


def test_a_mail_of_the_lead_is_on_its_card(admin: Any, api: Any) -> None:
    lead, other = keep(), keep(name="Bea", email="bea@example.com")
    made = api().post(
        "/email", json={"to": "ann@example.com", "subject": "Tiles", "text": "Soon.", "lead_id": lead.id}
    )
    assert made.status_code in {201, 202}, made.text
    page = card(admin, lead)
    assert "Tiles" in page
    assert f"/admin/outbox/show/{made.json['id']}" in page
    assert "Tiles" not in card(admin, other)


def test_it_is_asked_from_another_process_with_a_signature(elsewhere: EmailService, admin: Any) -> None:
    lead = keep()
    page = card(admin, lead)
    assert "Hola &lt;Ann&gt;" in page
    (asked,) = elsewhere.requests
    assert asked.query == f"lead_id={lead.id}&limit=5"
    assert asked.headers[remote.SIGNATURE.lower()]


@pytest.mark.parametrize("plans", [[Answer(status=500)] * 2, [Answer(status=403)], [Stall(), Stall()]])
def test_when_it_does_not_answer_the_card_says_so_and_shows_the_rest(
    elsewhere: EmailService, admin: Any, plans: list[Any]
) -> None:
    elsewhere.plan(*plans)
    page = card(admin, keep())
    assert SILENT in page
    assert "Timeline" in page


def test_where_nobody_said_where_it_runs_the_card_has_no_mails(
    app: Flask, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.extensions, "embudo_services", ("leads",))
    page = card(admin, keep())
    assert SILENT not in page
    assert "mails-title" not in page
