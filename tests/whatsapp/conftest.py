"""Channels on loopback providers, and a way to be the provider that calls us."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.kit.db import own_context, transaction
from app.whatsapp.commands import channels, flows
from tests.fakes import meta_server, twilio_server
from tests.fakes.meta_server import MetaServer
from tests.fakes.twilio_server import TwilioServer

MESSAGE_URL = "http://localhost/message"
PERSON = "+34600111222"

EIGHT_TURNS: dict[str, Any] = {
    "schema": 1,
    "language": "es",
    "start": "greet",
    "triggers": {"keywords": ["hola", "información"], "match": "word"},
    "settings": {"expire_minutes": 60},
    "variables": [{"name": "interest", "default": ""}],
    "nodes": [
        {"id": "greet", "type": "send_text", "text": "¡Hola! 👋", "exits": {"next": "ask_name"}},
        {
            "id": "ask_name",
            "type": "ask",
            "kind": "text",
            "text": "¿Cómo te llamas?",
            "variable": "name",
            "exits": {"next": "ask_interest"},
        },
        {
            "id": "ask_interest",
            "type": "ask",
            "kind": "choice",
            "text": "{{ vars.name }}, ¿qué te interesa?",
            "variable": "interest",
            "choices": [
                {"id": "catalogue", "label": "Catálogo"},
                {"id": "price", "label": "Precio", "keywords": ["precio"]},
            ],
            "retries": 3,
            "retry_text": "Elige una opción 🙏",
            "exits": {"next": "ask_mail"},
        },
        {
            "id": "ask_mail",
            "type": "ask",
            "kind": "email",
            "text": "¿Tu correo?",
            "variable": "email",
            "retries": 3,
            "retry_text": "Ese correo no vale.",
            "exits": {"next": "ask_size"},
        },
        {
            "id": "ask_size",
            "type": "ask",
            "kind": "number",
            "text": "¿Cuántas personas?",
            "variable": "size",
            "timeout_minutes": 10,
            "exits": {"next": "lead", "timeout": "lead"},
        },
        {
            "id": "lead",
            "type": "capture_lead",
            "fields": {
                "name": "{{ vars.name }}",
                "email": "{{ vars.email }}",
                "phone": "{{ contact.phone }}",
            },
            "exits": {"next": "bye"},
        },
        {"id": "bye", "type": "send_text", "text": "¡Gracias, {{ vars.name }}! 🎉", "exits": {"next": "end"}},
        {"id": "end", "type": "end", "exits": {}},
    ],
}


def document(**changes: Any) -> dict[str, Any]:
    """The test flow with other top-level parts."""
    return {**EIGHT_TURNS, **changes}


@pytest.fixture
def make_flow(app: Flask) -> Callable[..., str]:
    """Publish a flow; gives its id."""

    def make(name: str = "Bienvenida", **changes: Any) -> str:
        with own_context(), transaction():
            row = flows.create_flow(name, document(**changes), by="test")
            flows.publish_flow(row.id, by="test")
            return row.id

    return make


@dataclass
class Line:
    """A channel with its stand-in provider: say() is somebody writing, sent is what they got."""

    client: FlaskClient
    server: MetaServer | TwilioServer
    channel_id: str
    provider: str
    number: int = field(default=0)

    def say(self, text: str, *, sender: str = PERSON, sid: str | None = None, **more: Any) -> Any:
        """Post a signed inbound message."""
        self.number += 1
        if self.provider == "twilio":
            sid = sid or f"SM{self.number:032d}"
            body, headers = twilio_server.signed_twilio_form(
                MESSAGE_URL, twilio_server.message_form(sid, sender, text, **more)
            )
        else:
            hook = meta_server.message_webhook(
                sid or f"wamid.{self.number}", sender.lstrip("+"), text, **more
            )
            body, headers = meta_server.signed_meta(hook)
        return self.client.post("/message", data=body, headers=headers)

    @property
    def sent(self) -> list[str]:
        """Texts that the provider took, in its order."""
        return [taken.text for taken in self.server.accepted]


@pytest.fixture
def twilio(app: Flask, client: FlaskClient, make_flow: Callable[..., str]) -> Iterator[Line]:
    """A Twilio channel whose default flow is the test flow."""
    flow_id = make_flow()
    with TwilioServer() as server:
        with own_context(), transaction():
            channel = channels.add_channel(
                name="Twilio",
                provider="twilio",
                credentials={
                    "account_sid": twilio_server.ACCOUNT_SID,
                    "auth_token": twilio_server.AUTH_TOKEN,
                    "whatsapp_from": twilio_server.SENDER.removeprefix("whatsapp:"),
                    "api_url": server.url,
                },
                default_flow_id=flow_id,
            )
            channel_id = channel.id
        yield Line(client, server, channel_id, "twilio")


@pytest.fixture
def meta(app: Flask, client: FlaskClient) -> Iterator[Line]:
    """A Meta channel whose default flow is another copy of the test flow."""
    with MetaServer() as server:
        with own_context(), transaction():
            row = flows.create_flow("Meta", document(triggers={"keywords": [], "match": "word"}), by="test")
            flows.publish_flow(row.id, by="test")
            channel = channels.add_channel(
                name="Meta",
                provider="meta",
                credentials={
                    "phone_number_id": meta_server.PHONE_NUMBER_ID,
                    "access_token": meta_server.ACCESS_TOKEN,
                    "app_secret": meta_server.APP_SECRET,
                    "verify_token": meta_server.VERIFY_TOKEN,
                    "graph_url": server.url,
                },
                default_flow_id=row.id,
            )
            channel_id = channel.id
        yield Line(client, server, channel_id, "meta")
