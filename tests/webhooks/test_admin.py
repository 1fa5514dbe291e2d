"""The screens of the webhooks service, used as a browser uses them; asserted on rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.kit import db
from app.webhooks import commands, queries
from app.webhooks.models import Delivery, Endpoint
from tests.fakes.loopback import Answer
from tests.webhooks.conftest import Receiver, deliveries, fresh, lead_created, publish, verify

Drain = Callable[[], None]
Add = Callable[..., tuple[Endpoint, str]]


def post(client: FlaskClient, path: str, data: dict[str, Any] | None = None) -> Any:
    """Post with the CSRF token of a page."""
    token = re.search(r'name="csrf-token" content="([^"]+)"', client.get("/admin/webhooks/list/").text)
    assert token is not None
    return client.post(path, data={**(data or {}), "csrf_token": token[1]})


def stored(endpoint: Endpoint) -> Endpoint:
    fresh()
    return queries.get_endpoint(endpoint.id)


def test_an_endpoint_is_added_and_its_secret_is_shown_once(admin: FlaskClient, receiver: Receiver) -> None:
    form = {"url": receiver.url, "description": "Invoices", "events": ["lead.*", "email.failed"]}
    assert "lead.*" in admin.get("/admin/webhooks/add").text
    made = post(admin, "/admin/webhooks/add", form)
    secret = re.search(r'value="(whsec_[^"]+)"', made.text)
    assert secret is not None, made.text[:2000]
    fresh()
    (row,) = queries.list_endpoints()
    assert row.secrets == {"current": secret[1]}
    assert (row.url, row.events, row.created_by) == (receiver.url, ["lead.*", "email.failed"], "admin")
    for page in (f"/admin/webhooks/show/{row.id}", f"/admin/webhooks/edit/{row.id}", "/admin/webhooks/list/"):
        answer = admin.get(page)
        assert answer.status_code == 200
        assert "Invoices" in answer.text
        assert secret[1] not in answer.text


def test_a_form_names_every_problem_and_stores_nothing(admin: FlaskClient, app: Flask) -> None:
    answer = post(
        admin, "/admin/webhooks/add", {"url": "http://user:pw@127.0.0.1/hook#x", "events": ["lead.*"]}
    )
    assert answer.status_code == 422
    assert answer.text.count("https://") >= 1
    for words in ("WEBHOOKS_ALLOW_PRIVATE", "#"):
        assert words in answer.text
    fresh()
    assert queries.list_endpoints() == []


def test_an_endpoint_is_changed_in_its_form(
    admin: FlaskClient, receiver: Receiver, add_endpoint: Add
) -> None:
    endpoint, secret = add_endpoint(receiver.url)
    form = {"url": f"{receiver.url}/new", "description": "Now named", "events": ["email.*"], "_version": "1"}
    assert post(admin, f"/admin/webhooks/edit/{endpoint.id}", form).status_code == 302
    row = stored(endpoint)
    assert (row.url, row.description, row.events) == (f"{receiver.url}/new", "Now named", ["email.*"])
    assert (row.version, row.secrets) == (2, {"current": secret})


def test_a_test_is_sent_and_its_page_tells_what_came_back(
    admin: FlaskClient, receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    endpoint, secret = add_endpoint(receiver.url, events=["email.sent"])
    sent = post(admin, f"/admin/webhooks/test/{endpoint.id}")
    drain()
    (request,) = receiver.requests
    assert verify(secret, request)["type"] == "endpoint.test"
    page = admin.get(sent.location).text
    assert "endpoint.test" in page
    assert request.headers["webhook-id"] in page
    assert "{&#34;ok&#34;: true}" in page


def test_a_failed_test_is_not_tried_again(
    admin: FlaskClient, receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    endpoint, _ = add_endpoint(receiver.url)
    receiver.plan(Answer(status=500, body="the <b>database</b> is away"))
    sent = post(admin, f"/admin/webhooks/test/{endpoint.id}")
    drain()
    assert deliveries(endpoint)[0].status == "failed"
    page = admin.get(sent.location).text
    assert "&lt;b&gt;database&lt;/b&gt;" in page


def test_the_new_secret_is_shown_once_and_both_sign_for_a_day(
    admin: FlaskClient, receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    endpoint, old = add_endpoint(receiver.url)
    page = post(admin, f"/admin/webhooks/rotate/{endpoint.id}").text
    new = re.search(r'value="(whsec_[^"]+)"', page)
    assert new is not None
    publish(lead_created())
    drain()
    for secret in (old, new[1]):
        assert verify(secret, receiver.requests[0])["type"] == "lead.created"


def test_switched_off_an_endpoint_gets_nothing_and_what_waited_can_be_replayed(
    admin: FlaskClient, receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    endpoint, _ = add_endpoint(receiver.url)
    receiver.plan(Answer(status=503))
    publish(lead_created())
    drain()
    post(admin, f"/admin/webhooks/switch/{endpoint.id}/off")
    assert (stored(endpoint).enabled, stored(endpoint).disabled_reason) == (False, "by_hand")
    (row,) = deliveries(endpoint)
    assert (row.status, row.last_error) == ("failed", "endpoint_disabled")

    post(admin, f"/admin/webhooks/replay/{endpoint.id}", {"since": "2020-01-01"})
    drain()
    assert len(receiver.requests) == 1
    post(admin, f"/admin/webhooks/switch/{endpoint.id}/on")
    post(admin, f"/admin/webhooks/replay/{endpoint.id}", {"since": "2020-01-01"})
    drain()
    assert deliveries(endpoint)[0].status == "delivered"
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


def test_a_replay_begins_with_the_day_of_the_installations_zone(
    admin: FlaskClient,
    receiver: Receiver,
    add_endpoint: Add,
    drain: Drain,
    app: Flask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(app.config, "TIMEZONE", "America/Mexico_City")
    endpoint, _ = add_endpoint(receiver.url)
    for _ in range(2):
        publish(lead_created())
    drain()
    with db.transaction() as session:
        for row, moment in zip(deliveries(endpoint), ("2026-03-01T06:00", "2026-03-01T05:59"), strict=True):
            failed = session.get_one(Delivery, row.id)
            failed.status, failed.created_at = "failed", datetime.fromisoformat(f"{moment}+00:00")
    assert "America/Mexico_City" in admin.get(f"/admin/webhooks/show/{endpoint.id}").text
    post(admin, f"/admin/webhooks/replay/{endpoint.id}", {"since": "2026-03-01"})
    assert [row.status for row in deliveries(endpoint)] == ["pending", "failed"]


def test_the_log_is_narrowed_by_state_and_endpoint(
    admin: FlaskClient, receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    one, _ = add_endpoint(f"{receiver.url}/one", events=["lead.*"], description="First")
    add_endpoint(f"{receiver.url}/two", events=["lead.*"], description="Second")
    receiver.plan(Answer(status=410))
    publish(lead_created())
    drain()
    everything = admin.get("/admin/webhook-deliveries/list/").text
    assert everything.count('class="row-link"') == 2
    failed = admin.get("/admin/webhook-deliveries/list/?f.status=failed").text
    assert failed.count('class="row-link"') == 1
    own = admin.get(f"/admin/webhook-deliveries/list/?f.endpoint={one.id}").text
    assert own.count('class="row-link"') == 1
    assert "First" in own
    assert admin.get("/admin/webhook-deliveries/list/?f.endpoint=nonsense").status_code == 200


def test_one_delivery_is_sent_again_by_a_button(
    admin: FlaskClient, receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    endpoint, _ = add_endpoint(receiver.url)
    publish(lead_created())
    drain()
    (row,) = deliveries(endpoint)
    post(admin, f"/admin/webhook-deliveries/action/replay/{row.id}")
    drain()
    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert deliveries(endpoint)[0].attempts == 2


def test_the_home_page_says_which_endpoints_are_in_trouble(
    admin: FlaskClient, receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    endpoint, _ = add_endpoint(receiver.url)
    receiver.plan(Answer(status=410))
    publish(lead_created())
    drain()
    health = {row["label"]: row["level"] for row in admin.get("/home/live").get_json()["health"]}
    assert health["Webhooks"] == "error"
    with db.transaction():
        commands.enable_endpoint(endpoint.id)
    health = {row["label"]: row["level"] for row in admin.get("/home/live").get_json()["health"]}
    assert health["Webhooks"] == "ok"


def test_a_manager_sees_and_does_not_change_and_a_seller_sees_nothing(
    logged_in: Callable[[str], FlaskClient], receiver: Receiver, add_endpoint: Add
) -> None:
    endpoint, _ = add_endpoint(receiver.url)
    manager = logged_in("manager")
    page = manager.get(f"/admin/webhooks/show/{endpoint.id}").text
    assert receiver.url in page
    assert "/admin/webhooks/rotate/" not in page
    post(manager, f"/admin/webhooks/switch/{endpoint.id}/off")
    post(manager, f"/admin/webhooks/delete/{endpoint.id}")
    assert stored(endpoint).enabled
    seller = logged_in("seller")
    assert receiver.url not in seller.get("/admin/webhooks/list/").text


def test_an_endpoint_is_deleted_with_its_log(
    admin: FlaskClient, receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    endpoint, _ = add_endpoint(receiver.url)
    publish(lead_created())
    drain()
    post(admin, f"/admin/webhooks/delete/{endpoint.id}")
    fresh()
    assert queries.list_endpoints() == []
    assert queries.count_by_status() == {}
