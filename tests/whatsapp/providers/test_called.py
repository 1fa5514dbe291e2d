"""What holds for every provider that calls us: only what it signed passes, and a message is understood."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.whatsapp.providers import SENDERS, InboundMessage
from config import PROVIDER_VARIABLES
from tests.whatsapp.providers.cases import CASES, PHONE, TEXT, Case


def test_every_provider_that_calls_us_is_a_case() -> None:
    assert set(CASES) == {name for name, sender in SENDERS.items() if sender.hook}


def test_no_two_providers_are_known_by_the_same_header() -> None:
    headers = [sender.hook.signature.lower() for sender in SENDERS.values() if sender.hook]
    assert len(set(headers)) == len(headers)


def test_every_credential_may_come_from_a_variable_that_is_read() -> None:
    named = {item.variable for sender in SENDERS.values() for item in sender.FIELDS if item.variable}
    assert named <= set(PROVIDER_VARIABLES)


def test_what_is_signed_is_accepted(case: Case) -> None:
    hook = case.sender.hook
    request = case.inbound("m1", PHONE, TEXT)
    assert hook is not None and hook.signature.lower() in request.headers
    assert request.headers["content-type"].partition(";")[0] == hook.media_types[0]
    assert case.sender.verify(request, case.credentials)
    assert case.sender.unreadable(request) is None


def test_a_changed_byte_another_secret_and_no_signature_are_refused(case: Case) -> None:
    request = case.inbound("m1", PHONE, "hola")
    unsigned = {k: v for k, v in request.headers.items() if k != case.sender.hook.signature.lower()}
    assert not case.sender.verify(
        replace(request, body=request.body.replace(b"hola", b"Hola")), case.credentials
    )
    assert not case.sender.verify(request, dict.fromkeys(case.credentials, "another"))
    assert not case.sender.verify(request, {})
    assert not case.sender.verify(replace(request, headers=unsigned), case.credentials)


def test_the_url_counts_where_it_is_signed(case: Case) -> None:
    elsewhere = replace(case.inbound("m1", PHONE, "hola"), url="https://embudo.example/elsewhere")
    assert case.sender.verify(elsewhere, case.credentials) is not case.sender.hook.signs_url


def test_a_message_is_understood_with_its_accents_and_emoji(case: Case) -> None:
    request = case.inbound("m1", PHONE, TEXT)
    (message,) = case.sender.parse(request)
    assert isinstance(message, InboundMessage)
    assert (message.provider_id, message.kind, message.text) == ("m1", "text", TEXT)
    assert (message.user_id, message.phone) == (PHONE[1:], PHONE)
    assert message.account == case.sender.account_of(request) == case.sender.address(case.credentials)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"a": {"b": [1]}}', b"a=%ff&=", b"[" * 9000]
)
def test_nothing_that_is_signed_can_make_it_fail(case: Case, body: bytes) -> None:
    request = replace(case.inbound("m1", PHONE, "hola"), body=body)
    assert case.sender.parse(request) == []
    assert case.sender.account_of(request) is None
    case.sender.unreadable(request)
