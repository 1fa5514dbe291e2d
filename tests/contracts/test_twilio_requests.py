"""Every request that the Twilio adapter sends is one that Twilio's own OpenAPI document allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.whatsapp.providers import Outgoing, Recipient
from tests.contracts.openapi import problems
from tests.whatsapp.providers.cases import Case, outgoing, twilio_case

MESSAGES = [
    outgoing(),
    outgoing("Elige:", "Catálogo 📚", "Precios", "Hablar con una persona"),
    outgoing(callback_url="https://embudo.example/message?channel=1#rc=3&rp=all"),
    outgoing(to=Recipient(user_id="US.13491208655302741918")),
    outgoing("=&+%\n¿?", "1. a", "2. b"),
]


@pytest.fixture
def twilio() -> Iterator[Case]:
    """Twilio's adapter and its stand-in."""
    with twilio_case() as made:
        yield made


@pytest.fixture
def contract(shared: Path) -> Path:
    """Twilio's document."""
    return shared / "contracts" / "twilio_api_v2010.json"


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("service", [None, "MG" + "0a" * 16])
def test_the_request_is_allowed(twilio: Case, contract: Path, message: Outgoing, service: str | None) -> None:
    credentials = twilio.credentials | ({"messaging_service_sid": service} if service else {})
    twilio.sender.send(message, credentials)
    [request] = twilio.server.requests
    assert problems(contract, request) == []


def test_the_check_finds_what_is_not_allowed(twilio: Case, contract: Path) -> None:
    twilio.sender.send(outgoing(), twilio.credentials)
    [good] = twilio.server.requests
    for bad in (
        replace(good, method="PUT"),
        replace(good, path=good.path.replace("Messages", "Massages")),
        replace(good, path=good.path.replace("AC0f", "XX0f")),
        replace(good, body=good.body + b"&Colour=red"),
        replace(good, body=good.body.replace(b"To=", b"Two=")),
        replace(good, body=good.body + b"&Body=again"),
        replace(good, headers={"content-type": "application/json"}),
    ):
        assert problems(contract, bad), bad
