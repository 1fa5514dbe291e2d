"""What the tests of the doors share: something to ask for, and a look at what is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from app.email import demo as mails
from app.kit import db
from app.whatsapp import demo as flows

NOWHERE = "http://127.0.0.1:9/hook"
"""An address at which nobody listens."""

PASSING = ("platform_api_key",)
"""Tables that may change although a request was refused: when a key was last used."""


@pytest.fixture
def maker(api: Callable[..., Any]) -> Any:
    """The key that makes the known things: a chat is its alone."""
    return api()


@pytest.fixture
def known_ids(
    app: Flask, maker: Any, drain: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """A thing of each kind: an id for every path parameter of the interface."""
    monkeypatch.setitem(app.config, "WEBHOOKS_ALLOW_PRIVATE", ("127.0.0.1",))
    with db.own_context():
        flows.load_demo()
        mails.load_demo()
    key = maker
    lead = key.post("/leads", json={"name": "Ana", "email": "ana@example.com"}).json["id"]
    endpoint = key.post("/webhooks", json={"url": NOWHERE, "events": ["*"]}).json
    delivery = key.post(f"/webhooks/{endpoint['id']}/test").json
    flow = key.get("/flows").json["items"][0]["id"]
    chat = key.post("/simulator/chats", json={"name": "Ana"}).json["id"]
    key.post(f"/simulator/chats/{chat}/messages", json={"text": "hola"})
    mail = key.post("/email", json={"to": "ana@example.com", "subject": "Hola", "text": "Hola"}).json["id"]
    drain()
    conversation = key.get("/conversations").json["items"][0]["id"]
    suppression = key.post("/email/suppressions", json={"address": "none@example.com"}).json["id"]
    return {
        "suppression_id": suppression,
        "lead_id": lead,
        "flow_id": flow,
        "number": "1",
        "conversation_id": conversation,
        "run_id": conversation,
        "message_id": mail,
        "key": key.get("/templates").json["items"][0]["key"],
        "endpoint_id": endpoint["id"],
        "delivery_id": delivery["id"],
        "chat_id": chat,
        "session_id": key.post(f"/flows/{flow}/simulations", json={}).json["id"],
    }


@pytest.fixture
def stored(app: Flask) -> Callable[[], dict[str, int]]:
    """Count the rows of every table of every service, in a context of its own."""

    def count() -> dict[str, int]:
        found: dict[str, int] = {}
        with db.own_context():
            for metadatas in app.extensions["embudo_metadata"].values():
                for metadata in metadatas:
                    for table in metadata.tables.values():
                        bind = table.metadata.info.get("bind_key") or db.PLATFORM
                        with db.engine_of(bind).connect() as connection:
                            found[table.name] = (
                                connection.scalar(select(func.count()).select_from(table)) or 0
                            )
        return found

    return count
