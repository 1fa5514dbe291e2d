"""What people write goes through the flow they are in, once, in order, and has its consequences once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from app.kit.db import db, own_context, transaction, utcnow
from app.kit.outbox import _outboxes
from app.whatsapp.commands import flows, intake, talk
from app.whatsapp.models import Contact, Conversation, Message, Timer, Webhook
from tests.fakes import meta_server
from tests.whatsapp.conftest import PERSON, Line, document

Drain = Callable[[], None]


def events(name: str) -> list[dict[str, Any]]:
    outbox = _outboxes["whatsapp"]
    db.session.rollback()
    return list(db.session.scalars(select(outbox.data).where(outbox.name == name).order_by(outbox.id)))


def the_conversation() -> Conversation:
    db.session.rollback()
    return db.session.scalars(select(Conversation)).one()


def test_a_spanish_conversation_of_eight_turns(twilio: Line, drain: Drain, client: FlaskClient) -> None:
    picture = {
        "NumMedia": "1",
        "MediaUrl0": "https://api.twilio.com/media/ME1",
        "MediaContentType0": "image/jpeg",
        "MessageType": "image",
    }
    place = {"Latitude": "40.4168", "Longitude": "-3.7038", "Label": "Madrid", "MessageType": "location"}
    button = {"ButtonText": "Catálogo", "ButtonPayload": "catalogue", "MessageType": "button"}
    turns: list[tuple[str, dict[str, str]]] = [
        ("Hola, ¿me dais información? 😀", {}),
        ("Íñigo Peña 👨‍👩‍👧", {}),
        ("", picture),
        ("Catálogo", button),
        ("no tengo", {}),
        ("INIGO@Example.com", {}),
        ("", place),
        ("3", {}),
    ]
    for text, more in turns:
        assert twilio.say(text, **more).status_code == 200
        drain()
    sent = twilio.sent
    assert sent[:2] == ["¡Hola! 👋", "¿Cómo te llamas?"]
    assert sent[2].startswith("Íñigo Peña 👨‍👩‍👧, ¿qué te interesa?")
    assert sent[3].startswith("Elige una opción 🙏")
    assert sent[4:6] == ["¿Tu correo?", "Ese correo no vale."]
    assert sent[6] == "¿Cuántas personas?"
    assert sent[-1] == "¡Gracias, Íñigo Peña 👨‍👩‍👧! 🎉"
    run = the_conversation()
    assert run.status == "completed"
    assert run.state["vars"]["interest"] == "catalogue"
    captured = events("lead.captured")
    assert len(captured) == 1
    assert captured[0]["fields"] == {
        "name": "Íñigo Peña 👨‍👩‍👧",
        "email": "INIGO@example.com",
        "phone": PERSON,
    }
    assert len(events("conversation.completed")) == 1
    positions = db.session.scalars(select(Message.position).order_by(Message.position)).all()
    assert positions == list(range(1, len(positions) + 1))
    contact = db.session.scalars(select(Contact)).one()
    assert contact.name == "Íñigo Núñez" and contact.phone == PERSON


def test_two_messages_before_anything_was_handled_are_both_handled_in_order(
    twilio: Line, drain: Drain
) -> None:
    twilio.say("hola")
    twilio.say("Ana")
    drain()
    assert twilio.sent[1] == "¿Cómo te llamas?"
    assert twilio.sent[2].startswith("Ana, ¿qué te interesa?")
    assert the_conversation().state["vars"]["name"] == "Ana"


@pytest.mark.parametrize("known", [True, False])
def test_a_conversation_that_ends_and_the_next_one_begin_among_messages_that_come_together(
    twilio: Line, drain: Drain, known: bool
) -> None:
    twilio.say("hola")
    if known:
        drain()
    for text in ("Ana", "precio", "ana@example.com", "3", "hola", "Eva"):
        twilio.say(text)
    drain()
    db.session.rollback()
    talks = db.session.scalars(select(Conversation).order_by(Conversation.id)).all()
    assert [(talk.status, talk.state["vars"]["name"]) for talk in talks] == [
        ("completed", "Ana"),
        ("waiting", "Eva"),
    ]
    assert twilio.sent[-4:-1] == ["¡Gracias, Ana! 🎉", "¡Hola! 👋", "¿Cómo te llamas?"]
    assert twilio.sent[-1].startswith("Eva, ¿qué te interesa?")
    assert len(events("lead.captured")) == 1
    positions = db.session.scalars(select(Message.position).order_by(Message.position)).all()
    assert positions == list(range(1, len(positions) + 1))


def test_two_messages_in_one_webhook_are_handled_in_order(
    client: FlaskClient, meta: Line, drain: Drain
) -> None:
    hook = meta_server.message_webhook("w1", "34600111222", "hola")
    second = meta_server.message_webhook("w2", "34600111222", "Ana")
    value = hook["entry"][0]["changes"][0]["value"]
    value["messages"] += second["entry"][0]["changes"][0]["value"]["messages"]
    body, headers = meta_server.signed_meta(hook)
    client.post("/message", data=body, headers=headers)
    drain()
    assert meta.sent[2] == "Ana, ¿qué te interesa?"


def test_an_exact_keyword_beats_a_word_and_both_beat_the_default_flow(
    meta: Line, make_flow: Callable[..., str], drain: Drain
) -> None:
    word = make_flow("Word", triggers={"keywords": ["precio"], "match": "word"})
    exact = make_flow("Exact", triggers={"keywords": ["precio hoy"], "match": "exact"})
    meta.say("¿Qué PRECIO tiene?", sender="+34600000001")
    meta.say("Precio hoy", sender="+34600000002")
    meta.say("buenas", sender="+34600000003")
    drain()
    found = {
        run.contact.phone: run.flow_id
        for run in db.session.scalars(select(Conversation).order_by(Conversation.id))
    }
    assert found["+34600000001"] == word
    assert found["+34600000002"] == exact
    assert found["+34600000003"] not in (word, exact)


def test_without_keyword_and_default_flow_the_message_is_kept_unanswered(
    meta: Line, api: Callable[..., Any], drain: Drain, app: Flask
) -> None:
    from app.whatsapp.commands import channels

    with own_context(), transaction():
        channels.change_channel(meta.channel_id, {"default_flow_id": None})
    meta.say("buenas")
    drain()
    message = db.session.scalars(select(Message)).one()
    assert message.handled_at is not None and message.conversation_id is None
    assert meta.sent == []


def test_running_conversations_stay_on_their_version(meta: Line, drain: Drain, app: Flask) -> None:
    meta.say("hola")
    drain()
    changed = document(triggers={"keywords": [], "match": "word"})
    changed = json.loads(json.dumps(changed).replace("qu\\u00e9 te interesa", "NEW QUESTION"))
    flow_id = the_conversation().flow_id
    with own_context(), transaction():
        flows.save_draft(flow_id, 1, name="Meta", document=changed, by="test")
        assert flows.publish_flow(flow_id, by="test").number == 2
    meta.say("Ana")
    meta.say("hola", sender="+34600000009")
    meta.say("Eva", sender="+34600000009")
    drain()
    assert "Ana, ¿qué te interesa?" in meta.sent
    assert any("NEW QUESTION" in text and text.startswith("Eva") for text in meta.sent)


def test_reactions_and_group_messages_are_kept_but_are_no_answer(
    client: FlaskClient, meta: Line, drain: Drain
) -> None:
    meta.say("hola")
    drain()
    before = list(meta.sent)
    for number, more in enumerate(
        ({"type": "reaction", "reaction": {"message_id": "x", "emoji": "👍"}}, {"group_id": "g1"})
    ):
        hook = meta_server.message_webhook(f"r{number}", "34600111222", "no answer", **more)
        body, headers = meta_server.signed_meta(hook)
        assert client.post("/message", data=body, headers=headers).status_code == 200
    drain()
    assert meta.sent == before
    assert the_conversation().state["node"] == "ask_name"


def test_while_a_person_answers_the_bot_is_silent_and_comes_back(
    meta: Line, drain: Drain, api: Callable[..., Any]
) -> None:
    meta.say("hola")
    drain()
    run_id = the_conversation().id
    asked = api("conversations:read", "conversations:write")
    answer = asked.post(f"/conversations/{run_id}/messages", json={"text": "Soy Marta, te ayudo yo."})
    assert answer.status_code == 201
    meta.say("gracias")
    drain()
    assert meta.sent[-1] == "Soy Marta, te ayudo yo."
    assert the_conversation().status == "handed_over"
    shown = asked.get(f"/conversations/{run_id}/messages").json["items"]
    assert [item["text"] for item in shown][-2:] == ["Soy Marta, te ayudo yo.", "gracias"]
    assert asked.post(f"/conversations/{run_id}/return-to-bot").json["contact"]["mode"] == "bot"
    meta.say("hola")
    drain()
    assert meta.sent[-1] == "¿Cómo te llamas?"


def test_no_answer_in_time_goes_the_timeouts_way_and_a_stale_timer_does_nothing(
    meta: Line, drain: Drain
) -> None:
    for text in ("hola", "Ana", "precio", "ana@example.com"):
        meta.say(text)
        drain()
    timer = db.session.scalars(select(Timer)).one()
    stale = Timer(
        conversation_id=timer.conversation_id, turn=timer.turn - 1, due_at=utcnow() - timedelta(minutes=1)
    )
    with transaction() as session:
        session.add(stale)
    drain()
    assert the_conversation().status == "waiting"
    with transaction() as session:
        session.execute(update(Timer).values(due_at=utcnow() - timedelta(seconds=1)))
    drain()
    assert the_conversation().status == "completed"
    assert meta.sent[-1] == "¡Gracias, Ana! 🎉"
    assert db.session.scalars(select(Timer)).all() == []


def test_a_conversation_nobody_goes_on_with_expires(meta: Line, drain: Drain) -> None:
    meta.say("hola")
    drain()
    with transaction() as session:
        session.execute(update(Conversation).values(expires_at=utcnow() - timedelta(seconds=1)))
    drain()
    assert the_conversation().status == "expired"
    assert len(events("conversation.expired")) == 1


def test_a_conversation_that_cannot_be_ended_keeps_no_other_from_ending(
    meta: Line, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sender in ("+34600111001", "+34600111002"):
        meta.say("hola", sender=sender)
    drain()
    first, second = db.session.scalars(select(Conversation).order_by(Conversation.id)).all()
    close = talk.turns.close

    def broken(conversation: Conversation, *args: Any) -> None:
        if conversation.id == first.id:
            raise RuntimeError("a bug")
        close(conversation, *args)

    monkeypatch.setattr(talk.turns, "close", broken)
    past = utcnow() - timedelta(hours=1)
    with transaction() as session:
        session.execute(update(Conversation).values(expires_at=past))
        session.execute(
            update(Conversation).where(Conversation.id == first.id).values(expires_at=past - timedelta(1))
        )
    drain()
    db.session.rollback()
    assert (first.status, second.status) == ("waiting", "expired")
    assert first.expires_at is not None and first.expires_at > utcnow(), "its turn comes again, later"


def test_a_message_that_cannot_be_handled_becomes_a_dead_letter_and_the_next_one_goes_on(
    meta: Line, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta.say("hola")
    drain()
    proceed = talk.turns.proceed

    def broken(conversation: Conversation, reply: Any, now: Any) -> None:
        if getattr(reply, "text", "") == "bad":
            raise RuntimeError("a bug")
        proceed(conversation, reply, now)

    monkeypatch.setattr(talk.turns, "proceed", broken)
    meta.say("bad")
    meta.say("Ana")
    for _ in range(intake.ATTEMPTS):
        drain()
        with transaction() as session:
            session.execute(update(Message).values(next_attempt_at=None))
    drain()
    assert meta.sent[-1] == "Ana, ¿qué te interesa?"
    bad = db.session.scalar(select(Message).where(Message.text == "bad"))
    assert bad is not None and bad.status == "failed" and bad.attempts == intake.ATTEMPTS
    hook = db.session.get(Webhook, bad.webhook_id)
    assert hook is not None and hook.dead_at is not None and hook.last_error == "RuntimeError: a bug"


def test_messages_of_different_contacts_do_not_wait_for_a_failing_one(
    meta: Line, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = talk.turns.begin

    def broken(contact: Contact, *args: Any, **kwargs: Any) -> Any:
        if contact.phone == "+34600000001":
            raise RuntimeError("a bug")
        return begin(contact, *args, **kwargs)

    monkeypatch.setattr(talk.turns, "begin", broken)
    meta.say("hola", sender="+34600000001")
    meta.say("hola", sender="+34600000002")
    drain()
    assert {taken.to for taken in meta.server.accepted} == {"34600000002"}
