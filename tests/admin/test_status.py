"""The page that says whether all is well: for whom, and what it says of what is broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.kit import db, outbox
from app.kit.redis_client import connect, redis
from app.kit.relay import pass_once
from tests.admin.pages import words

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
