"""Only what the provider signed, byte for byte, passes."""

from __future__ import annotations

import hashlib
import json

import pytest
from twilio.request_validator import RequestValidator

from app.whatsapp.providers import SENDERS, Raw, handshake
from tests.fakes import meta_server, twilio_server
from tests.fakes.meta_server import signed_meta
from tests.fakes.twilio_server import signed_twilio_form

URL = "https://embudo.example/message"
TWILIO = {"auth_token": twilio_server.AUTH_TOKEN}
META = {"app_secret": meta_server.APP_SECRET}
FORM = twilio_server.message_form("SM1", "+34600123456", " ¡Hola, señor! 👋🏽 & adiós=1+1 ")
WEBHOOK = meta_server.message_webhook("wamid.1", "34600123456", "¡Hola, señor! 👋🏽")


def raw(body: bytes, headers: dict[str, str], url: str = URL, method: str = "POST") -> Raw:
    """The request as the door hands it over."""
    return Raw(url=url, method=method, headers={k.lower(): v for k, v in headers.items()}, body=body)


def twilio_accepts(request: Raw, credentials: dict[str, str] = TWILIO) -> bool:
    """The verdict of the Twilio adapter."""
    return SENDERS["twilio"].verify(request, credentials)


def meta_accepts(request: Raw, credentials: dict[str, str] = META) -> bool:
    """The verdict of the Meta adapter."""
    return SENDERS["meta"].verify(request, credentials)


def test_a_form_signed_by_twilio_is_accepted() -> None:
    assert twilio_accepts(raw(*signed_twilio_form(URL, FORM)))


@pytest.mark.parametrize(
    "url", [f"{URL}?reference=a%20b&x=", "https://embudo.example:8443/message", f"{URL}/"]
)
def test_the_url_with_its_query_and_port_is_signed_too(url: str) -> None:
    assert twilio_accepts(raw(*signed_twilio_form(url, FORM), url=url))
    assert not twilio_accepts(raw(*signed_twilio_form(url, FORM), url="https://embudo.example/other"))


def test_twilio_may_sign_the_url_with_the_standard_port() -> None:
    body, headers = signed_twilio_form("https://embudo.example:443/message", FORM)
    assert twilio_accepts(raw(body, headers))


def test_one_changed_character_of_a_form_is_refused() -> None:
    body, headers = signed_twilio_form(URL, FORM)
    assert not twilio_accepts(raw(body.replace(b"Hola", b"Holi"), headers))
    assert not twilio_accepts(raw(body + b"&Extra=1", headers))
    assert not twilio_accepts(raw(body.replace(b"Body=+", b"Body="), headers))  # the white space counts
    assert not twilio_accepts(raw(b"", headers))


@pytest.mark.parametrize("signature", [None, "", "x", "ñ", "\x00"])
def test_a_missing_or_strange_signature_of_twilio_is_refused(signature: str | None) -> None:
    body, headers = signed_twilio_form(URL, FORM)
    headers.pop("X-Twilio-Signature")
    assert not twilio_accepts(raw(body, headers | ({"X-Twilio-Signature": signature} if signature else {})))


def test_another_accounts_token_is_refused() -> None:
    assert not twilio_accepts(raw(*signed_twilio_form(URL, FORM, "another token")))


@pytest.mark.parametrize("credentials", [{}, {"auth_token": ""}])
def test_without_a_secret_nothing_of_twilio_is_accepted(credentials: dict[str, str]) -> None:
    assert not twilio_accepts(raw(*signed_twilio_form(URL, FORM, "")), credentials)


def signed_json(payload: bytes, *, hashed: bytes | None = None) -> Raw:
    """A JSON webhook of Twilio: the body's hash is in the URL, the URL is signed."""
    url = f"{URL}?bodySHA256={hashlib.sha256(payload if hashed is None else hashed).hexdigest()}"
    signature = RequestValidator(twilio_server.AUTH_TOKEN).compute_signature(url, {})
    return raw(payload, {"Content-Type": "application/json", "X-Twilio-Signature": signature}, url)


def test_a_json_body_is_accepted_by_its_hash_in_the_signed_url() -> None:
    body = json.dumps({"MessageSid": "SM1", "Body": "señor"}, ensure_ascii=False).encode()
    assert twilio_accepts(signed_json(body))
    assert not twilio_accepts(signed_json(body, hashed=b"{}"))


def test_a_json_body_without_a_hash_in_the_url_is_refused() -> None:
    signature = RequestValidator(twilio_server.AUTH_TOKEN).compute_signature(URL, {})
    assert not twilio_accepts(
        raw(b"{}", {"Content-Type": "application/json", "X-Twilio-Signature": signature})
    )


def test_a_body_that_is_no_form_is_refused_though_the_url_is_signed() -> None:
    signature = RequestValidator(twilio_server.AUTH_TOKEN).compute_signature(URL, {})
    for body in (b"\xff\xfe", b"&&&"):
        assert not twilio_accepts(raw(body, {"X-Twilio-Signature": signature}))


def signed_by_shared_key(algorithm: str, secret: str) -> Raw:
    """A form signed with a shared key, as the settings header tells."""
    body, headers = signed_twilio_form(URL, FORM)
    headers["X-Twilio-Signature"] = RequestValidator(secret).compute_signature(URL, FORM, "HMAC_SHA256")
    headers["X-Twilio-Webhooks-Signature-Settings"] = f"key=webhooks_sharedkey_1,algorithm={algorithm}"
    return raw(body, headers)


def test_the_settings_header_chooses_the_shared_key_and_sha256() -> None:
    credentials = TWILIO | {"signing_secret": "shared"}
    assert twilio_accepts(signed_by_shared_key("HMAC_SHA256", "shared"), credentials)
    assert not twilio_accepts(signed_by_shared_key("HMAC_SHA256", "other"), credentials)
    assert not twilio_accepts(signed_by_shared_key("HMAC_SHA1", "shared"), credentials)
    assert not twilio_accepts(signed_by_shared_key("NONE", "shared"), credentials)


def test_a_webhook_signed_by_meta_is_accepted() -> None:
    assert meta_accepts(raw(*signed_meta(WEBHOOK)))
    assert meta_accepts(raw(*signed_meta(json.dumps(WEBHOOK, ensure_ascii=False, indent=4).encode())))


def test_the_same_json_in_other_bytes_is_refused() -> None:
    body, headers = signed_meta(WEBHOOK)
    assert not meta_accepts(raw(json.dumps(WEBHOOK, ensure_ascii=False).encode(), headers))
    assert not meta_accepts(raw(body + b" ", headers))


@pytest.mark.parametrize(
    "signature", [None, "", "sha256=", "sha256=é", "sha1=" + "0" * 40, "sha256=" + "0" * 64]
)
def test_a_missing_or_wrong_signature_of_meta_is_refused(signature: str | None) -> None:
    body, _ = signed_meta(WEBHOOK)
    assert not meta_accepts(raw(body, {"X-Hub-Signature-256": signature} if signature is not None else {}))


@pytest.mark.parametrize("credentials", [{}, {"app_secret": ""}])
def test_without_a_secret_nothing_of_meta_is_accepted(credentials: dict[str, str]) -> None:
    assert not meta_accepts(raw(*signed_meta(WEBHOOK, "")), credentials)


def test_nobody_speaks_for_the_simulator_by_http() -> None:
    assert not SENDERS["simulator"].verify(raw(*signed_meta(WEBHOOK)), META)
    assert SENDERS["simulator"].account_of(raw(*signed_meta(WEBHOOK))) is None
    assert SENDERS["simulator"].parse(raw(*signed_meta(WEBHOOK))) == []


def test_the_account_is_known_before_anything_is_verified() -> None:
    status = twilio_server.status_form("SM1", "delivered", "+34600123456")
    assert SENDERS["twilio"].account_of(raw(*signed_twilio_form(URL, FORM))) == "+14155238886"
    assert SENDERS["twilio"].account_of(raw(*signed_twilio_form(URL, status))) == "+14155238886"
    assert SENDERS["twilio"].address({"whatsapp_from": "whatsapp:+14155238886 "}) == "+14155238886"
    assert SENDERS["meta"].account_of(raw(*signed_meta(WEBHOOK))) == meta_server.PHONE_NUMBER_ID
    assert SENDERS["meta"].address({"phone_number_id": "1"}) == "1"


HANDSHAKE = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "mine"}


def test_the_handshake_answers_the_challenge_to_who_knows_the_token() -> None:
    assert handshake(HANDSHAKE, "mine") == "1158201444"


@pytest.mark.parametrize(
    "change",
    [
        {"hub.verify_token": "other"},
        {"hub.verify_token": ""},
        {"hub.verify_token": "ñ\ud800"},
        {"hub.mode": "unsubscribe"},
        {"hub.challenge": ""},
        {"hub.challenge": "x" * 10_000},
    ],
)
def test_any_other_handshake_is_refused(change: dict[str, str]) -> None:
    assert handshake(HANDSHAKE | change, "mine") is None


def test_a_channel_without_a_verify_token_shakes_no_hand() -> None:
    assert handshake(HANDSHAKE | {"hub.verify_token": ""}, "") is None
    assert handshake({}, "") is None
