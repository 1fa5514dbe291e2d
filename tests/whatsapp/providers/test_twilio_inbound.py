"""What Twilio's webhooks mean."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.whatsapp.providers import SENDERS, InboundMessage, Location, Raw, StatusUpdate
from tests.fakes.loopback import Received
from tests.fakes.twilio_server import message_form, status_form
from tests.whatsapp.providers.cases import Case, outgoing

MEDIA = "https://api.twilio.com/2010-04-01/Accounts/AC0/Messages/MM0/Media/ME0"


def read(form: dict[str, str] | bytes, url: str = "https://x/message") -> list[InboundMessage | StatusUpdate]:
    """What the adapter makes of a form."""
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return SENDERS["twilio"].parse(Raw(url=url, method="POST", headers=headers, body=body))


def message(text: str = "", sender: str = "+34600123456", **fields: str) -> InboundMessage:
    """The one message of a form."""
    [found] = read(message_form("SM1", sender, text, **fields))
    assert isinstance(found, InboundMessage)
    return found


def status(told: str, url: str = "https://x/message", **fields: str) -> StatusUpdate:
    """The one status update of a form."""
    [found] = read(status_form("SM1", told, "+34600123456", **fields), url)
    assert isinstance(found, StatusUpdate)
    return found


def test_a_text_keeps_its_accents_emoji_and_white_space() -> None:
    found = message(" ¡Ñandú! 👨‍👩‍👧 1+1=2 & más\n ")
    assert (found.kind, found.text) == ("text", " ¡Ñandú! 👨‍👩‍👧 1+1=2 & más\n ")
    assert (found.provider_id, found.account, found.name) == ("SM1", "+14155238886", "Íñigo Núñez")
    assert (found.user_id, found.phone) == ("34600123456", "+34600123456")
    assert found.raw["ApiVersion"] == "2010-04-01"
    assert abs((datetime.now(UTC) - found.at).total_seconds()) < 60


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"ButtonText": "Sí", "ButtonPayload": "yes", "MessageType": "button"}, ("choice", "Sí", "yes")),
        ({"ListId": "row-1", "ListTitle": "Uno", "MessageType": "interactive"}, ("choice", "Uno", "row-1")),
        ({"ButtonText": "Sí", "MessageType": "button"}, ("choice", "Sí", None)),
        ({"MessageType": "button"}, ("choice", "Body", None)),
        ({"MessageType": "contacts"}, ("contacts", "Body", None)),
        ({"MessageType": "sticker"}, ("sticker", "Body", None)),
        ({"MessageType": "unsupported"}, ("unsupported", "Body", None)),
        ({"MessageType": "hologram"}, ("unknown", "Body", None)),
        ({"MessageType": ""}, ("text", "Body", None)),
        ({"MessageType": "text", "Colour": "red"}, ("text", "Body", None)),
    ],
)
def test_a_message_means(fields: dict[str, str], expected: tuple[str, str, str | None]) -> None:
    found = message("Body", **fields)
    assert (found.kind, found.text, found.choice_id) == expected


@pytest.mark.parametrize(
    ("mime", "kind"),
    [
        ("image/jpeg", "image"),
        ("image/webp", "sticker"),
        ("audio/ogg; codecs=opus", "audio"),
        ("video/mp4", "video"),
        ("application/pdf", "document"),
        ("text/vcard", "contacts"),
        ("", "document"),
    ],
)
def test_a_file_tells_its_kind_when_the_form_does_not(mime: str, kind: str) -> None:
    fields = {"NumMedia": "1", "MediaUrl0": MEDIA, "MediaContentType0": mime, "MessageType": ""}
    found = message("Mi foto", **fields)
    assert (found.kind, found.text) == (kind, "Mi foto")
    assert [(m.url, m.mime, m.caption) for m in found.media] == [
        (MEDIA, mime.split(";", maxsplit=1)[0], "Mi foto")
    ]


def test_several_files_come_in_order() -> None:
    fields = {"NumMedia": "2", "MediaUrl0": "a", "MediaUrl1": "b", "MessageType": "image"}
    assert [m.url for m in message(**fields).media] == ["a", "b"]


@pytest.mark.parametrize("count", ["-1", "x", "", "9" * 5000, "10"])
def test_a_wrong_count_of_files_harms_nothing(count: str) -> None:
    assert message("Hola", NumMedia=count).text == "Hola"


def test_a_location_has_its_place_and_name() -> None:
    fields = {"Latitude": "40.4168", "Longitude": "-3.7038", "Label": "Sol", "Address": "Madrid"}
    found = message(MessageType="location", **fields)
    assert found.kind == "location"
    assert found.location == Location(latitude=40.4168, longitude=-3.7038, name="Sol", address="Madrid")


@pytest.mark.parametrize("latitude", ["north", "nan", "91", "", "1e999"])
def test_a_place_off_the_globe_is_none(latitude: str) -> None:
    assert message(MessageType="location", Latitude=latitude, Longitude="1").location is None


def test_a_user_without_a_phone_number_is_known_by_the_scoped_id() -> None:
    found = message("Hola", "US.13491208655302741918")
    assert (found.user_id, found.phone) == ("US.13491208655302741918", None)


def test_a_user_with_both_ids_is_found_by_either() -> None:
    found = message("Hola", ExternalUserId="US.9")
    assert (found.user_id, found.phone) == ("US.9", "+34600123456")
    assert found.identities == ("US.9", "34600123456")


def test_a_scoped_id_in_waid_is_no_phone_number() -> None:
    assert message("Hola", "US.9", WaId="US.9").phone is None


def test_an_answer_says_to_which_message() -> None:
    assert message("Sí", OriginalRepliedMessageSid="SM0").reply_to == "SM0"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("queued", "queued"),
        ("sending", "queued"),
        ("sent", "sent"),
        ("delivered", "delivered"),
        ("read", "read"),
        ("READ", "read"),
        ("undelivered", "failed"),
        ("failed", "failed"),
    ],
)
def test_a_status_means(told: str, expected: str) -> None:
    found = status(told)
    assert (found.status, found.provider_id, found.account) == (expected, "SM1", "+14155238886")
    assert (found.reference, found.error_code, found.retryable) == (None, None, False)


@pytest.mark.parametrize(
    ("code", "retryable"), [("63018", True), ("63012", True), ("63016", False), ("0", False)]
)
def test_a_failure_says_whether_it_may_be_tried_again(code: str, retryable: bool) -> None:
    found = status("undelivered", ErrorCode=code, ErrorMessage="", ChannelStatusMessage="Why")
    assert (found.error_code, found.error) == (code if code != "0" else None, "Why")
    assert found.retryable is retryable


def test_our_reference_comes_back_in_the_status_url(twilio: Case) -> None:
    url = "https://embudo.example/message?channel=7#rc=3"
    sent = outgoing(callback_url=url)
    twilio.sender.send(sent, twilio.credentials)
    [request] = twilio.server.requests
    assert isinstance(request, Received)
    callback = request.form["StatusCallback"]
    assert callback.startswith("https://embudo.example/message?channel=7&")
    assert callback.endswith("#rc=3")
    assert status("sent", callback.partition("#")[0]).reference == sent.reference


@pytest.mark.parametrize("url", ["", "http://[", "https://x/?reference=", "https://x/?other=1"])
def test_a_status_url_without_a_reference_gives_none(url: str) -> None:
    assert status("sent", url).reference is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        b"",
        b"\xff",
        b"&&=",
        b"a=1&" * 5000,
        {"Body": "Hola", "From": "whatsapp:+1"},
        {"MessageSid": "SM1", "Body": "Hola"},
        status_form("SM1", "thinking", "+34600123456"),
    ],
)
def test_what_is_no_message_and_no_status_is_left_out(body: dict[str, str] | bytes) -> None:
    assert read(body) == []


def test_json_with_the_same_names_is_read_too() -> None:
    body = json.dumps(message_form("SM1", "+34600123456", "Hola")).encode()
    raw = Raw(url="", method="POST", headers={"content-type": "application/json"}, body=body)
    [found] = SENDERS["twilio"].parse(raw)
    assert isinstance(found, InboundMessage)
    assert found.text == "Hola"


NAMES = sorted({
    *message_form("", "+1", ""), "MessageStatus", "ErrorCode", "ListId", "ListTitle", "ButtonPayload", "ButtonText",
    "ExternalUserId", "Latitude", "Longitude", "MediaUrl0", "MediaContentType0",
})  # fmt: skip


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=8)), st.booleans())
def test_no_form_makes_it_raise_and_what_it_gives_can_be_stored(form: dict[str, str], as_json: bool) -> None:
    if as_json:
        raw = Raw(
            url="",
            method="POST",
            headers={"content-type": "application/json"},
            body=json.dumps(form).encode(),
        )
        found = SENDERS["twilio"].parse(raw)
    else:
        found = read(form)
    for item in found:
        assert "\x00" not in "".join(item.raw.values())
        json.dumps(item.raw, ensure_ascii=False).encode()


@given(
    st.binary(max_size=200), st.sampled_from(["", "application/json", "application/x-www-form-urlencoded"])
)
def test_no_bytes_make_it_raise(body: bytes, media: str) -> None:
    raw = Raw(url="", method="POST", headers={"content-type": media}, body=body)
    assert isinstance(SENDERS["twilio"].parse(raw), list)
    assert not SENDERS["twilio"].verify(raw, {"auth_token": "x"})
    account = SENDERS["twilio"].account_of(replace(raw, body=b"To=" + body))
    assert account is None or (account.strip() and "\x00" not in account), "never blank, and fit for a query"


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v))
)
def test_no_json_makes_it_raise(payload: Any) -> None:
    headers = {"content-type": "application/json"}
    raw = Raw(url="", method="POST", headers=headers, body=json.dumps(payload).encode())
    assert isinstance(SENDERS["twilio"].parse(raw), list)
