"""The start page and the page of API keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app.admin import home
from app.kit import auth
from app.kit.db import db, utcnow
from tests.admin.pages import send


def test_home_works_while_there_is_nothing_yet(
    logged_in: Callable[[str], FlaskClient], admin: FlaskClient
) -> None:
    assert admin.get("/").status_code == 200
    for role in ("manager", "seller", "viewer"):
        assert logged_in(role).get("/").status_code == 200, role


def test_a_sellers_home_says_nothing_of_queues(
    admin: FlaskClient, logged_in: Callable[[str], FlaskClient]
) -> None:
    assert admin.get("/home/live").json["health"]
    assert logged_in("seller").get("/home/live").json["health"] == []


def test_health_says_that_no_worker_and_no_relay_run(admin: FlaskClient) -> None:
    rows = admin.get("/home/live", headers={"Accept-Language": "en"}).json["health"]
    levels = {row["label"]: row["level"] for row in rows}
    assert levels["Queue leads"] == "error" and levels["Relay"] == "error"
    assert levels["Events of leads"] == "ok"


def test_one_broken_number_does_not_take_the_page_with_it(app: Flask, admin: FlaskClient) -> None:
    def broken() -> Any:
        raise OperationalError("SELECT", {}, Exception("gone"))

    parts = app.extensions["embudo_home"]
    added = [
        home.Card(key="broken", label="Broken", value=broken),
        home.Card(key="fine", label="Fine", value=lambda: 7),
        home.Chart(key="drawing", title="Drawing", data=lambda: home.Series(labels=["a"], values=[2.5])),
        home.Card(key="hidden", label="Hidden", value=lambda: 1, permission="NobodyHasThis"),
    ]
    parts.extend(added)
    try:
        live = admin.get("/home/live").json
        page = admin.get("/").text
    finally:
        for part in added:
            parts.remove(part)
    values = {card["key"]: card["value"] for card in live["cards"]}
    assert values["broken"] == "—" and values["fine"] == "7" and "hidden" not in values
    assert 'data-chart-card="drawing"' in page and "2.5" in page


def test_first_steps_go_away_when_all_are_done(app: Flask, admin: FlaskClient) -> None:
    parts = app.extensions["embudo_home"]
    others = [part for part in parts if isinstance(part, home.Step)]
    done = {"step": False}
    step = home.Step(key="one", label="One thing", hint="Do it", done=lambda: done["step"])
    for part in others:
        parts.remove(part)
    parts.append(step)
    try:
        assert "One thing" in admin.get("/").text
        done["step"] = True
        assert "One thing" not in admin.get("/").text
    finally:
        parts.remove(step)
        parts.extend(others)


def test_a_key_is_shown_once_works_and_can_be_revoked(app: Flask, admin: FlaskClient) -> None:
    made = send(admin, "/admin/api-keys/new", {"name": "web form", "scopes": ["leads:read"], "user_id": "0"})
    assert made.status_code == 200
    found = re.search(r'value="(emb_[\w-]{20,})"', made.text)
    assert found
    key = found.group(1)
    page = admin.get("/admin/api-keys/").text
    assert "web form" in page and key not in page and key[:10] in page
    row = db.session.scalars(select(auth.ApiKey)).one()
    assert row.scopes == ["leads:read"] and row.created_by == "admin" and key not in row.digest
    stranger = app.test_client()
    headers = {"Authorization": f"Bearer {key}"}
    assert stranger.get("/leads", headers=headers).status_code == 200
    assert send(admin, f"/admin/api-keys/{row.id}/revoke").status_code == 302
    assert stranger.get("/leads", headers=headers).status_code == 401


def test_a_key_without_scopes_or_with_a_past_end_is_refused_with_every_problem(
    app: Flask, admin: FlaskClient
) -> None:
    yesterday = (utcnow() - timedelta(days=2)).date().isoformat()
    answer = send(admin, "/admin/api-keys/new", {"name": "x", "user_id": "0", "expires_at": yesterday})
    assert answer.status_code == 422
    assert answer.text.count("field-error") >= 2
    assert auth.list_keys() == []


@pytest.mark.parametrize(
    "form",
    [
        {"name": "x", "scopes": ["everything"], "user_id": "0"},
        {"name": "x", "scopes": ["leads:read"], "user_id": "99"},
        {"name": "x", "scopes": ["leads:read"], "user_id": "abc"},
        {"name": "x" * 500, "scopes": ["leads:read"], "user_id": "0"},
        {"name": "x", "scopes": ["leads:read"], "user_id": "0", "expires_at": "9999-12-31"},
        {"name": "x", "scopes": ["leads:read"], "user_id": "0", "expires_at": "soon"},
    ],
)
def test_nonsense_in_the_key_form_makes_no_key(app: Flask, admin: FlaskClient, form: dict[str, Any]) -> None:
    assert send(admin, "/admin/api-keys/new", form).status_code == 422
    assert auth.list_keys() == []


def test_revoking_what_is_no_key_is_not_found(admin: FlaskClient) -> None:
    for key in ("abc", "018f0000-0000-7000-8000-000000000000"):
        assert (
            send(admin, f"/admin/api-keys/{key}/revoke", headers={"Accept": "text/html"}).status_code == 404
        )


def test_a_browser_may_use_the_interface_but_changes_need_the_header(admin: FlaskClient) -> None:
    assert admin.get("/leads").status_code == 200
    body = {"name": "Ana", "email": "ana@example.com"}
    headers = {"Idempotency-Key": "a-key-for-this-test"}
    assert admin.post("/leads", json=body, headers=headers).status_code == 403
    token = re.search(r'name="csrf-token" content="([^"]+)"', admin.get("/").text)
    assert token
    assert (
        admin.post("/leads", json=body, headers=headers | {"X-CSRFToken": token.group(1)}).status_code == 201
    )
