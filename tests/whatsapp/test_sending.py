"""Each reply goes out once, in order, whatever the provider says and whenever a process dies."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import LargeBinary, select, type_coerce, update

from app.kit.db import db, own_context, transaction, utcnow
from app.kit.redis_client import redis
from app.whatsapp import jobs
from app.whatsapp.commands import sending
from app.whatsapp.models import Channel, Contact, Message
from tests.fakes import meta_server, twilio_server
from tests.fakes.loopback import Answer, Drop
from tests.whatsapp.conftest import PERSON, Line

Drain = Callable[[], None]


def outbound() -> list[Message]:
    db.session.rollback()
    where = Message.direction == "out"
    return list(
        db.session.scalars(select(Message).where(where).order_by(Message.contact_id, Message.position))
    )


def due_now() -> None:
    """Let the time of every retry, lease and pause come."""
    with transaction() as session:
        session.execute(update(Message).values(next_attempt_at=None))
        session.execute(update(Channel).values(held_until=None))
        session.execute(
            update(Contact)
            .where(Contact.next_send_at.is_not(None))
            .values(next_send_at=utcnow(), claimed_until=None)
        )


def test_a_temporary_failure_holds_back_the_later_ones_and_is_tried_again(meta: Line, drain: Drain) -> None:
    meta.server.plan(meta_server.error(503, 131016, "Service unavailable"))
    meta.say("hola")
    drain()
    first, second = outbound()
    assert (first.status, second.status) == ("queued", "queued")
    assert first.next_attempt_at is not None and first.error_code == "131016"
    due_now()
    drain()
    assert meta.sent == ["¡Hola! 👋", "¿Cómo te llamas?"]
    assert [message.status for message in outbound()] == ["sent", "sent"]


def test_a_permanent_failure_is_final_and_the_next_one_leaves(meta: Line, drain: Drain) -> None:
    meta.server.plan(meta_server.error(400, 131026, "Message undeliverable"))
    meta.say("hola")
    drain()
    first, second = outbound()
    assert (first.status, first.error_code, second.status) == ("failed", "131026", "sent")


def test_too_fast_waits_as_long_as_the_provider_says(twilio: Line, drain: Drain) -> None:
    twilio.server.plan(twilio_server.error(429, 20429, "Too Many Requests", {"Retry-After": "120"}))
    twilio.say("hola")
    drain()
    first, _ = outbound()
    assert first.status == "queued" and first.attempts == 0
    assert first.next_attempt_at is not None
    assert timedelta(seconds=100) < first.next_attempt_at - utcnow() < timedelta(seconds=121)


def test_a_refused_account_holds_the_channel_and_shows_why(
    meta: Line, drain: Drain, admin: FlaskClient
) -> None:
    meta.server.plan(meta_server.error(401, 190, "Token has expired"))
    meta.say("hola")
    meta.say("hola", sender="+34600000002")
    drain()
    channel = db.session.get(Channel, meta.channel_id)
    assert channel is not None and channel.fault and channel.held_until is not None
    assert channel.fault in admin.get(f"/admin/channels/show/{channel.id}").text
    redis().flushdb()  # the breaker is open for half a minute
    due_now()
    drain()
    db.session.rollback()
    assert channel.fault is None and channel.held_until is None
    assert len(meta.sent) == 4


def test_credentials_that_cannot_be_read_are_told_in_the_readers_language(
    meta: Line, drain: Drain, admin: FlaskClient
) -> None:
    meta.say("hola")
    with transaction() as session:
        session.execute(update(Channel).values(credentials=type_coerce(b"of another key", LargeBinary)))
    drain()
    page = f"/admin/channels/show/{meta.channel_id}"
    shown = admin.get(page, headers={"Accept-Language": "es"}).text
    assert "No se pueden leer las credenciales guardadas: SECRET_KEY ha cambiado." in shown
    assert "El proveedor rechaza nuestra cuenta" not in shown
    assert meta.sent == []


def test_an_answer_that_was_lost_is_found_by_the_callback_and_nothing_is_sent_twice(
    client: FlaskClient, meta: Line, drain: Drain
) -> None:
    meta.server.plan(Drop(accepted=True))
    meta.say("hola")
    drain()
    first, second = outbound()
    assert (first.status, second.status) == ("sending", "queued")
    assert meta.sent == ["¡Hola! 👋"]
    hook = meta_server.status_webhook("wamid.lost", "delivered", "34600111222", reference=first.id)
    body, headers = meta_server.signed_meta(hook)
    client.post("/message", data=body, headers=headers)
    drain()
    first, second = outbound()
    assert (first.status, first.provider_id, second.status) == ("delivered", "wamid.lost", "sent")
    assert meta.sent == ["¡Hola! 👋", "¿Cómo te llamas?"]


def test_an_answer_that_nobody_finds_becomes_unknown_and_only_a_person_repeats_it(
    app: Flask, meta: Line, drain: Drain, admin: FlaskClient
) -> None:
    meta.server.plan(Drop())
    meta.say("hola")
    drain()
    with transaction() as session:
        session.execute(
            update(Message)
            .where(Message.status == "sending")
            .values(handing_over_at=utcnow() - timedelta(seconds=app.config["WHATSAPP_ANSWER_SECONDS"]))
        )
    due_now()
    drain()
    first, second = outbound()
    assert (first.status, second.status) == ("unknown", "sent")
    assert meta.sent == ["¿Cómo te llamas?"]
    page = admin.get(f"/admin/conversations/show/{first.contact_id}")
    token = page.text.partition('name="csrf-token" content="')[2].partition('"')[0]
    url = f"/admin/conversations/send-again/{first.contact_id}/{first.id}"
    assert admin.post(url, headers={"X-CSRFToken": token}).status_code == 302
    drain()
    assert meta.sent == ["¿Cómo te llamas?", "¡Hola! 👋"]


def test_a_worker_killed_before_the_mark_has_sent_nothing_and_the_message_leaves_later(
    meta: Line, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SEND_AT_ONCE_SECONDS", 0)
    meta.say("hola")
    with own_context():
        jobs.process_webhooks()
    with transaction() as session:  # what a claim leaves behind when its process dies
        session.execute(update(Contact).values(claimed_until=utcnow() + timedelta(seconds=60)))
    with own_context():
        jobs.send_messages()
    assert meta.sent == []
    due_now()
    with own_context():
        jobs.send_messages()
    assert meta.sent == ["¡Hola! 👋", "¿Cómo te llamas?"]


def test_a_worker_killed_during_the_call_does_not_repeat_it(
    meta: Line, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SEND_AT_ONCE_SECONDS", 0)
    meta.say("hola")
    with own_context():
        jobs.process_webhooks()
    with transaction():
        errands = sending.hand_over(8)  # and then kill -9
    assert len(errands) == 1
    due_now()
    drain()
    assert meta.sent == []
    assert [message.status for message in outbound()] == ["sending", "queued"]


def test_two_workers_at_once_send_each_reply_once_and_in_order(app: Flask, meta: Line) -> None:
    people = [f"+3460000{number:04d}" for number in range(12)]
    for person in people:
        meta.say("hola", sender=person)
        meta.say("Ana", sender=person)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with app.app_context():
                jobs.process_webhooks()
                jobs.send_messages()
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with own_context():
        jobs.process_webhooks()
        jobs.send_messages()
    assert failures == []
    said: dict[str, list[str]] = {}
    for taken in meta.server.accepted:
        said.setdefault(taken.to, []).append(taken.text)
    assert len(said) == len(people)
    for texts in said.values():
        assert texts == ["¡Hola! 👋", "¿Cómo te llamas?", "Ana, ¿qué te interesa?"]


@pytest.mark.parametrize(
    ("order", "final"),
    [
        (("sent", "delivered", "read"), "read"),
        (("read", "delivered", "sent"), "read"),
        (("delivered", "delivered", "sent"), "delivered"),
        (("failed", "delivered"), "delivered"),
        (("read", "failed"), "read"),
        (("sent", "failed"), "failed"),
    ],
)
def test_states_only_go_forward(
    client: FlaskClient, meta: Line, drain: Drain, order: tuple[str, ...], final: str
) -> None:
    meta.say("hola")
    drain()
    first = outbound()[0]
    for number, status in enumerate(order):
        hook = meta_server.status_webhook(
            first.provider_id or "", status, "34600111222", at=1_795_000_000 + number
        )
        body, headers = meta_server.signed_meta(hook)
        assert client.post("/message", data=body, headers=headers).status_code == 200
        drain()
    assert outbound()[0].status == final


def test_a_late_status_of_twilio_comes_by_its_callback(
    client: FlaskClient, twilio: Line, drain: Drain
) -> None:
    twilio.say("hola")
    drain()
    taken = twilio.server.accepted[0]
    assert taken.callback is not None and taken.callback.startswith(
        "http://localhost/message/status?reference="
    )
    path = taken.callback.removeprefix("http://localhost")
    for status in ("read", "delivered"):
        body, headers = twilio_server.signed_twilio_form(
            taken.callback, twilio_server.status_form(taken.sid, status, PERSON)
        )
        assert client.post(path, data=body, headers=headers).status_code == 200
        drain()
    first = outbound()[0]
    assert first.status == "read" and first.read_at is not None and first.delivered_at is not None
    body, headers = twilio_server.signed_twilio_form(
        taken.callback, twilio_server.status_form(taken.sid, "failed", PERSON), token="wrong"
    )
    assert client.post(path, data=body, headers=headers).status_code == 403


def test_a_status_that_comes_before_our_own_record_is_kept_and_applied(
    client: FlaskClient, meta: Line, drain: Drain
) -> None:
    body, headers = meta_server.signed_meta(meta_server.status_webhook("wamid.early", "read", "34600111222"))
    client.post("/message", data=body, headers=headers)
    drain()
    meta.server.plan(
        Answer(
            status=200,
            body={
                "messaging_product": "whatsapp",
                "contacts": [{"input": "34600111222", "wa_id": "34600111222"}],
                "messages": [{"id": "wamid.early"}],
            },
        )
    )
    meta.say("hola")
    drain()
    assert outbound()[0].status == "read"


def test_no_message_outlives_its_attempts(meta: Line, drain: Drain) -> None:
    meta.server.plan(*[meta_server.error(503, 131016, "Service unavailable")] * sending.ATTEMPTS)
    meta.say("hola")
    for _ in range(sending.ATTEMPTS * 3):
        drain()
        due_now()
        redis().flushdb()  # the breaker would make us wait
    first = outbound()[0]
    assert (first.status, first.attempts) == ("failed", sending.ATTEMPTS)
