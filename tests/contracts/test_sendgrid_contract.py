"""Every request that the SendGrid adapter sends is one that SendGrid's own OpenAPI document allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.email.providers.sendgrid import SendGridSender, SendGridSettings
from tests.contracts.openapi import problems
from tests.email.test_providers import Diary, letter
from tests.fakes.loopback import Received
from tests.fakes.sendgrid_server import API_KEY, SendGridServer


@pytest.fixture
def contract(shared: Path) -> Path:
    """SendGrid's document."""
    return shared / "contracts" / "sendgrid_mail_v3.json"


@pytest.fixture
def server() -> Iterator[SendGridServer]:
    with SendGridServer() as made:
        yield made


def sent(server: SendGridServer, **changes: Any) -> Received:
    sender = SendGridSender(SendGridSettings(api_key=API_KEY, url=server.url))
    list(sender.send([letter(**changes)], Diary()))
    return server.requests[-1]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"html": None},
        {"text": ""},
        {"reply_to": "Ana <ana@example.com>"},
        {"sender": "Ñandú <ventas@example.com>"},
        {
            "headers": {
                "List-Unsubscribe": "<https://crm.example.com/email/unsubscribe/x>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            }
        },
        {"subject": "=&+%\t¿? 👋"},
    ],
)
def test_the_request_is_allowed(server: SendGridServer, contract: Path, changes: dict[str, Any]) -> None:
    assert problems(contract, sent(server, **changes)) == []
    assert len(server.accepted) == 1


def test_the_check_finds_what_is_not_allowed(server: SendGridServer, contract: Path) -> None:
    good = sent(server)
    for bad in (
        replace(good, method="PUT"),
        replace(good, path="/v3/mail/sent"),
        replace(good, headers={"content-type": "text/plain"}),
        replace(good, body=b'{"from": {"email": "a@example.com"}}'),
        replace(good, body=good.body.replace(b'"subject"', b'"subjekt"')),
        replace(good, body=good.body.replace(b'"to": [', b'"two": [')),
    ):
        assert problems(contract, bad), bad
