"""What the processes say never gives a person or a secret away, whatever happened to them."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable

import pytest

from tests.fakes import meta_server, twilio_server
from tests.fakes.loopback import Drop
from tests.fakes.meta_server import error
from tests.journeys.installation import SECRET_KEY, Installation
from tests.journeys.talk import FLOW, NAME, PROFILE, WISH, Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SECRETS = (
    SECRET_KEY,
    meta_server.APP_SECRET,
    meta_server.ACCESS_TOKEN,
    meta_server.VERIFY_TOKEN,
    twilio_server.AUTH_TOKEN,
)

PERSONAL = re.compile(
    r"6117\d{5}"  # everybody's phone number here, however it is written
    r"|begona\.ibanez|olivar-ejemplo"
    r"|Begoña|Bego\\u00f1a|Ib[áa]ñez|Íñigo|Núñez"
    r"|ñandúes|cenefa|azulejos",
    re.IGNORECASE,
)


MANGLED = (
    "GET /leads?q={email} HTTP/9.9\r\nHost: x\r\n\r\n",
    "GET /leads?q={email} HTTP/1.1\r\nHost {phone}: x\r\n\r\n",
    "{email} wants azulejos\r\n\r\n",
    "GET /leads?q={email}&and=" + "x" * 9000 + " HTTP/1.1\r\nHost: x\r\n\r\n",
)
"""Requests that the web server itself refuses, and says so."""


def send(port: int, text: str) -> bytes:
    """Bytes as they are; the beginning of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(text.encode())
        return connection.recv(200)


@pytest.mark.parametrize("provider", ["meta", "twilio"])
def test_the_logs_of_a_journey_name_nobody_and_tell_no_secret(
    made: Installation, person: Callable[..., Person], provider: str
) -> None:
    somebody = person(provider)
    somebody.server.plan(Drop())
    somebody.say("azulejos")
    somebody.await_replies(1)
    somebody.say(NAME)
    somebody.await_replies(2)
    other = person(provider)
    other.server.plan(error(400, 131009, f"{other.phone} cannot read {WISH}"))
    other.say("azulejos")
    other.await_replies(1)
    for turn in person(provider).turns():
        turn()
    refused = {"to": other.email, "template": "welcome", "variables": {"nombre": NAME}, "phone": other.phone}
    made.request(
        "email",
        "/email",
        body=str(refused).encode(),
        headers={"Authorization": f"Bearer {made.key}", "Content-Type": "application/json"},
    )
    body, headers = person(provider).webhook(WISH)
    made.request("whatsapp", "/message", body=body[:-1], headers=headers)
    made.request("leads", f"/leads?q={somebody.email}", headers={"Authorization": f"Bearer {made.key}x"})
    for head in MANGLED:
        answer = send(made.of("leads").port, head.format(email=somebody.email, phone=somebody.phone))
        assert answer.split()[1] in (b"400", b"414"), answer
    made.settle()

    said = made.logs()
    assert any("request" in text for text in said.values())
    leaks = [
        f"{name}: {line}"
        for name, text in said.items()
        for line in text.splitlines()
        if PERSONAL.search(line) or made.key in line or any(secret in line for secret in SECRETS)
    ]
    assert leaks == []
    web = said[next(name for name in said if name.endswith(".web.log") and "Invalid request" in said[name])]
    refused = [line for line in map(json.loads, web.splitlines()) if line["logger"] == "gunicorn.error"]
    assert len(refused) >= len(MANGLED)
    assert {line["service"] for line in refused} == {"gunicorn"}
    assert all("127.0.0.1" not in line["event"] for line in refused)
    assert FLOW["triggers"]["keywords"] == ["azulejos"], "the words looked for above are those that were said"
    assert PROFILE == "Íñigo Núñez"
