"""Each real provider as one kind of case, so that one suite holds for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.kit import http
from app.whatsapp.providers import Choice, MetaSender, Outgoing, Raw, Recipient, Sender, TwilioSender
from tests.fakes import meta_server, twilio_server
from tests.fakes.loopback import Answer
from tests.fakes.meta_server import MetaServer
from tests.fakes.twilio_server import TwilioServer

READ_SECONDS = 0.5  # so that a stalled provider costs half a second here

URL = "https://embudo.example/message"
PHONE = "+34600123456"
TEXT = "Hola, ¿cómo estás? 👋🏽"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A sender, the stand-in it talks to and how that provider writes its errors and its webhooks.

    key, url: the credentials that prove us and that say where the stand-in is. accepted: the HTTP status of a taken
    message. inbound(id, phone, text): a signed webhook of a message to us, for our channel's address.
    """

    name: str
    sender: Sender
    server: MetaServer | TwilioServer
    credentials: dict[str, str]
    error: Callable[..., Answer]
    too_fast: tuple[int, int]  # HTTP status and code
    their_trouble: tuple[int, int]
    our_account: tuple[int, int]
    hopeless: tuple[int, int]
    secrets: tuple[str, ...]
    key: str
    url: str
    accepted: int
    inbound: Callable[[str, str, str], Raw]


def outgoing(text: str = TEXT, *labels: str, to: Recipient | None = None, **more: str) -> Outgoing:
    """A message with a choice per label; its ids are c1, c2, …"""
    choices = tuple(Choice(id=f"c{n}", label=label) for n, label in enumerate(labels, 1))
    to = to or Recipient(user_id=PHONE[1:], phone=PHONE)
    return Outgoing(reference="0199b3c4-message", to=to, text=text, choices=choices, **more)


def called(body: bytes, headers: dict[str, str]) -> Raw:
    """The request as the door hands it over."""
    return Raw(url=URL, method="POST", headers={k.lower(): v for k, v in headers.items()}, body=body)


def _twilio_calls(id_: str, phone: str, text: str) -> Raw:
    return called(*twilio_server.signed_twilio_form(URL, twilio_server.message_form(id_, phone, text)))


def _meta_calls(id_: str, phone: str, text: str) -> Raw:
    return called(*meta_server.signed_meta(meta_server.message_webhook(id_, phone[1:], text)))


@contextmanager
def twilio_case() -> Iterator[Case]:
    """Twilio's adapter and its stand-in."""
    with TwilioServer() as server:
        yield Case(
            name="Twilio",
            sender=TwilioSender(http.Reused(connect=1, read=READ_SECONDS)),
            server=server,
            credentials={
                "account_sid": twilio_server.ACCOUNT_SID,
                "auth_token": twilio_server.AUTH_TOKEN,
                "whatsapp_from": "+14155238886",
                "api_url": server.url,
            },
            error=twilio_server.error,
            too_fast=(429, 63018),
            their_trouble=(400, 63012),
            our_account=(400, 63007),
            hopeless=(400, 63016),
            secrets=(twilio_server.AUTH_TOKEN,),
            key="auth_token",
            url="api_url",
            accepted=201,
            inbound=_twilio_calls,
        )


@contextmanager
def meta_case() -> Iterator[Case]:
    """Meta's adapter and its stand-in."""
    with MetaServer() as server:
        yield Case(
            name="Meta",
            sender=MetaSender(http.Reused(connect=1, read=READ_SECONDS)),
            server=server,
            credentials={
                "phone_number_id": meta_server.PHONE_NUMBER_ID,
                "access_token": meta_server.ACCESS_TOKEN,
                "app_secret": meta_server.APP_SECRET,
                "verify_token": meta_server.VERIFY_TOKEN,
                "graph_url": server.url,
            },
            error=meta_server.error,
            too_fast=(400, 131056),
            their_trouble=(500, 131016),
            our_account=(400, 190),
            hopeless=(400, 131047),
            secrets=(meta_server.ACCESS_TOKEN, meta_server.APP_SECRET, meta_server.VERIFY_TOKEN),
            key="access_token",
            url="graph_url",
            accepted=200,
            inbound=_meta_calls,
        )


CASES = {"twilio": twilio_case, "meta": meta_case}
"""By the names of SENDERS; the simulator calls nobody and nobody calls it."""
