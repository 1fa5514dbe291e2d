"""The REST door: flows from draft to version, runs, try-outs, the simulator; what is wrong is told all at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from app.kit.db import db, new_id, own_context, transaction
from app.whatsapp.commands import channels
from app.whatsapp.models import Contact, Conversation, Flow, Message
from tests.whatsapp.conftest import Line, document

Drain = Callable[[], None]
Api = Callable[..., Any]


def add_simulator(flow_id: str | None) -> str:
    with own_context(), transaction():
        return channels.add_channel(
            name="Simulator", provider="simulator", credentials={}, default_flow_id=flow_id
        ).id


# Flows


def test_a_flow_goes_from_draft_to_version(api: Api) -> None:
    flows = api("flows:read", "flows:write", "flows:publish")
    made = flows.post("/flows", json={"name": "Ventas", "document": document()})
    assert made.status_code == 201
    flow_id = made.json["id"]
    assert made.headers["Location"] == f"/flows/{flow_id}"
    assert set(made.json) == {
        "id", "name", "document", "revision", "published_version", "updated_at", "updated_by",
    }  # fmt: skip
    assert flows.post(f"/flows/{flow_id}/validate").json == {"problems": []}
    published = flows.post(f"/flows/{flow_id}/publish")
    assert published.status_code == 201
    assert set(published.json) == {"number", "published_at", "published_by"}
    assert published.json["number"] == 1
    shown = flows.get(f"/flows/{flow_id}")
    assert shown.json["published_version"] == 1
    assert [item["number"] for item in flows.get(f"/flows/{flow_id}/versions").json["items"]] == [1]
    assert flows.get(f"/flows/{flow_id}/versions/1").json["document"] == document()
    assert flows.get(f"/flows/{flow_id}/versions/2").status_code == 404
    assert [item["name"] for item in flows.get("/flows").json["items"]] == ["Ventas"]


def test_publishing_tells_every_problem_with_its_node_and_makes_no_version(api: Api) -> None:
    flows = api("flows:read", "flows:write", "flows:publish")
    broken = document(
        nodes=[
            {"id": "greet", "type": "send_text", "text": "{{ vars.nobody }}", "exits": {"next": "nowhere"}},
            {"id": "odd", "type": "dance", "exits": {}},
        ]
    )
    flow_id = flows.post("/flows", json={"name": "Roto", "document": broken}).json["id"]
    found = flows.post(f"/flows/{flow_id}/validate").json["problems"]
    assert {item["where"] for item in found} >= {"greet", "odd"}
    assert all(set(item) >= {"where", "code", "message", "blocking"} for item in found)
    refused = flows.post(f"/flows/{flow_id}/publish")
    assert refused.status_code == 422
    assert len(refused.json["errors"]) == len([item for item in found if item["blocking"]]) >= 3
    assert flows.get(f"/flows/{flow_id}/versions").json["items"] == []


def test_a_keyword_that_starts_another_flow_is_told_before_publishing(api: Api) -> None:
    flows = api("flows:read", "flows:write", "flows:publish")
    words = {"keywords": ["precio", "Catálogo"], "match": "word"}
    first, second = (
        flows.post("/flows", json={"name": name, "document": document(triggers=words)}).json["id"]
        for name in ("Ventas", "Rebajas")
    )
    assert flows.post(f"/flows/{second}/validate").json == {"problems": []}
    flows.post(f"/flows/{first}/publish")
    changed = document(triggers={"keywords": ["hola", "CATALOGO"], "match": "word"})
    draft = flows.get(f"/flows/{second}")
    flows.put(f"/flows/{second}", json={"document": changed}, headers={"If-Match": draft.headers["ETag"]})
    (found,) = flows.post(f"/flows/{second}/validate").json["problems"]
    assert (found["where"], found["code"]) == ("/triggers/keywords/1", "warning_keyword_taken")
    assert found["params"] == {"word": "CATALOGO", "flow": "Ventas"}
    assert not found["blocking"]
    assert flows.post(f"/flows/{second}/publish").status_code == 201
    flows.delete(f"/flows/{first}")
    assert flows.post(f"/flows/{second}/validate").json == {"problems": []}


def test_two_people_cannot_overwrite_each_others_draft(api: Api) -> None:
    flows = api("flows:read", "flows:write")
    made = flows.post("/flows", json={"name": "Ventas"})
    path, first = f"/flows/{made.json['id']}", made.headers["ETag"]
    body = {"name": "Ventas 2", "document": document()}
    assert flows.put(path, json=body).status_code == 428
    assert flows.put(path, json=body, headers={"If-Match": first}).status_code == 200
    assert flows.put(path, json=body, headers={"If-Match": first}).status_code == 412
    assert flows.get(path).json["revision"] == 2


def test_restoring_a_version_changes_the_draft_only(api: Api, make_flow: Callable[..., str]) -> None:
    flow_id = make_flow()
    flows = api("flows:read", "flows:write")
    etag = flows.get(f"/flows/{flow_id}").headers["ETag"]
    flows.put(f"/flows/{flow_id}", json={"document": {"nodes": []}}, headers={"If-Match": etag})
    restored = flows.post(f"/flows/{flow_id}/versions/1/restore")
    assert restored.json["document"] == document()
    assert restored.json["published_version"] == 1 and restored.json["revision"] == 3


def test_a_flow_that_a_channel_needs_is_not_archived(api: Api, make_flow: Callable[..., str]) -> None:
    flow_id = make_flow()
    other = make_flow("Otro")
    add_simulator(flow_id)
    flows = api("flows:write", "flows:read")
    assert flows.delete(f"/flows/{flow_id}").status_code == 409
    assert flows.delete(f"/flows/{other}").status_code == 204
    assert [item["id"] for item in flows.get("/flows").json["items"]] == [flow_id]


def test_an_archived_flow_is_found_and_put_back_into_use(api: Api, make_flow: Callable[..., str]) -> None:
    flow_id, other = make_flow(), make_flow("Otro")
    flows = api("flows:write", "flows:read")
    flows.delete(f"/flows/{flow_id}")
    archived = flows.get("/flows?archived=true").json["items"]
    assert [(item["id"], item["archived"]) for item in archived] == [(flow_id, True)]

    restored = flows.post(f"/flows/{flow_id}/restore")
    assert (restored.status_code, restored.json["id"]) == (200, flow_id)
    assert restored.headers["ETag"] == flows.get(f"/flows/{flow_id}").headers["ETag"]
    assert {item["id"] for item in flows.get("/flows").json["items"]} == {flow_id, other}
    assert flows.get("/flows?archived=true").json["items"] == []
    again = flows.post(f"/flows/{flow_id}/restore")
    assert again.headers["ETag"] == restored.headers["ETag"], "nothing changed"
    assert api("flows:read").post(f"/flows/{flow_id}/restore").status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "x" * 121},
        {"name": "x", "document": []},
        {"name": "x", "document": {"nodes": "none"}},
        {"name": "x", "document": {"nodes": [], "text": "\x00"}},
        {"name": 7},
        {"name": "x", "colour": "red"},
    ],
)
def test_a_bad_flow_is_refused_and_nothing_is_stored(api: Api, body: dict[str, Any]) -> None:
    answer = api("flows:write").post("/flows", json=body)
    assert answer.status_code == 422
    assert answer.json["errors"]
    assert db.session.scalars(select(Flow)).all() == []


def test_scopes_are_enforced(api: Api, make_flow: Callable[..., str]) -> None:
    flow_id = make_flow()
    reader = api("flows:read")
    assert reader.get(f"/flows/{flow_id}").status_code == 200
    assert reader.post(f"/flows/{flow_id}/publish").status_code == 403
    assert reader.put(f"/flows/{flow_id}", json={"document": {}}).status_code == 403
    assert reader.post("/start", json={"to": "+34600111222"}).status_code == 403
    assert reader.get("/conversations").status_code == 403
    assert reader.post("/simulator/chats", json={}).status_code == 403


def test_unknown_ids_are_not_found(api: Api) -> None:
    key = api()
    for path in (
        f"/flows/{new_id()}",
        f"/status/{new_id()}",
        f"/conversations/{new_id()}",
        "/status/7",
        "/flows/x",
    ):
        assert key.get(path).status_code == 404, path
    assert key.post(f"/simulations/{new_id()}/messages", json={"text": "x"}).status_code == 404
    assert key.post(f"/simulator/chats/{new_id()}/messages", json={"text": "x"}).status_code == 404
    assert key.post(f"/conversations/{new_id()}/messages", json={"text": "x"}).status_code == 404


# Runs


def test_starting_a_flow_sends_its_first_messages_and_can_be_followed(
    api: Api, meta: Line, drain: Drain, make_flow: Callable[..., str]
) -> None:
    make_flow("Llamada", variables=[{"name": "interest", "default": ""}])
    started = api("conversations:write").post(
        "/start", json={"to": "+34 600 111 222", "flow": "Llamada", "variables": {"interest": "price"}}
    )
    assert started.status_code == 201
    assert started.headers["Location"] == f"/status/{started.json['id']}"
    drain()
    assert meta.sent == ["¡Hola! 👋", "¿Cómo te llamas?"]
    meta.say("Ana", sender="+34600111222")
    drain()
    status = api("status:read").get(started.headers["Location"])
    assert status.status_code == 200
    assert status.json["status"] == "waiting"
    assert status.json["node"] == "ask_interest"
    assert status.json["flow"]["version"] == 1
    assert status.json["answers"]["name"] == "Ana"
    assert [(item["direction"], item["status"]) for item in status.json["messages"]] == [
        ("out", "sent"), ("out", "sent"), ("in", "received"), ("out", "sent"),
    ]  # fmt: skip


def test_a_bad_start_names_every_problem_and_stores_nothing(api: Api, meta: Line) -> None:
    answer = api("conversations:write").post(
        "/start",
        json={
            "channel_id": new_id(),
            "to": "12",
            "flow": "no such flow",
            "variables": {"1x": 1, "ok": {"a": 1}},
        },
    )
    assert answer.status_code == 422
    assert {item["code"] for item in answer.json["errors"]} == {
        "unknown_channel", "invalid_phone", "unknown_flow", "bad_name", "bad_value",
    }  # fmt: skip
    assert db.session.scalars(select(Contact)).all() == []


def test_an_unpublished_flow_is_not_started(api: Api, meta: Line) -> None:
    key = api()
    key.post("/flows", json={"name": "Borrador"})
    answer = key.post("/start", json={"to": "+34600111222", "flow": "Borrador"})
    assert [item["code"] for item in answer.json["errors"]] == ["unpublished"]


def test_a_repeated_start_with_the_same_key_starts_once(api: Api, meta: Line, drain: Drain) -> None:
    key = api("conversations:write")
    body, headers = {"to": "+34600111222"}, {"Idempotency-Key": "once-1"}
    first = key.post("/start", json=body, headers=headers)
    again = key.post("/start", json=body, headers=headers)
    assert first.json == again.json and first.status_code == again.status_code == 201
    drain()
    assert len(meta.sent) == 2


def test_malformed_bodies_are_bad_requests(api: Api) -> None:
    key = api()
    assert key.post("/start", data="{", content_type="application/json").status_code == 400
    assert key.post("/start", data="to=1", content_type="text/plain").status_code == 415
    assert key.post("/start", json=[1]).status_code == 422
    assert (
        key.post("/start", data="{" + " " * 2_000_000 + "}", content_type="application/json").status_code
        == 413
    )


def test_conversations_are_listed_by_page_and_filter(api: Api, meta: Line, drain: Drain) -> None:
    for number in range(3):
        meta.say("hola", sender=f"+3460000000{number}")
    drain()
    key = api("conversations:read")
    first = key.get("/conversations?limit=2").json
    second = key.get(f"/conversations?limit=2&cursor={first['next']}").json
    assert len(first["items"]) == 2 and len(second["items"]) == 1 and second["next"] is None
    assert len({item["id"] for item in first["items"] + second["items"]}) == 3
    assert key.get("/conversations?status=completed").json["items"] == []
    contact = first["items"][0]["contact"]["id"]
    assert len(key.get(f"/conversations?contact_id={contact}").json["items"]) == 1
    for bad in ("cursor=zzz", "contact_id=7", "limit=0", "colour=red"):
        assert key.get(f"/conversations?{bad}").status_code == 422, bad


def test_what_was_said_is_read_page_by_page(api: Api, meta: Line, drain: Drain) -> None:
    for text in ("hola", "Ana", "???", "precio"):
        meta.say(text, sender="+34600000001")
        drain()
    (talk,) = db.session.scalars(select(Conversation)).all()
    key = api("conversations:read")
    whole = key.get(f"/conversations/{talk.id}/messages").json
    assert len(whole["items"]) > 4 and whole["next"] is None
    read: list[str] = []
    page = key.get(f"/conversations/{talk.id}/messages?limit=3").json
    while True:
        read += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        meta.say("y algo más", sender="+34600000001")  # it waits to be handled, and moves nothing
        page = key.get(f"/conversations/{talk.id}/messages?limit=3&cursor={page['next']}").json
    assert read == [item["id"] for item in whole["items"]]
    for bad in ("status=nope", "cursor=W251bGxd"):
        assert key.get(f"/conversations/{talk.id}/messages?{bad}").status_code == 422
    assert key.get("/conversations?status=nope").status_code == 422


def test_sellers_see_and_answer_only_the_conversations_of_their_own_leads(
    api: Api, meta: Line, drain: Drain, make_user: Callable[..., Any], logged_in: Callable[[str], Any]
) -> None:
    seller = make_user("seller", "marta")
    meta.say("hola", sender="+34600000001")
    meta.say("hola", sender="+34600000002")
    drain()
    mine, other = db.session.scalars(select(Conversation).order_by(Conversation.id)).all()
    with transaction() as session:
        session.execute(update(Contact).where(Contact.id == mine.contact_id).values(owner_id=seller.id))
    key = api("conversations:read", "conversations:write", "status:read", user_id=seller.id)
    assert [item["id"] for item in key.get("/conversations").json["items"]] == [mine.id]
    assert key.get(f"/status/{mine.id}").status_code == 200
    assert key.get(f"/status/{other.id}").status_code == 404
    assert key.get(f"/conversations/{other.id}/messages").status_code == 404
    assert key.post(f"/conversations/{other.id}/messages", json={"text": "hola"}).status_code == 404
    assert key.post(f"/conversations/{mine.id}/messages", json={"text": "hola"}).status_code == 201
    browser = logged_in("seller")  # another seller
    assert "+34600000001" not in browser.get("/admin/conversations/list/").text
    assert browser.get(f"/admin/conversations/show/{mine.contact_id}").status_code == 404


# Try-outs beside the designer


def test_a_try_out_runs_the_draft_and_stores_nothing(api: Api, make_flow: Callable[..., str]) -> None:
    flow_id = make_flow()
    key = api("flows:read")
    begun = key.post(f"/flows/{flow_id}/simulations", json={})
    assert begun.status_code == 201
    assert set(begun.json) == {"id", "messages", "effects", "node", "status", "vars"}
    assert [message["text"] for message in begun.json["messages"]] == ["¡Hola! 👋", "¿Cómo te llamas?"]
    path = f"/simulations/{begun.json['id']}"
    key.post(f"{path}/messages", json={"text": "Ana"})
    offered = key.post(f"{path}/messages", json={"text": "???"}).json["messages"][-1]
    assert offered["from"] == "bot"
    assert offered["choices"] == [
        {"id": "catalogue", "label": "Catálogo"},
        {"id": "price", "label": "Precio"},
    ]
    key.post(f"{path}/messages", json={"choice": "price"})
    key.post(f"{path}/messages", json={"text": "ana@example.com"})
    done = key.post(f"{path}/messages", json={"text": "4"}).json
    assert done["status"] == "completed"
    assert done["vars"]["interest"] == "price"
    assert [effect["kind"] for effect in done["effects"]] == ["set_timer", "capture_lead", "finished"]
    assert {"from": "contact", "text": "Precio", "choices": []} in done["messages"]
    assert key.post(f"{path}/messages", json={"text": "x"}).status_code == 409
    assert key.delete(path).status_code == 204
    assert key.post(f"{path}/messages", json={"text": "x"}).status_code == 404
    assert db.session.scalars(select(Message)).all() == []


def test_a_try_out_takes_the_document_on_the_screen_and_tells_what_is_wrong(
    api: Api, make_flow: Callable[..., str]
) -> None:
    flow_id = make_flow()
    key = api("flows:read")
    shown = document(nodes=[{"id": "greet", "type": "send_text", "text": "Nuevo", "exits": {}}])
    begun = key.post(f"/flows/{flow_id}/simulations", json={"document": shown})
    assert [message["text"] for message in begun.json["messages"]] == ["Nuevo"]
    refused = key.post(f"/flows/{flow_id}/simulations", json={"document": {"schema": 1, "nodes": []}})
    assert refused.status_code == 422 and refused.json["errors"]


# The simulator channel


def test_the_simulator_talks_through_webhooks_jobs_and_engine(
    api: Api, make_flow: Callable[..., str], drain: Drain, app: Flask
) -> None:
    channel_id = add_simulator(make_flow())
    key = api("simulator:use")
    chat = key.post(
        "/simulator/chats", json={"channel_id": channel_id, "name": "Ana", "phone": "+34600111222"}
    )
    assert chat.status_code == 201
    assert chat.json["channel_id"] == channel_id
    path = f"/simulator/chats/{chat.json['id']}/messages"
    assert key.get(path).json == {"items": [], "next": "0"}
    assert key.post(path, json={"text": "hola"}).status_code == 202
    drain()
    page = key.get(path).json
    assert [(item["direction"], item["text"]) for item in page["items"]] == [
        ("in", "hola"), ("out", "¡Hola! 👋"), ("out", "¿Cómo te llamas?"),
    ]  # fmt: skip
    assert {item["status"] for item in page["items"][1:]} == {"sent"}
    key.post(path, json={"text": "Ana"})
    drain()
    following = key.get(f"{path}?after={page['next']}").json["items"]
    assert [item["text"] for item in following] == ["Ana", "Ana, ¿qué te interesa?"]
    assert [choice["id"] for choice in following[1]["choices"]] == ["catalogue", "price"]
    key.post(path, json={"choice": "price"})
    drain()
    assert [item["text"] for item in key.get(path).json["items"]][-2:] == ["Precio", "¿Tu correo?"]
    assert api("simulator:use").get(path).status_code == 404, "another key of the same name"
    assert key.delete(path.removesuffix("/messages")).status_code == 204
    assert key.get(path).status_code == 404


def test_what_is_said_in_the_simulator_is_stored_with_its_idempotency_key(
    api: Api, make_flow: Callable[..., str], drain: Drain, app: Flask
) -> None:
    # The browser sends a key with every POST; the webhook once waited for the lock of the key's own transaction.
    channel_id = add_simulator(make_flow())
    key = api("simulator:use")
    chat = key.post("/simulator/chats", json={"channel_id": channel_id}, headers={"Idempotency-Key": "c"})
    path = f"/simulator/chats/{chat.json['id']}/messages"
    for _ in range(2):
        said = key.post(path, json={"text": "hola"}, headers={"Idempotency-Key": "m"})
        assert said.status_code == 202, said.text
    drain()
    assert [item["text"] for item in key.get(path).json["items"] if item["direction"] == "in"] == ["hola"]


def test_a_chat_needs_a_simulator_channel(api: Api, meta: Line) -> None:
    key = api("simulator:use")
    for body in ({}, {"channel_id": meta.channel_id}, {"channel_id": "7"}):
        assert key.post("/simulator/chats", json=body).status_code == 422
    add_simulator(None)
    assert key.post("/simulator/chats", json={"phone": "nonsense"}).status_code == 422
    chat = key.post("/simulator/chats", json={}).json["id"]
    assert key.post(f"/simulator/chats/{chat}/messages", json={}).status_code == 400


def test_every_chat_is_with_somebody_new_even_under_the_same_number(
    api: Api, make_flow: Callable[..., str], drain: Drain
) -> None:
    channel_id = add_simulator(make_flow())
    key = api("simulator:use")
    for _ in range(2):
        chat = key.post("/simulator/chats", json={"channel_id": channel_id, "phone": "+34600111222"}).json[
            "id"
        ]
        key.post(f"/simulator/chats/{chat}/messages", json={"text": "hola"})
        drain()
        said = [item["text"] for item in key.get(f"/simulator/chats/{chat}/messages").json["items"]]
        assert said == ["hola", "¡Hola! 👋", "¿Cómo te llamas?"]
