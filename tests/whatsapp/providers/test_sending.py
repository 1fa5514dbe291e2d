"""What holds for every real provider: one message goes out, or exactly one of our errors says why not."""

from __future__ import annotations

import logging
import socket
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from app.kit.context import REQUEST_ID
from app.kit.errors import Misconfigured, Permanent, ProviderError, RateLimited, Temporary, Unknown
from app.whatsapp.providers import Outgoing, Recipient
from tests.fakes import twilio_server
from tests.fakes.loopback import Answer, Drop, Plan, Stall
from tests.whatsapp.providers.cases import PHONE, TEXT, Case, outgoing


def refused(case: Case, *plans: Plan, message: Outgoing | None = None) -> ProviderError:
    """The error of sending when the provider behaves so."""
    case.server.plan(*plans)
    with pytest.raises(ProviderError) as caught:
        case.sender.send(message or outgoing(), case.credentials)
    return caught.value


def test_a_message_arrives_with_its_accents_and_emoji(case: Case) -> None:
    accepted = case.sender.send(outgoing(), case.credentials)
    [taken] = case.server.accepted
    assert taken.text == TEXT
    assert accepted.status == "queued"
    assert accepted.provider_id == (taken.sid if isinstance(taken, twilio_server.Taken) else taken.id)


def test_many_messages_use_one_connection_and_each_arrives_once(case: Case) -> None:
    ids = {case.sender.send(outgoing(f"Mensaje {n}"), case.credentials).provider_id for n in range(5)}
    assert len(ids) == 5
    assert case.server.connections == 1
    assert [taken.text for taken in case.server.accepted] == [f"Mensaje {n}" for n in range(5)]


def test_a_user_without_a_phone_number_gets_the_message(case: Case) -> None:
    case.sender.send(outgoing(to=Recipient(user_id="US.13491208655302741918")), case.credentials)
    [taken] = case.server.accepted
    assert taken.to.removeprefix("whatsapp:") == "US.13491208655302741918"


def test_a_user_known_by_digits_only_is_written_to_by_number(case: Case) -> None:
    case.sender.send(outgoing(to=Recipient(user_id=PHONE[1:])), case.credentials)
    [taken] = case.server.accepted
    assert taken.to.removeprefix("whatsapp:").removeprefix("+") == PHONE[1:]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 10, 11])
def test_every_number_of_choices_is_taken_and_every_label_is_shown(case: Case, count: int) -> None:
    labels = [f"Opción {n} 🏷️" for n in range(1, count + 1)]
    case.sender.send(outgoing("Elige:", *labels), case.credentials)
    [taken] = case.server.accepted
    shown = taken.text + "\n".join(getattr(taken, "choices", ()))
    assert all(label in shown for label in labels)


def test_choices_with_long_and_equal_labels_are_taken(case: Case) -> None:
    long = "Quiero hablar con una persona del equipo comercial"
    case.sender.send(outgoing("Elige:", f"{long} hoy", f"{long} mañana", "Sí", "Sí"), case.credentials)
    assert len(case.server.accepted) == 1


def test_the_longest_text_is_taken_in_its_parts(case: Case) -> None:
    text = "Una frase larga con acentos y emojis 👨‍👩‍👧. " * 300
    labels = ["Sí", "No", "Tal vez", "Otra cosa"]
    message = outgoing(text, *labels)
    parts = case.sender.split(text, message.choices)
    for part in parts[:-1]:
        case.sender.send(replace(message, text=part, choices=()), case.credentials)
    case.sender.send(replace(message, text=parts[-1]), case.credentials)
    assert len(case.server.accepted) == len(parts) > 1
    assert "".join(text.split()) == "".join("".join(parts).split())


def test_a_text_that_was_not_split_is_refused_before_it_is_sent(case: Case) -> None:
    error = refused(case, message=outgoing("x" * (case.sender.limits.text + 1)))
    assert isinstance(error, Permanent)
    assert error.code == "too_long"
    assert case.server.requests == []


def test_an_empty_text_is_refused_before_it_is_sent(case: Case) -> None:
    assert isinstance(refused(case, message=outgoing(" \n")), Permanent)
    assert case.server.requests == []


def test_text_that_is_no_unicode_is_sent_without_its_broken_characters(case: Case) -> None:
    case.sender.send(outgoing("Hola \ud83d\x00 mundo"), case.credentials)
    assert "mundo" in case.server.accepted[0].text


def test_too_fast_tells_how_long_to_wait(case: Case) -> None:
    status, code = case.too_fast
    error = refused(case, case.error(status, code, "Too many", headers={"Retry-After": "7"}))
    assert isinstance(error, RateLimited)
    assert (error.code, error.retry_after) == (str(code), 7.0)


def test_a_bare_429_is_too_fast_without_a_time(case: Case) -> None:
    error = refused(case, case.error(429, None, "<h1>Too Many Requests</h1>"))
    assert isinstance(error, RateLimited)
    assert error.retry_after is None


def test_the_providers_own_trouble_is_temporary(case: Case) -> None:
    status, code = case.their_trouble
    error = refused(case, case.error(status, code, "Try again"))
    assert type(error) is Temporary


def test_a_503_of_the_front_end_is_temporary(case: Case) -> None:
    assert type(refused(case, case.error(503, None, "<h1>Unavailable</h1>"))) is Temporary


@pytest.mark.parametrize("status", [500, 502, 504])
def test_other_server_errors_without_a_code_may_have_been_delivered(case: Case, status: int) -> None:
    assert isinstance(refused(case, case.error(status, None, "<h1>Bad Gateway</h1>")), Unknown)


def test_a_trouble_of_our_account_is_misconfigured(case: Case) -> None:
    status, code = case.our_account
    assert isinstance(refused(case, case.error(status, code, "Check your account")), Misconfigured)


def test_what_will_never_be_delivered_is_permanent(case: Case) -> None:
    status, code = case.hopeless
    error = refused(case, case.error(status, code, "Outside the allowed window"))
    assert isinstance(error, Permanent)
    assert error.code == str(code)
    assert "window" in error.detail


def test_wrong_credentials_are_misconfigured(case: Case) -> None:
    with pytest.raises(Misconfigured):
        case.sender.send(outgoing(), case.credentials | {case.key: "wrong"})
    assert case.server.accepted == []


@pytest.mark.parametrize("wrong", ["token\nX-Evil: 1", "contraseña-€"])
def test_credentials_that_no_header_can_hold_are_misconfigured(case: Case, wrong: str) -> None:
    with pytest.raises(Misconfigured):
        case.sender.send(outgoing(), case.credentials | {case.key: wrong})
    assert case.server.accepted == []


def test_missing_credentials_are_all_named(case: Case) -> None:
    with pytest.raises(Misconfigured) as caught:
        case.sender.send(outgoing(), {})
    required = [f.name for f in case.sender.FIELDS if f.required]
    assert sum(name in caught.value.detail for name in required) >= 2


@pytest.mark.parametrize("url", ["not a url", "ftp://example.com", "http://"])
def test_an_address_that_is_no_url_is_misconfigured(case: Case, url: str) -> None:
    with pytest.raises(Misconfigured):
        case.sender.send(outgoing(), case.credentials | {case.url: url})


def test_no_connection_is_temporary(case: Case) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound but not listening: refused
        port = free.getsockname()[1]
        with pytest.raises(ProviderError) as caught:
            case.sender.send(outgoing(), case.credentials | {case.url: f"http://127.0.0.1:{port}"})
    assert type(caught.value) is Temporary


@pytest.mark.parametrize("plan", [Drop(), Drop(accepted=True), Stall(), Stall(accepted=True)])
def test_no_answer_after_the_body_may_have_been_delivered_and_is_not_repeated(case: Case, plan: Plan) -> None:
    assert isinstance(refused(case, plan), Unknown)
    assert len(case.server.requests) == 1


def test_after_a_lost_answer_the_next_message_goes_out(case: Case) -> None:
    refused(case, Drop())
    case.sender.send(outgoing("Otra vez"), case.credentials)
    assert [taken.text for taken in case.server.accepted] == ["Otra vez"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"messages": [null]}', b'"ok"'])
def test_a_success_that_cannot_be_read_may_have_been_delivered(case: Case, body: bytes) -> None:
    assert isinstance(refused(case, Answer(status=case.accepted, body=body)), Unknown)


def test_an_endless_answer_may_have_been_delivered(case: Case) -> None:
    assert isinstance(refused(case, Answer(status=200, body=b" " * 2_000_000)), Unknown)


def test_a_redirect_is_not_followed(case: Case) -> None:
    answer = Answer(status=307, body={}, headers={"Location": f"{case.server.url}/elsewhere"})
    assert isinstance(refused(case, answer), Misconfigured)
    assert len(case.server.requests) == 1


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b"[1]", b'{"error": 3}', b'{"code": {}}', b'{"error": {"code": []}}']
)
def test_a_refusal_that_cannot_be_read_is_still_a_refusal(case: Case, body: bytes) -> None:
    assert isinstance(refused(case, Answer(status=400, body=body)), Permanent)


def test_errors_and_logs_tell_no_secret_no_number_and_no_text(
    case: Case, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = " ".join(case.secrets)
    told = f"No delivery to {PHONE} (or 34 600 12 34 56, ann@example.com) of '{TEXT}' with {secrets}"
    errors = [
        refused(case, case.error(400, 99999, told)),
        refused(case, case.error(401, *case.our_account[1:], told)),
        refused(case, Drop()),
        refused(case, case.error(502, None, told)),
    ]
    case.sender.send(outgoing(), case.credentials)
    shown = "".join("".join(traceback.format_exception(e)) + repr(e.args) for e in errors)
    shown += caplog.text + "".join(capsys.readouterr())
    for private in (PHONE, PHONE[1:], "600 12 34", "ann@example.com", TEXT, *case.secrets):
        assert private not in shown, private


def test_the_request_carries_our_request_id(case: Case) -> None:
    token = REQUEST_ID.set("req-1")
    try:
        case.sender.send(outgoing(), case.credentials)
    finally:
        REQUEST_ID.reset(token)
    assert case.server.requests[0].headers["x-request-id"] == "req-1"


def test_credentials_in_netrc_do_not_replace_ours(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login stranger password stranger\n")
    monkeypatch.setenv("NETRC", str(netrc))
    case.sender.send(outgoing(), case.credentials)
    assert len(case.server.accepted) == 1


def test_the_sdks_own_environment_does_not_change_the_address(
    twilio: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_EDGE", "sydney")
    monkeypatch.setenv("TWILIO_REGION", "au1")
    twilio.sender.send(outgoing(), twilio.credentials)
    assert len(twilio.server.accepted) == 1
