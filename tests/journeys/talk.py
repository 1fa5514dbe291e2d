"""What is said in the journeys: the flow, somebody with a phone who talks to it, and what they are told."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes import meta_server, twilio_server
from tests.fakes.loopback import Received
from tests.journeys.installation import Answered, Installation
from tests.ops.waiting import wait_for

FLOW: dict[str, Any] = {
    "schema": 1,
    "language": "es",
    "start": "greet",
    "triggers": {"keywords": ["azulejos"], "match": "word"},
    "settings": {"expire_minutes": 60},
    "variables": [],
    "nodes": [
        {
            "id": "greet",
            "type": "send_text",
            "text": "¡Hola, {{ contact.name }}! 👋",
            "exits": {"next": "ask_name"},
        },
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
            "choices": [{"id": "catalogue", "label": "📦 Catálogo"}, {"id": "price", "label": "💶 Precio"}],
            "retries": 3,
            "retry_text": "Elige una opción 🙏",
            "exits": {"next": "ask_mail"},
        },
        {
            "id": "ask_mail",
            "type": "ask",
            "kind": "email",
            "text": "¿A qué correo te escribimos? ✉️",
            "variable": "email",
            "retries": 5,
            "retry_text": "Eso no es un correo.",
            "exits": {"next": "ask_size"},
        },
        {
            "id": "ask_size",
            "type": "ask",
            "kind": "number",
            "text": "¿Cuántos metros?",
            "variable": "size",
            "retries": 5,
            "exits": {"next": "ask_wish"},
        },
        {
            "id": "ask_wish",
            "type": "ask",
            "kind": "text",
            "text": "¿Algo más que debamos saber?",
            "variable": "wish",
            "exits": {"next": "lead"},
        },
        {
            "id": "lead",
            "type": "capture_lead",
            "fields": {
                "name": "{{ vars.name }}",
                "email": "{{ vars.email }}",
                "phone": "{{ contact.phone }}",
                "notes": "{{ vars.wish }}",
                "metros": "{{ vars.size }}",
                "interest": "{{ vars.interest }}",
            },
            "exits": {"next": "bye"},
        },
        {
            "id": "bye",
            "type": "send_text",
            "text": "¡Gracias, {{ vars.name }}! 🎉 Mañana te escribimos.",
            "exits": {"next": "end"},
        },
        {"id": "end", "type": "end", "exits": {}},
    ],
}

PROFILE = "Íñigo Núñez"
"""Name in the person's profile, as the stand-ins write it."""

NAME = "Begoña Ibáñez 🌻"
WISH = "Con cenefa de ñandúes, ¿puede ser? 🦤"

REPLIES = (
    f"¡Hola, {PROFILE}! 👋",
    "¿Cómo te llamas?",
    f"{NAME}, ¿qué te interesa?",
    "¿A qué correo te escribimos? ✉️",
    "Eso no es un correo.",
    "Eso no es un correo.",
    "¿Cuántos metros?",
    "¿Algo más que debamos saber?",
    f"¡Gracias, {NAME}! 🎉 Mañana te escribimos.",
)
"""What the eight turns below are answered, in order."""

IMAGE = {
    "type": "image",
    "image": {
        "id": "1013859600285441",
        "mime_type": "image/jpeg",
        "sha256": "29ed500fa64eb55fc19dc4124acb300e5dcc54a0f822a301ae99944db",
        "caption": "el baño de casa",
    },
}
LOCATION = {
    "type": "location",
    "location": {"latitude": 40.4168, "longitude": -3.7038, "name": "Puerta del Sol"},
}

_numbers = itertools.count(1)


@dataclass
class Person:
    """Somebody with WhatsApp. provider: whose webhooks bring what they say."""

    made: Installation
    provider: str
    number: int = field(default_factory=lambda: next(_numbers))
    said: int = 0

    @property
    def phone(self) -> str:
        """E.164."""
        return f"+346117{self.number:05d}"

    @property
    def email(self) -> str:
        """Their address."""
        return f"begona.ibanez.{self.number}@olivar-ejemplo.es"

    # --- what they do ------------------------------------------------------------------------------------------------

    def say(self, text: str) -> Answered:
        """Type something."""
        return self.post(self.webhook(text))

    def tap(self, choice: str, label: str) -> Answered:
        """Tap a button."""
        if self.provider == "twilio":
            return self.post(
                self.webhook(label, MessageType="button", ButtonPayload=choice, ButtonText=label)
            )
        reply = {"type": "button_reply", "button_reply": {"id": choice, "title": label}}
        return self.post(self.webhook("", type="interactive", interactive=reply))

    def show(self) -> Answered:
        """Send a picture."""
        if self.provider == "twilio":
            url = "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1"
            picture = {"NumMedia": "1", "MediaContentType0": "image/jpeg", "MediaUrl0": url}
            return self.post(self.webhook("", MessageType="image", **picture))
        return self.post(self.webhook("", **IMAGE))

    def locate(self) -> Answered:
        """Send where they are."""
        if self.provider == "twilio":
            place = {"Latitude": "40.4168", "Longitude": "-3.7038", "Address": "Puerta del Sol"}
            return self.post(self.webhook("", MessageType="location", **place))
        return self.post(self.webhook("", **LOCATION))

    def turns(self) -> tuple[Callable[[], Answered], ...]:
        """The eight turns, each to be taken when it is their turn."""
        return (
            lambda: self.say("¡Oye! Quería unos azulejos 🧱"),
            lambda: self.say(NAME),
            lambda: self.tap("catalogue", "📦 Catálogo"),
            self.show,
            self.locate,
            lambda: self.say(f"{self.email} ✉️"),
            lambda: self.say("unos 25 metros"),
            lambda: self.say(WISH),
        )

    # --- how the provider tells --------------------------------------------------------------------------------------

    def webhook(self, text: str, **more: Any) -> tuple[bytes, dict[str, str]]:
        """Body and headers of the next message's webhook, signed."""
        self.said += 1
        if self.provider == "twilio":
            form = twilio_server.message_form(
                f"SM{self.number:016x}{self.said:016x}", self.phone, text, **more
            )
            return twilio_server.signed_twilio_form(self.url, form)
        id_ = f"wamid.in.{self.number}.{self.said}"
        return meta_server.signed_meta(meta_server.message_webhook(id_, self.phone[1:], text, **more))

    def tell_status(self, message: Any, status: str) -> Answered:
        """The provider says what became of a message that it took."""
        if self.provider == "twilio":
            form = twilio_server.status_form(message.sid, status, self.phone)
            body, headers = twilio_server.signed_twilio_form(message.callback, form)
            path = message.callback.removeprefix(self.made.door or self.made.of("whatsapp").url)
            return self.made.request("whatsapp", path, body=body, headers=headers)
        hook = meta_server.status_webhook(message.id, status, self.phone[1:], reference=message.reference)
        return self.post(meta_server.signed_meta(hook))

    def post(self, webhook: tuple[bytes, dict[str, str]]) -> Answered:
        """Deliver a webhook."""
        return self.made.request("whatsapp", "/message", body=webhook[0], headers=webhook[1])

    @property
    def url(self) -> str:
        """Where the provider's webhooks go."""
        return f"{self.made.door or self.made.of('whatsapp').url}/message"

    # --- what can be seen of it ----------------------------------------------------------------------------------------

    @property
    def server(self) -> Any:
        """The provider's stand-in."""
        return self.made.twilio if self.provider == "twilio" else self.made.meta

    @property
    def taken(self) -> list[Any]:
        """Messages to this person that the provider took, in its order."""
        return [item for item in list(self.server.accepted) if item.to.endswith(self.phone[1:])]

    @property
    def heard(self) -> list[str]:
        """Their texts; Twilio has no buttons, so the lines that stand for them are cut."""
        return [item.text.partition("\n\n")[0] for item in self.taken]

    def calls(self) -> list[Received]:
        """Requests about this person that reached the provider, answered or not."""
        digits = self.phone[1:].encode()
        return [item for item in list(self.server.requests) if digits in item.body]

    def await_replies(self, count: int) -> None:
        """Wait until the provider has taken `count` messages."""
        wait_for(
            lambda: len(self.taken) >= count, lambda: f"reply {count} to {self.phone}, so far {self.heard}"
        )

    def await_call(self, count: int) -> None:
        """Wait until the provider has been asked `count` times to send something to them."""
        wait_for(lambda: len(self.calls()) >= count, f"call {count} about {self.phone}")

    def await_mail(self) -> None:
        """Wait for the welcome."""
        wait_for(lambda: self.email in self.made.mail.recipients(), f"mail for {self.phone}")

    def mails(self) -> list[Any]:
        """Mails to this person that the mail server took."""
        return [mail for _, to, mail in list(self.made.mail.received) if to == self.email]

    def leads(self) -> list[dict[str, Any]]:
        """Their leads."""
        items: list[dict[str, Any]] = self.made.api("leads", f"/leads?q={self.phone[1:]}")["items"]
        return [item for item in items if item["phone"] == self.phone]

    def run(self) -> dict[str, Any]:
        """GET /status of their conversation."""
        items = self.made.api("whatsapp", "/conversations?limit=100")["items"]
        (found,) = [item for item in items if item["contact"]["phone"] == self.phone]
        run: dict[str, Any] = self.made.api("whatsapp", f"/status/{found['id']}")
        return run

    def states(self) -> dict[str, str]:
        """Text → state of what they were told, by GET /status."""
        return {item["text"]: item["status"] for item in self.run()["messages"] if item["direction"] == "out"}
