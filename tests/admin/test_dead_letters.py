"""Failed events in the admin: seen with their reason and without addresses, tried again, given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from app.contracts.events import LeadCreated
from app.kit import db, inbox, outbox
from app.services import DEAD_LETTERS

LeadsOutbox, _ = outbox.tables_of("leads")
_, EmailInbox = outbox.tables_of("email")
PAGE = f"{DEAD_LETTERS}/email/"


@pytest.fixture
def failing(app: Flask, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The e-mail service fails at lead.created for as long as failing["reason"] is set."""
    told: dict[str, Any] = {"reason": "no mail for ana@example.com", "handled": []}

    def welcome(event: LeadCreated) -> None:
        if told["reason"]:
            raise RuntimeError(told["reason"])
        told["handled"].append(event.lead_id)

    nobody: dict[str, Any] = {service: {} for service in app.extensions["embudo_services"]}
    monkeypatch.setitem(app.extensions, "embudo_handlers", nobody | {"email": {LeadCreated: welcome}})
    return told


def dead_letter() -> str:
    """An event that failed for good; its id."""
    with db.transaction():
        outbox.publish(
            LeadCreated(lead_id=db.new_id(), lead_name="Ana", email="ana@example.com", phone="+34600111222",
                        company=None, source="api", language="es", stage="new")
        )  # fmt: skip
    row = db.db.session.scalars(select(LeadsOutbox).order_by(LeadsOutbox.id.desc())).first()
    letter = outbox.as_cloud_event(row)
    db.db.session.rollback()
    for _ in range(inbox.HANDLER_ATTEMPTS):
        inbox.receive("email", letter)
    return str(letter["id"])


def post(client: FlaskClient, path: str, **query: str) -> str:
    """Press a button; the page that follows."""
    token = client.get(PAGE).text.partition('name="csrf_token"')[2].partition('value="')[2].partition('"')[0]
    return client.post(path, data={"csrf_token": token}, query_string=query, follow_redirects=True).text


def test_a_dead_letter_is_shown_with_its_reason_and_without_addresses(
    failing: dict[str, Any], admin: FlaskClient
) -> None:
    dead_letter()
    page = admin.get(f"{DEAD_LETTERS}/", follow_redirects=True)
    assert page.status_code == 200
    assert "lead.created" in page.text
    assert "email.welcome" in page.text
    assert "RuntimeError: no mail for" in page.text
    for secret in ("ana@example.com", "600111222"):
        assert secret not in page.text


def test_one_is_tried_again(failing: dict[str, Any], admin: FlaskClient, drain: Callable[[], None]) -> None:
    first, _second = dead_letter(), dead_letter()
    failing["reason"] = None
    post(admin, f"{PAGE}replay", event=first, handler="email.welcome")
    drain()
    states = {row.event_id: row.state for row in db.db.session.scalars(select(EmailInbox))}
    assert sorted(states.values()) == ["dead", "done"]
    assert states[first] == "done"
    assert len(failing["handled"]) == 1


def test_all_are_tried_again(failing: dict[str, Any], admin: FlaskClient, drain: Callable[[], None]) -> None:
    for _ in range(3):
        dead_letter()
    failing["reason"] = None
    post(admin, f"{PAGE}replay")
    drain()
    assert len(failing["handled"]) == 3
    assert {row.state for row in db.db.session.scalars(select(EmailInbox))} == {"done"}


def test_one_that_is_given_up_is_not_shown_nor_tried_again(
    failing: dict[str, Any], admin: FlaskClient, drain: Callable[[], None]
) -> None:
    event = dead_letter()
    failing["reason"] = None
    assert "lead.created" not in post(admin, f"{PAGE}dismiss", event=event, handler="email.welcome")
    drain()
    assert failing["handled"] == []
    row = db.db.session.scalars(select(EmailInbox)).one()
    assert (row.state, row.event) == ("done", None), "and its data are forgotten"


@pytest.mark.parametrize("event", ["x", "018f0000-0000-7000-8000-000000000000"])
def test_one_that_is_not_there_is_said_to_be_gone(app: Flask, admin: FlaskClient, event: str) -> None:
    for what in ("replay", "dismiss"):
        post(admin, f"{PAGE}{what}", event=event, handler="email.welcome\x00")
        post(admin, f"{PAGE}{what}", event=event, handler="email.welcome")


def test_a_service_that_is_not_served_here_is_not_shown_here(app: Flask, admin: FlaskClient) -> None:
    assert admin.get(f"{DEAD_LETTERS}/nobody/").status_code == 404
    assert admin.post(f"{PAGE}bring-back").status_code in {400, 404}


def test_sellers_and_viewers_do_not_see_them(logged_in: Callable[[str], FlaskClient]) -> None:
    for role in ("seller", "viewer"):
        assert logged_in(role).get(PAGE).status_code in {302, 403}
    assert logged_in("manager").get(PAGE).status_code == 200


def test_where_another_process_serves_a_service_the_sidebar_leads_there(
    app: Flask, admin: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "/admin/outbox/list/" in {rule.rule for rule in app.url_map.iter_rules()}
    monkeypatch.setitem(app.extensions, "embudo_elsewhere", (("email", "E-mail", "/elsewhere/list/"),))
    assert 'href="/elsewhere/list/"' in admin.get("/").text


def test_every_service_begins_with_a_list(app: Flask) -> None:
    from app.services import elsewhere

    rules = {rule.rule for rule in app.url_map.iter_rules()}
    assert {path for _, _, path in elsewhere(())} <= rules
