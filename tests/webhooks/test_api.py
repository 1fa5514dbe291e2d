"""The REST door of the webhooks service."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from app.kit import db
from app.webhooks import queries
from app.webhooks.commands import endpoints
from tests.fakes.loopback import Answer
from tests.webhooks.conftest import Receiver, fresh, lead_created, publish, verify

Drain = Callable[[], None]
Api = Callable[..., Any]
BODY = {"description": "CRM", "events": ["lead.*"]}


def test_the_whole_life_of_an_endpoint(api: Api, receiver: Receiver, drain: Drain) -> None:
    client = api("webhooks:read", "webhooks:write")
    made = client.post("/webhooks", json={**BODY, "url": receiver.url})
    assert made.status_code == 201, made.text
    endpoint = made.get_json()
    secret = endpoint["secret"]
    here = made.headers["Location"]

    shown = client.get(here)
    assert "secret" not in shown.get_json()
    assert client.get("/webhooks").get_json()["items"] == [shown.get_json()]

    publish(lead_created())
    drain()
    assert verify(secret, receiver.requests[0])["type"] == "lead.created"
    (item,) = client.get(f"{here}/deliveries").get_json()["items"]
    assert (item["status"], item["last_status"], item["type"]) == ("delivered", 200, "lead.created")
    detail = client.get(f"/webhooks/deliveries/{item['id']}").get_json()
    assert detail["body"].encode() == receiver.requests[0].body
    assert detail["calls"][0]["answer"] == '{"ok": true}'

    again = client.post(f"/webhooks/deliveries/{item['id']}/replay", json={})
    assert again.status_code == 202
    drain()
    assert receiver.requests[1].headers["webhook-id"] == item["webhook_id"]

    rotated = client.post(f"{here}/rotate-secret", json={}).get_json()
    tested = client.post(f"{here}/test", json={})
    assert tested.status_code == 202
    drain()
    for key in (secret, rotated["secret"]):
        assert verify(key, receiver.requests[2])["type"] == "endpoint.test"
    assert client.get(tested.headers["Location"]).get_json()["status"] == "delivered"

    assert client.patch(here, json={"enabled": False}).status_code == 428
    stale = client.patch(here, json={"enabled": False}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    tag = client.get(here).headers["ETag"]
    changed = client.patch(here, json={"enabled": False, "events": ["*"]}, headers={"If-Match": tag})
    assert changed.get_json()["disabled_reason"] == "by_hand"
    assert client.post(f"{here}/test", json={}).status_code == 409
    assert client.delete(here).status_code == 204
    assert client.get(here).status_code == 404


def test_every_problem_is_named_at_once_and_nothing_is_stored(api: Api, app: Flask) -> None:
    answer = api().post(
        "/webhooks",
        json={
            "url": "http://user:pw@10.0.0.1/#x",
            "events": ["lead.*", "nobody.*"],
            "enabled": 3,
            "colour": 1,
        },
    )
    assert answer.status_code == 422
    codes = {item["code"] for item in answer.get_json()["errors"]}
    assert codes == {
        "credentials",
        "fragment",
        "not_https",
        "private_address",
        "unknown_event",
        "wrong_type",
        "unknown_field",
    }
    fresh()
    assert queries.list_endpoints() == []


@pytest.mark.parametrize(
    "body", [{}, {"url": 7}, {"url": "nonsense", "events": "lead.*"}, {"url": "https://[", "events": []}]
)
def test_nonsense_is_refused(api: Api, app: Flask, body: dict[str, Any]) -> None:
    answer = api().post("/webhooks", json=body)
    assert answer.status_code == 422
    assert {item["where"] for item in answer.get_json()["errors"]} == {"/url", "/events"}


def test_there_is_an_end_to_endpoints(api: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "ENDPOINTS", 1)
    wanted = {"url": receiver.url, "events": ["*"]}
    assert api().post("/webhooks", json=wanted).status_code == 201
    refused = api().post("/webhooks", json=wanted)
    assert (refused.status_code, refused.get_json()["errors"][0]["code"]) == (422, "too_many")


def test_a_repeated_post_makes_one_endpoint_and_its_stored_answer_is_not_readable(
    api: Api, receiver: Receiver
) -> None:
    client = api()
    sent = {"json": {**BODY, "url": receiver.url}, "headers": {"Idempotency-Key": "one"}}
    first, second = client.post("/webhooks", **sent), client.post("/webhooks", **sent)
    assert first.get_json() == second.get_json()
    fresh()
    assert len(queries.list_endpoints()) == 1
    table = db.metadata_of("webhooks").tables["webhooks_idempotency"]
    with db.engine_of("webhooks").connect() as connection:
        assert b"whsec" not in bytes(connection.execute(table.select()).one().body)


def test_all_that_failed_since_a_moment_is_sent_again(api: Api, receiver: Receiver, drain: Drain) -> None:
    client = api()
    here = client.post("/webhooks", json={**BODY, "url": receiver.url}).headers["Location"]
    receiver.plan(Answer(status=500), Answer(status=500))
    for _ in range(2):
        publish(lead_created())
    drain()
    tag = client.get(here).headers["ETag"]
    client.patch(here, json={"enabled": False}, headers={"If-Match": tag})
    client.patch(here, json={"enabled": True}, headers={"If-Match": "*"})
    assert client.post(f"{here}/replay", json={"since": "2999-01-01T00:00:00Z"}).get_json() == {"replayed": 0}
    assert client.post(f"{here}/replay", json={"since": "2020-01-01T00:00:00Z"}).get_json() == {"replayed": 2}
    drain()
    states = [item["status"] for item in client.get(f"{here}/deliveries").get_json()["items"]]
    assert states == ["delivered", "delivered"]
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 2


def test_lists_are_paged_and_filtered(api: Api, receiver: Receiver, drain: Drain) -> None:
    client = api()
    here = client.post("/webhooks", json={**BODY, "url": receiver.url}).headers["Location"]
    for _ in range(3):
        publish(lead_created())
    drain()
    first = client.get(f"{here}/deliveries?limit=2").get_json()
    second = client.get(f"{here}/deliveries?limit=2&cursor={first['next']}").get_json()
    assert (len(first["items"]), len(second["items"]), second["next"]) == (2, 1, None)
    assert client.get(f"{here}/deliveries?status=failed").get_json()["items"] == []
    assert len(client.get(f"{here}/deliveries?type=lead.created").get_json()["items"]) == 3
    assert client.get(f"{here}/deliveries?cursor=nonsense").status_code == 422


def test_scopes_and_roles_decide(api: Api, make_user: Callable[..., Any], receiver: Receiver) -> None:
    assert api("leads:read").get("/webhooks").status_code == 403
    reader = api("webhooks:read")
    assert reader.get("/webhooks").status_code == 200
    assert reader.post("/webhooks", json={**BODY, "url": receiver.url}).status_code == 403
    manager = api(user_id=make_user("manager").id)
    assert manager.get("/webhooks").status_code == 200
    assert manager.post("/webhooks", json={**BODY, "url": receiver.url}).status_code == 403


@pytest.mark.parametrize("path", ["/webhooks/{}", "/webhooks/{}/deliveries", "/webhooks/deliveries/{}"])
@pytest.mark.parametrize("id_", ["nonsense", "01890000-0000-7000-8000-000000000000"])
def test_what_is_not_there_is_not_found(api: Api, app: Flask, path: str, id_: str) -> None:
    assert api().get(path.format(id_)).status_code == 404
    assert api().post(path.format(id_) + "/replay", json={"since": "2020-01-01T00:00:00Z"}).status_code == 404


@pytest.mark.parametrize("method", ["post", "patch"])
def test_no_transaction_is_open_while_the_dns_is_asked(
    api: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    client = api()
    made = client.post("/webhooks", json={"url": receiver.url, "events": ["*"]})
    real, open_then = socket.getaddrinfo, []

    def observed(host: Any, *args: Any, **more: Any) -> Any:
        if host == "hooks.example.com":
            open_then.append(db.db.session().in_transaction())
            return real("8.8.8.8", *args, **more)
        return real(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", observed)
    body = {"url": "https://hooks.example.com/", "events": ["*"]}
    if method == "post":
        answer = client.post("/webhooks", json=body, headers={"Idempotency-Key": "one"})
    else:
        path, match = made.headers["Location"], made.headers["ETag"]
        answer = client.patch(path, json=body, headers={"If-Match": match})
    assert answer.status_code in (200, 201), answer.text
    assert open_then == [False]
