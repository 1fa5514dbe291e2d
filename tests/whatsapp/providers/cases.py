"""Both real providers as one kind of case, so that one suite holds for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.kit import http
from app.whatsapp.providers import Choice, MetaSender, Outgoing, Recipient, Sender, TwilioSender
from tests.fakes import meta_server, twilio_server
from tests.fakes.loopback import Answer
from tests.fakes.meta_server import MetaServer
from tests.fakes.twilio_server import TwilioServer

READ_SECONDS = 0.5  # so that a stalled provider costs half a second here

PHONE = "+34600123456"
TEXT = "Hola, ¿cómo estás? 👋🏽"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A sender, the stand-in it talks to and how that provider writes its errors."""

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


def outgoing(text: str = TEXT, *labels: str, to: Recipient | None = None, **more: str) -> Outgoing:
    """A message with a choice per label; its ids are c1, c2, …"""
    choices = tuple(Choice(id=f"c{n}", label=label) for n, label in enumerate(labels, 1))
    to = to or Recipient(user_id=PHONE[1:], phone=PHONE)
    return Outgoing(reference="0199b3c4-message", to=to, text=text, choices=choices, **more)


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
        )
