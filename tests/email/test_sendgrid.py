"""SendGrid by plain HTTP: what is sent, and what each answer means."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from app.email.mime import Letter
from app.email.providers import Result
from app.email.providers.sendgrid import SendGridSender, SendGridSettings, request_of
from app.kit.errors import Misconfigured, Permanent, RateLimited, Temporary, Unknown
from tests.email.test_providers import Diary, letter
from tests.fakes.loopback import Answer, Drop, Plan
from tests.fakes.sendgrid_server import API_KEY, SendGridServer, errors


@pytest.fixture
def server() -> Iterator[SendGridServer]:
    with SendGridServer() as made:
        yield made


def send(server: SendGridServer, *letters: Letter, key: str = API_KEY) -> list[Result]:
    return list(SendGridSender(SendGridSettings(api_key=key, url=server.url)).send(letters, Diary()))


def test_the_mail_arrives_as_it_was_written_with_our_id(server: SendGridServer) -> None:
    unsubscribe = {"List-Unsubscribe": "<https://crm.example.com/x>"}
    what = letter(headers=unsubscribe, reply_to="Ana <ana@example.com>")

    (result,) = send(server, what)

    (mail,) = server.accepted
    assert (result.error, result.provider_message_id) == (None, "sg-1")
    assert mail["personalizations"] == [
        {"to": [{"email": what.to}], "custom_args": {"embudo_message_id": what.ref}}
    ]
    assert mail["subject"] == "Hola, qué tal"
    assert [part["value"] for part in mail["content"]] == [what.text, what.html]
    assert mail["headers"] == {"Message-ID": what.message_id, **unsubscribe}
    assert mail["reply_to"] == {"email": "ana@example.com"}


@pytest.mark.parametrize(
    ("sender", "name"),
    [
        ("Ñandú & Cía <ventas@example.com>", "Nandu & Cia"),
        ("Ventas; España, S.L. <ventas@example.com>", None),
        ('"Ventas; España, S.L." <ventas@example.com>', "Ventas Espana S.L."),
        ("日本 <ventas@example.com>", None),
        ("ventas@example.com", None),
    ],
)
def test_the_senders_name_has_only_what_sendgrid_takes(sender: str, name: str | None) -> None:
    try:
        shown = request_of(letter(sender=sender))["from"]
    except ValueError:
        assert name is None
        return
    assert shown.get("name") == name


def test_a_letter_with_nothing_to_read_is_refused_before_sendgrid_does(server: SendGridServer) -> None:
    (result,) = send(server, letter(text=" \n", html=None))

    assert isinstance(result.error, Permanent)
    assert server.requests == []


@pytest.mark.parametrize(
    ("plan", "kind", "at_provider"),
    [
        (errors(400, "Does not contain a valid address.", "personalizations.0.to.0.email"), Permanent, False),
        (errors(400, "Bad", "content"), Permanent, False),
        (errors(400, "The from address …", "from.email"), Misconfigured, True),
        (errors(401, "The provided authorization grant is invalid"), Misconfigured, True),
        (errors(401, "Maximum credits exceeded"), Misconfigured, True),
        (errors(403, "The from address does not match a verified Sender Identity."), Misconfigured, True),
        (errors(404, "not found"), Misconfigured, True),
        (errors(413, "too large"), Permanent, False),
        (errors(429, "too many requests"), RateLimited, True),
        (errors(500, "oops"), Temporary, True),
        (errors(503, "unavailable"), Temporary, True),
        (Answer(status=502, body=b"<html>"), Unknown, True),
        (Answer(status=504, body=b""), Unknown, True),
        (
            Answer(status=302, body=b"", headers={"Location": "https://elsewhere.example"}),
            Misconfigured,
            True,
        ),
        (Answer(status=200, body={"errors": "none"}), Misconfigured, True),
        (Drop(), Unknown, True),
    ],
)
def test_each_answer_is_understood(
    server: SendGridServer, plan: Plan, kind: type[Exception], at_provider: bool
) -> None:
    server.plan(plan)

    refused, sent = send(server, letter(1), letter(2))

    assert type(refused.error) is kind
    assert refused.at_provider is at_provider
    assert sent.error is None


def test_a_429_says_when_to_come_back(server: SendGridServer) -> None:
    reset = {"X-RateLimit-Reset": str(int(time.time()) + 40)}
    server.plan(
        Answer(status=429, body={}, headers=reset), Answer(status=429, body={}, headers={"Retry-After": "7"})
    )

    by_reset, by_retry = send(server, letter(1), letter(2))

    assert isinstance(by_reset.error, RateLimited)
    assert isinstance(by_retry.error, RateLimited)
    assert by_reset.error.retry_after == pytest.approx(40, abs=3)
    assert by_retry.error.retry_after == 7.0


def test_errors_give_no_address_and_no_key_away(server: SendGridServer) -> None:
    server.plan(errors(400, "cliente1@example.com is no address", "personalizations.0.to.0.email"))

    refused, wrong_key = send(server, letter(1))[0], send(server, letter(2), key="SG.wrong")[0]

    for result in (refused, wrong_key):
        assert result.error is not None
        assert "example.com" not in str(result.error)
        assert "SG." not in str(result.error)
    assert "SG." not in repr(SendGridSettings(api_key="SG.wrong"))


def test_nobody_there_means_that_nothing_was_sent() -> None:
    sender = SendGridSender(SendGridSettings(api_key=API_KEY, url="http://127.0.0.1:9"))

    (result,) = sender.send([letter()], Diary())

    assert type(result.error) is Temporary
    assert result.at_provider
