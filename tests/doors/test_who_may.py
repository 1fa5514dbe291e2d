"""Nobody passes a door without a key that is valid and may: asked of every operation there is."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from app.kit import auth, db
from tests.doors.interface import UNKNOWN_ID, doors, refusal

Stored = Callable[[], dict[str, int]]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def test_without_a_key_every_operation_is_refused(app: Flask, client: FlaskClient, stored: Stored) -> None:
    before = stored()
    for door in doors(app):
        answer = client.open(door.at({}), method=door.method, json=door.example)
        refusal(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), door
    assert stored() == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer emb_nonsense"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic YWRtaW46YWRtaW4="},
        {"X-Api-Key": "emb_nonsense"},
        {"X-Embudo-Signature": "00", "X-Embudo-Time": "1"},
        {"Authorization": "Bearer \u00e9\u00ff"},
    ],
)
def test_a_key_that_is_none_opens_no_door(app: Flask, client: FlaskClient, headers: dict[str, str]) -> None:
    for door in doors(app):
        refusal(client.open(door.at({}), method=door.method, json=door.example, headers=headers), 401)


def test_a_key_opens_only_the_doors_of_its_scopes(
    app: Flask, api: Callable[..., Any], known_ids: dict[str, str], stored: Stored
) -> None:
    for scope in auth.SCOPES:
        key = api(*(set(auth.SCOPES) - {scope}))
        before = stored()
        for door in doors(app):
            if door.scope == scope:
                answer = key.open(door.at(known_ids), method=door.method, json=door.example)
                assert scope in refusal(answer, 403)["detail"], door
        assert stored() == before


def test_an_expired_key_opens_nothing(app: Flask, api: Callable[..., Any]) -> None:
    key = api()
    assert key.get("/leads").status_code == 200
    with db.own_context(), db.transaction() as session:
        session.execute(update(auth.ApiKey).values(expires_at=db.utcnow() - timedelta(seconds=1)))
    auth._seen.clear()  # what the passing of KEY_CACHE_SECONDS does
    for door in doors(app):
        refusal(key.open(door.at({}), method=door.method, json=door.example), 401)


def test_a_key_is_remembered_no_longer_than_it_is_valid(
    app: Flask, api: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "KEY_CACHE_SECONDS", 3600.0)
    key = api()
    with db.own_context(), db.transaction() as session:
        session.execute(update(auth.ApiKey).values(expires_at=db.utcnow() + timedelta(seconds=60)))
    assert key.get("/leads").status_code == 200
    ((until, _),) = auth._seen.values()
    assert until <= time.monotonic() + 60


def test_revoking_a_key_takes_effect_with_the_next_request(app: Flask, api: Callable[..., Any]) -> None:
    key = api()
    assert key.get("/leads").status_code == 200
    with db.own_context(), db.transaction() as session:
        auth.revoke_key(session.scalars(select(auth.ApiKey.id)).one())
    refusal(key.get("/leads"), 401)


def test_a_key_of_somebody_who_was_switched_off_opens_nothing(
    app: Flask, api: Callable[..., Any], make_user: Callable[..., Any]
) -> None:
    user = make_user("manager")
    key = api("leads:read", user_id=user.id)
    assert key.get("/leads").status_code == 200
    user.active = False
    db.db.session.commit()
    auth._seen.clear()
    refusal(key.get("/leads"), 401)


def test_a_key_may_no_more_than_the_person_it_acts_for(
    app: Flask, api: Callable[..., Any], make_user: Callable[..., Any]
) -> None:
    for role in ("viewer", "seller", "manager"):
        key = api(user_id=make_user(role).id)  # all scopes
        for door in doors(app):
            if door.scope not in auth.ROLE_SCOPES[role]:
                refusal(key.open(door.at({}), method=door.method, json=door.example), 403)


def test_a_seller_s_key_sees_nothing_of_others(
    app: Flask,
    api: Callable[..., Any],
    make_user: Callable[..., Any],
    known_ids: dict[str, str],
    stored: Stored,
) -> None:
    key = api(user_id=make_user("seller").id)
    before = stored()
    for door in doors(app):
        about = {"lead_id", "conversation_id", "run_id", "chat_id"} & set(door.at_names())
        if about and door.scope in auth.ROLE_SCOPES["seller"]:
            answer = key.open(
                door.at(known_ids), method=door.method, json=door.example, headers={"If-Match": "*"}
            )
            refusal(answer, 404)
    assert stored() == before
    for path in ("/leads", "/conversations"):
        assert key.get(path).json["items"] == [], path


def test_an_unknown_method_is_told_which_are_known(app: Flask, api: Callable[..., Any]) -> None:
    key = api()
    known: dict[str, set[str]] = {}
    for door in (*doors(app), *doors(app, public=True)):
        known.setdefault(door.path, set()).add(door.method)
    for door in doors(app):
        for method in {*METHODS, "TRACE", "PROPFIND"} - known[door.path]:
            answer = key.open(door.at({"number": "1"}), method=method)
            refusal(answer, 405)
            allowed = {item.strip() for item in answer.headers["Allow"].split(",")}
            assert allowed - {"HEAD", "OPTIONS"} == known[door.path], door


def test_a_browser_s_session_changes_nothing_without_the_page_s_token(
    app: Flask, admin: FlaskClient, stored: Stored
) -> None:
    before = stored()
    for door in doors(app):
        if door.method == "GET":
            continue
        for headers in ({}, {"X-CSRFToken": "nonsense"}, {"Origin": "https://evil.example"}):
            answer = admin.open(door.at({}), method=door.method, json=door.example, headers=headers)
            assert "X-CSRFToken" in refusal(answer, 403)["detail"], door
    assert stored() == before


def test_a_browser_with_the_page_s_token_may(app: Flask, admin: FlaskClient) -> None:
    token = admin.get("/").text.partition('name="csrf-token" content="')[2].partition('"')[0]
    answer = admin.post("/leads", json={"name": "Ana"}, headers={"X-CSRFToken": token})
    assert answer.status_code == 201


def test_too_many_requests_are_told_when_to_come_back(
    app: Flask, api: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, stored: Stored
) -> None:
    monkeypatch.setitem(app.config, "API_BURST", 3)
    monkeypatch.setitem(app.config, "API_RATE_PER_SECOND", 0.01)
    key, other = api(), api("leads:read")
    answers = [key.get(f"/leads/{UNKNOWN_ID}") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 429, 429]
    refusal(answers[-1], 429)
    assert int(answers[-1].headers["Retry-After"]) > 1
    before = stored()
    refusal(key.post("/leads", json={"name": "Ana"}), 429)
    assert stored() == before
    assert other.get("/leads").status_code == 200, "another key of the same name has its own count"
