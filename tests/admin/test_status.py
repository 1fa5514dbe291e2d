"""The page that says whether all is well: for whom, and what it says of what is broken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.kit import db, outbox
from app.kit.errors import Misconfigured
from app.kit.redis_client import connect, redis
from app.kit.relay import HEARTBEAT_KEY, SILENT_SECONDS, pass_once
from app.kit.resilience import breaker
from config import Config
from tests.admin.pages import words
from tests.conftest import FreshClient, log_in

ENGLISH = {"Accept-Language": "en"}


@pytest.fixture(autouse=True)
def fresh(app: Flask) -> None:
    app.extensions["embudo_metrics"].forget()


def test_who_runs_the_system_sees_it_and_who_sells_does_not(
    admin: FlaskClient, logged_in: Callable[[str], FlaskClient], client: FlaskClient
) -> None:
    assert admin.get("/admin/status/").status_code == 200
    manager = logged_in("manager")
    assert manager.get("/admin/status/").status_code == 200
    assert 'href="/admin/status/"' in manager.get("/").text
    for role in ("seller", "viewer"):
        person = logged_in(role)
        assert 'href="/admin/status/"' not in person.get("/").text
        for path in ("/admin/status/", "/admin/status/live"):
            assert "Database" not in words(person.get(path, headers=ENGLISH).text), (role, path)
    assert client.get("/admin/status/").status_code in (302, 401)


def test_without_workers_and_relay_it_says_so_and_what_to_do(admin: FlaskClient) -> None:
    said = words(admin.get("/admin/status/live", headers=ENGLISH).text)
    assert "broken Workers of leads None is running. Start a worker: python worker.py leads" in said
    assert "broken Relay of leads Not running" in said
    assert "fine Database leads Answers." in said
    assert "of these need you." in said


def test_a_relay_that_sweeps_is_fine(app: Flask, admin: FlaskClient) -> None:
    pass_once()
    assert "fine Relay of leads Running" in words(admin.get("/admin/status/live", headers=ENGLISH).text)


def test_redis_that_is_gone_does_not_take_the_page_with_it(
    app: Flask, admin: FlaskClient, tmp_path: Path
) -> None:
    living = redis()
    app.extensions["embudo_redis"] = connect(f"unix://{tmp_path}/nobody.sock")
    try:
        said = words(admin.get("/admin/status/live", headers=ENGLISH).text)
    finally:
        app.extensions["embudo_redis"] = living
    assert "broken Redis Does not answer" in said
    assert "fine Database leads Answers." in said


def test_failed_events_lead_to_their_page(app: Flask, admin: FlaskClient) -> None:
    _, inbox = outbox.tables_of("leads")
    with db.transaction() as session:
        session.add(inbox(event_id=db.new_id(), handler="x", name="lead.captured", state="dead"))
    page = admin.get("/admin/status/live", headers=ENGLISH).text
    assert "Failed events of leads" in words(page)
    assert 'href="/admin/dead-letters/leads/"' in page


def test_in_spanish_it_is_in_spanish(admin: FlaskClient) -> None:
    assert "Base de datos leads Responde." in words(
        admin.get("/admin/status/live", headers={"Accept-Language": "es"}).text
    )


# --- when other processes serve the other services -----------------------------------------------------------------------


@pytest.fixture
def leads_alone(config: Config, app: Flask) -> Iterator[FlaskClient]:
    """The administrator's browser at a process that serves leads only, on the same databases and Redis."""
    alone = create_app(replace(config, services=("leads",), redis_url=app.config["REDIS_URL"]), role="web")
    alone.testing = True
    alone.test_client_class = FreshClient
    yield log_in(alone.test_client(), "admin")
    db.dispose_engines(alone)


def heard(**ages: float) -> None:
    """The relays of these services swept so many seconds ago."""
    for service, seconds in ages.items():
        redis().hset(HEARTBEAT_KEY, service, time.time() - seconds)


def test_a_process_tells_of_its_own_parts_and_what_can_be_known_of_its_neighbours(
    leads_alone: FlaskClient,
) -> None:
    heard(leads=1, whatsapp=1, email=SILENT_SECONDS + 60)
    page = leads_alone.get("/admin/status/leads/", headers=ENGLISH).text
    said = words(page)
    assert "This is what the process of leads knows." in said
    assert "fine WhatsApp flows Its relay was heard of" in said
    assert "broken E-mail Its relay was last heard of" in said
    assert "broken Webhooks Nothing has ever been heard of its relay. Its page says more" in said
    assert "Database email" not in said and "service:" not in said
    for other in ("whatsapp", "email", "webhooks"):
        assert f'href="/admin/status/{other}/"' in page
    assert 'data-fresh="/admin/status/leads/live"' in page
    assert "fine Database leads" in words(leads_alone.get("/admin/status/leads/live", headers=ENGLISH).text)


def test_a_neighbour_whose_calls_are_held_back_is_broken_although_its_relay_runs(
    leads_alone: FlaskClient,
) -> None:
    heard(leads=1, whatsapp=1, email=1, webhooks=1)
    with leads_alone.application.app_context(), pytest.raises(Misconfigured), breaker("service:email"):
        raise Misconfigured("no")
    said = words(leads_alone.get("/admin/status/leads/live", headers=ENGLISH).text)
    assert "broken E-mail Kept failing; calls are held back" in said


def test_without_redis_nothing_can_be_said_of_neighbours(leads_alone: FlaskClient, tmp_path: Path) -> None:
    leads_alone.application.extensions["embudo_redis"] = connect(f"unix://{tmp_path}/nobody.sock")
    said = words(leads_alone.get("/admin/status/leads/live", headers=ENGLISH).text)
    assert "attention E-mail Cannot say now." in said


def test_a_process_does_not_answer_for_another(leads_alone: FlaskClient, admin: FlaskClient) -> None:
    for path in ("/admin/status/email/", "/admin/status/email/live"):
        assert leads_alone.get(path).status_code == 404
        assert admin.get(path).status_code == 200, "who serves all answers for each"
    assert admin.get("/admin/status/nobody/").status_code == 404
    assert "Its relay" not in words(admin.get("/admin/status/", headers=ENGLISH).text)
