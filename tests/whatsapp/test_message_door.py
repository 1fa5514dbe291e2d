"""`POST /message`: what is signed is kept and answered, what is not leaves no trace."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, update

from app.kit.db import db, transaction, utcnow
from app.kit.jobs import nudge_key
from app.kit.redis_client import connect, redis
from app.whatsapp.models import Channel, Contact, Message, Webhook
from app.whatsapp.queries import channels as channel_queries
from tests.fakes import meta_server, twilio_server
from tests.whatsapp.conftest import MESSAGE_URL, PERSON, Line

Drain = Callable[[], None]


def count(model: Any) -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count()).select_from(model)) or 0


def test_a_wrong_signature_is_refused_and_nothing_is_stored(client: FlaskClient, twilio: Line) -> None:
    body, headers = twilio_server.signed_twilio_form(
        MESSAGE_URL, twilio_server.message_form("SM1", PERSON, "hola"), token="another"
    )
    answer = client.post("/message", data=body, headers=headers)
    assert answer.status_code == 403
    assert answer.mimetype == "application/problem+json"
    assert count(Webhook) == 0


def test_a_missing_signature_is_refused_and_nothing_is_stored(
    client: FlaskClient, twilio: Line, meta: Line
) -> None:
    form = twilio_server.message_form("SM1", PERSON, "hola")
    assert client.post("/message", data=form).status_code == 403
    assert client.post("/message", json=meta_server.message_webhook("w1", "34600", "hola")).status_code == 403
    assert count(Webhook) == 0


def test_one_changed_byte_breaks_metas_signature(client: FlaskClient, meta: Line) -> None:
    body, headers = meta_server.signed_meta(meta_server.message_webhook("w1", "34600111222", "hola"))
    assert client.post("/message", data=body.replace(b"hola", b"Hola"), headers=headers).status_code == 403
    assert count(Webhook) == 0


def test_a_door_without_any_credentials_refuses_everybody(client: FlaskClient) -> None:
    body, headers = meta_server.signed_meta(
        meta_server.message_webhook("w1", "34600111222", "hola"), secret=""
    )
    assert client.post("/message", data=body, headers=headers).status_code == 403
    assert count(Webhook) == 0


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe", b'"text"', b""])
def test_a_signed_body_that_is_no_json_object_is_a_bad_request(
    client: FlaskClient, meta: Line, body: bytes
) -> None:
    raw, headers = meta_server.signed_meta(body)
    answer = client.post("/message", data=raw, headers=headers)
    assert answer.status_code == 400
    assert answer.mimetype == "application/problem+json"
    assert count(Webhook) == 0


def test_another_content_type_is_unsupported(client: FlaskClient) -> None:
    assert client.post("/message", data="<x/>", content_type="text/xml").status_code == 415


def test_ten_megabytes_are_too_large(client: FlaskClient, meta: Line) -> None:
    body, headers = meta_server.signed_meta(b"{" + b" " * 10_000_000 + b"}")
    assert client.post("/message", data=body, headers=headers).status_code == 413
    assert count(Webhook) == 0


def test_the_answers_suit_the_provider(twilio: Line, meta: Line) -> None:
    answer = twilio.say("hola")
    assert (answer.status_code, answer.mimetype) == (200, "text/xml")
    assert "<Response/>" in answer.text
    assert "Set-Cookie" not in answer.headers
    assert meta.say("hola").status_code == 200


def test_metas_handshake_needs_the_verify_token(client: FlaskClient, meta: Line) -> None:
    asked = {"hub.mode": "subscribe", "hub.challenge": "1158201444"}
    good = client.get("/message", query_string={**asked, "hub.verify_token": meta_server.VERIFY_TOKEN})
    assert (good.status_code, good.text) == (200, "1158201444")
    assert client.get("/message", query_string={**asked, "hub.verify_token": "no"}).status_code == 403
    assert client.get("/message").status_code == 403


def test_only_what_is_new_rings_for_a_worker(twilio: Line) -> None:
    bell = nudge_key("whatsapp")
    redis().delete(bell)
    twilio.say("hola", sid="SM" + "b" * 32)
    assert redis().brpop(bell, timeout=5) == (bell.encode(), b"job:whatsapp.process_webhooks")
    twilio.say("hola", sid="SM" + "b" * 32)
    twilio.say("hola", sid="SM" + "c" * 32)
    assert redis().brpop(bell, timeout=5) is not None
    assert redis().llen(bell) == 0


def test_a_redis_that_is_gone_delays_no_acknowledgement(
    app: Flask, twilio: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.extensions, "embudo_redis", connect("unix:///nowhere/redis.sock"))
    assert twilio.say("hola").status_code == 200
    assert count(Webhook) == 1


def test_a_repeated_delivery_is_answered_and_handled_once(twilio: Line, drain: Drain) -> None:
    for _ in range(3):
        assert twilio.say("hola", sid="SM" + "a" * 32).status_code == 200
        drain()
    assert count(Webhook) == 1
    assert twilio.sent == ["¡Hola! 👋", "¿Cómo te llamas?"]


def test_the_same_message_in_another_envelope_is_handled_once(
    meta: Line, client: FlaskClient, drain: Drain
) -> None:
    meta.say("hola", sid="wamid.same")
    hook = meta_server.message_webhook("wamid.same", PERSON.lstrip("+"), "hola", name="Somebody")
    body, headers = meta_server.signed_meta(hook)
    assert client.post("/message", data=body, headers=headers).status_code == 200
    drain()
    assert count(Webhook) == 2
    assert db.session.scalar(select(func.count()).select_from(Message).where(Message.direction == "in")) == 1
    assert len(meta.sent) == 2


def test_every_recorded_payload_of_meta_is_answered_and_handled_once(
    app: Flask, client: FlaskClient, shared: Path, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "META_APP_SECRET", meta_server.APP_SECRET)
    monkeypatch.setitem(app.config, "META_ACCESS_TOKEN", "x")
    channel_queries.forget_doors()
    files = sorted(
        (
            shared / "meta-webhooks"
            if (shared / "meta-webhooks").is_dir()
            else shared / "data" / "meta-webhooks"
        ).glob("*.json")
    )
    assert files
    for file in files:
        raw, headers = meta_server.signed_meta(file.read_bytes())
        for _ in range(2):
            assert client.post("/message", data=raw, headers=headers).status_code == 200, file.name
    drain()
    assert count(Webhook) == len(files)
    unhandled = select(Webhook.last_error).where(Webhook.processed_at.is_(None))
    assert db.session.scalars(unhandled).all() == []
    ids = {message["id"] for file in files for message in _messages(json.loads(file.read_bytes()))}
    stored = db.session.scalars(select(Message.provider_id).where(Message.direction == "in")).all()
    assert sorted(stored) == sorted(ids)
    assert (
        db.session.scalars(
            select(Message).where(Message.handled_at.is_(None), Message.direction == "in")
        ).all()
        == []
    )
    channel = db.session.scalar(select(Channel))
    assert channel is not None and channel.last_webhook_at is not None


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        message
        for entry in body["entry"]
        for change in entry["changes"]
        for message in change["value"].get("messages", ())
    ]


def test_a_webhook_for_an_unknown_number_waits_among_the_dead_letters_and_is_replayed(
    client: FlaskClient, meta: Line, drain: Drain, admin: FlaskClient
) -> None:
    hook = meta_server.message_webhook("w1", "34600111222", "hola")
    hook["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"] = "999"
    body, headers = meta_server.signed_meta(hook)
    assert client.post("/message", data=body, headers=headers).status_code == 200
    drain()
    dead = db.session.scalar(select(Webhook))
    assert dead is not None and dead.dead_at is not None and "number" in (dead.last_error or "")
    db.session.add(
        Channel(
            name="Second",
            provider="meta",
            address="999",
            credentials={"access_token": "x", "app_secret": "y"},
        )
    )
    db.session.commit()
    page = admin.get("/admin/received-webhooks/")
    assert dead.last_error in page.text
    token = page.text.partition('name="csrf-token" content="')[2].partition('"')[0]
    assert (
        admin.post(f"/admin/received-webhooks/replay/{dead.id}", headers={"X-CSRFToken": token}).status_code
        == 302
    )
    drain()
    db.session.rollback()
    assert dead.processed_at is not None and dead.dead_at is None
    assert count(Contact) == 1


def test_a_failing_webhook_never_stops_the_others(
    meta: Line, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.whatsapp.commands import intake

    keep = intake._keep_messages

    def broken(arrivals: Any, senders: Any, now: Any) -> None:
        if any(arrival.item.text == "bad" for arrival in arrivals):
            raise RuntimeError("cannot understand +34600999888")
        keep(arrivals, senders, now)

    monkeypatch.setattr(intake, "_keep_messages", broken)
    meta.say("bad", sender="+34600999888")
    meta.say("hola")
    drain()
    assert meta.sent == ["¡Hola! 👋", "¿Cómo te llamas?"]
    waiting = db.session.scalar(select(Webhook).where(Webhook.processed_at.is_(None)))
    assert waiting is not None and waiting.attempts == 1 and waiting.next_attempt_at is not None
    assert "600999888" not in (waiting.last_error or "")


def test_somebody_known_by_number_stays_the_same_contact_under_a_new_id(
    client: FlaskClient, meta: Line, drain: Drain
) -> None:
    meta.say("hola")
    drain()
    hook = meta_server.message_webhook("w9", "34600111222", "Ana")
    message = hook["entry"][0]["changes"][0]["value"]["messages"][0]
    message["from_user_id"] = "ES.42"
    hook["entry"][0]["changes"][0]["value"]["contacts"][0]["user_id"] = "ES.42"
    body, headers = meta_server.signed_meta(hook)
    client.post("/message", data=body, headers=headers)
    drain()
    contact = db.session.scalars(select(Contact)).one()
    assert (contact.user_id, contact.phone) == ("ES.42", PERSON)
    assert meta.sent[-1].startswith("Ana, ¿qué te interesa?")


def test_the_url_behind_a_proxy_is_the_public_one(
    app: Flask, client: FlaskClient, twilio: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "PUBLIC_URL", "https://crm.example.com")
    body, headers = twilio_server.signed_twilio_form(
        "https://crm.example.com/message", twilio_server.message_form("SM5", PERSON, "hola")
    )
    assert client.post("/message", data=body, headers=headers).status_code == 200


def test_raw_webhooks_are_forgotten_when_nobody_repeats_them_any_more(twilio: Line, drain: Drain) -> None:
    twilio.say("hola")
    drain()
    assert count(Webhook) == 1
    with transaction() as session:
        session.execute(update(Webhook).values(processed_at=utcnow() - timedelta(days=31)))
    drain()
    assert count(Webhook) == 0
    assert count(Message) == 3
