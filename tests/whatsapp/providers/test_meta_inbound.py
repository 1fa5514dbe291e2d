"""What Meta's webhooks mean."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.whatsapp.providers import SENDERS, InboundMessage, Location, Media, Raw, StatusUpdate
from tests.fakes.meta_server import message_webhook, status_webhook, webhook

FILES: dict[str, list[dict[str, Any]]] = {
    "button_reply.json": [{"kind": "choice", "text": "Yes", "choice_id": "id_button_reply"}],
    "duplicate.json": [{"kind": "text", "text": "Hello World"}] * 2,
    "error_status.json": [
        {
            "status": "failed",
            "error_code": "131014",
            "error": "Request for url https://URL.jpg failed with error: 404 (Not Found)",
            "retryable": False,
        }
    ],
    "group_message.json": [{"kind": "text", "text": "Hello World, group message", "group": True}],
    "hello.json": [
        {"kind": "text", "text": "Hello World", "user_id": "5678", "phone": "+5678", "group": False}
    ],
    "hello_from_bsuid.json": [{"kind": "text", "text": "Hello World", "user_id": "US.1234", "phone": None}],
    "ignore_status.json": [{"status": "deleted", "error_code": None}],
    "image.json": [
        {
            "kind": "image",
            "text": "Check out my new phone!",
            "media": (
                Media(
                    id="id_image",
                    mime="image/jpeg",
                    caption="Check out my new phone!",
                    sha256="29ed500fa64eb55fc19dc4124acb300e5dcc54a0f822a301ae99944db",
                ),
            ),
        }
    ],
    "list_reply.json": [{"kind": "choice", "text": "Yes", "choice_id": "id_list_reply"}],
    "location.json": [
        {
            "kind": "location",
            "location": Location(
                latitude=0.0,
                longitude=1.0,
                name="Main Street Beach",
                address="Main Street Beach, Santa Cruz, CA",
            ),
        }
    ],
    "nfm_reply.json": [
        {
            "kind": "text",
            "text": "Sent",
            "form": {"flow_token": "fl0w+t0k3n", "first_name": "Bob", "age": "32"},
        }
    ],
    "valid_status.json": [{"status": "sent", "error": None}],
}


def read(payload: Any) -> list[InboundMessage | StatusUpdate]:
    """What the adapter makes of a body."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return SENDERS["meta"].parse(Raw(url="", method="POST", headers={}, body=body))


def message(**parts: Any) -> InboundMessage:
    """The one message of a webhook whose message has these parts."""
    [found] = read(message_webhook("wamid.1", "34600123456", "", **parts))
    assert isinstance(found, InboundMessage)
    return found


def shown(found: object, names: Any) -> dict[str, Any]:
    """The named fields."""
    return {name: getattr(found, name) for name in names}


def test_every_real_webhook_has_its_expected_meaning(shared: Path) -> None:
    folder = shared / "data" / "meta-webhooks"
    assert {p.name for p in folder.glob("*.json")} == set(FILES)
    for name, expected in FILES.items():
        found = read((folder / name).read_bytes())
        assert [shown(f, e) for f, e in zip(found, expected, strict=True)] == expected, name
        for item in found:
            assert (item.provider_id, item.account) == ("external_id", "1234567890")
            assert item.at == datetime(2016, 1, 30, 1, 57, 9, tzinfo=UTC)
            assert item.raw["id"] == "external_id"
            assert not isinstance(item, InboundMessage) or item.name == "Kerry Fisher"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"type": "button", "button": {"text": "Sí", "payload": "yes"}}, ("choice", "Sí", "yes")),
        ({"type": "button", "button": {"text": "Sí"}}, ("choice", "Sí", None)),
        ({"type": "voice", "voice": {"id": "1", "mime_type": "audio/ogg; codecs=opus"}}, ("audio", "", None)),
        ({"type": "sticker", "sticker": {"id": "1"}}, ("sticker", "", None)),
        ({"type": "contacts", "contacts": [{"name": {"formatted_name": "Ana"}}]}, ("contacts", "", None)),
        ({"type": "reaction", "reaction": {"message_id": "w", "emoji": "👍🏽"}}, ("reaction", "👍🏽", None)),
        ({"type": "reaction", "reaction": {"message_id": "w"}}, ("reaction", "", None)),
        (
            {"type": "system", "system": {"body": "Ana changed", "wa_id": "2"}},
            ("system", "Ana changed", None),
        ),
        ({"type": "unsupported", "errors": [{"code": 131051}]}, ("unsupported", "", None)),
        ({"type": "order", "order": {"catalog_id": "1"}}, ("unknown", "", None)),
        ({"type": "hologram"}, ("unknown", "", None)),
        ({"type": None}, ("unknown", "", None)),
        ({"type": "interactive", "interactive": {"type": "new_reply"}}, ("unknown", "", None)),
        ({"type": "interactive", "interactive": 7}, ("unknown", "", None)),
        ({"type": "text", "text": "not an object"}, ("text", "", None)),
        ({"type": "text", "text": {"body": "a\x00b\ud83d"}}, ("text", "a\ufffdb\ufffd", None)),
    ],
)
def test_a_message_means(parts: dict[str, Any], expected: tuple[str, str, str | None]) -> None:
    found = message(**parts)
    assert (found.kind, found.text, found.choice_id) == expected


def test_an_answer_and_a_reaction_say_to_which_message() -> None:
    assert message(context={"id": "wamid.0", "from": "1"}).reply_to == "wamid.0"
    assert message(type="reaction", reaction={"message_id": "wamid.7", "emoji": "x"}).reply_to == "wamid.7"


def test_a_form_whose_answers_are_no_object_is_empty() -> None:
    for answers in ("[1]", "{", None, 3):
        reply = {"type": "nfm_reply", "nfm_reply": {"body": "Sent", "response_json": answers}}
        assert message(type="interactive", interactive=reply).form == {}


def test_a_user_with_both_ids_is_known_by_the_scoped_one_and_found_by_either() -> None:
    found = message(from_user_id="US.9")
    assert (found.user_id, found.phone, found.identities) == ("US.9", "+34600123456", ("US.9", "34600123456"))


def test_the_scoped_id_may_stand_in_the_contact_only() -> None:
    payload = message_webhook("wamid.1", "34600123456", "Hola")
    payload["entry"][0]["changes"][0]["value"]["contacts"][0]["user_id"] = "US.9"
    [found] = read(payload)
    assert isinstance(found, InboundMessage)
    assert found.user_id == "US.9"


def test_names_go_to_their_own_senders() -> None:
    contacts = [{"wa_id": "2", "profile": {"name": "Berta"}}, {"user_id": "US.1", "profile": {"name": "Ana"}}]
    messages = [
        {"id": "a", "from_user_id": "US.1", "type": "text", "text": {"body": "1"}},
        {"id": "b", "from": "2", "type": "text", "text": {"body": "2"}},
        {"id": "c", "from": "3", "type": "text", "text": {"body": "3"}},
    ]
    found = read(webhook(messages=messages, contacts=contacts))
    assert [m.name for m in found if isinstance(m, InboundMessage)] == ["Ana", "Berta", None]


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("1795000000", datetime(2026, 11, 18, 11, 6, 40, tzinfo=UTC)),
        (1795000000, datetime(2026, 11, 18, 11, 6, 40, tzinfo=UTC)),
        ("1795000000000", datetime(2026, 11, 18, 11, 6, 40, tzinfo=UTC)),
    ],
)
def test_times_come_in_seconds_or_milliseconds(stamp: object, expected: datetime) -> None:
    assert message(timestamp=stamp).at == expected


@pytest.mark.parametrize("stamp", [None, "", "soon", "1e999", "-5", True, [], "nan"])
def test_a_time_without_sense_is_now(stamp: object) -> None:
    at = message(timestamp=stamp).at
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60


def test_several_entries_changes_messages_and_statuses_keep_their_order() -> None:
    first = message_webhook("1", "34600123456", "a")
    first["entry"] += message_webhook("2", "34600123456", "b")["entry"]
    first["entry"][0]["changes"] += status_webhook("3", "read", "34600123456")["entry"][0]["changes"]
    assert [item.provider_id for item in read(first)] == ["1", "3", "2"]


def test_a_status_brings_our_reference_back() -> None:
    [found] = read(status_webhook("wamid.1", "delivered", "34600123456", reference="ours"))
    assert isinstance(found, StatusUpdate)
    assert (found.status, found.reference, found.provider_id) == ("delivered", "ours", "wamid.1")


@pytest.mark.parametrize(
    ("code", "retryable"), [(131056, True), (130429, True), (131000, True), (131047, False), (131026, False)]
)
def test_a_failure_says_whether_it_may_be_tried_again(code: int, retryable: bool) -> None:
    error = {"code": code, "title": "t", "message": "m", "error_data": {"details": "Why"}}
    [found] = read(status_webhook("wamid.1", "failed", "34600123456", errors=[error]))
    assert isinstance(found, StatusUpdate)
    assert (found.error_code, found.error, found.retryable) == (str(code), "Why", retryable)


def test_a_played_voice_note_was_read() -> None:
    [found] = read(status_webhook("wamid.1", "played", "34600123456"))
    assert isinstance(found, StatusUpdate)
    assert found.status == "read"


@pytest.mark.parametrize(
    "payload",
    [
        {},
        [],
        None,
        b"",
        b"\xff",
        b"{",
        b"[" * 100_000,
        b'{"entry": ' + b"9" * 5000 + b"}",
        {
            "entry": [
                {"changes": [{"field": "account_update", "value": {"messages": [{"id": "1", "from": "2"}]}}]}
            ]
        },
        status_webhook("wamid.1", "thinking", "34600123456"),
        webhook(messages=[{"id": "1", "type": "text"}]),
        webhook(messages=[{"from": "1", "type": "text"}]),
        webhook(statuses=[{"status": "sent"}]),
    ],
)
def test_what_is_no_message_and_no_status_is_left_out(payload: Any) -> None:
    assert read(payload) == []


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
    max_leaves=6,
)
WORDS = st.sampled_from([
    "id", "from", "from_user_id", "type", "timestamp", "text", "body", "interactive", "button_reply", "nfm_reply",
    "response_json", "context", "location", "latitude", "longitude", "image", "status", "errors", "code", "profile",
    "wa_id", "user_id", "reaction", "group_id", "error_data",
])  # fmt: skip
SHAPED = st.recursive(
    LEAVES | WORDS,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(WORDS, v, max_size=6),
    max_leaves=15,
)


@given(messages=SHAPED, statuses=SHAPED, contacts=SHAPED)
def test_no_json_makes_it_raise_and_what_it_gives_can_be_stored(
    messages: Any, statuses: Any, contacts: Any
) -> None:
    value = {
        "metadata": {"phone_number_id": "1"},
        "messages": messages,
        "statuses": statuses,
        "contacts": contacts,
    }
    for wrapped in (value, value | {"messages": [messages], "statuses": [statuses], "contacts": [contacts]}):
        for item in read({"entry": [{"changes": [{"value": wrapped}]}]}):
            assert "\x00" not in json.dumps(item.raw, allow_nan=False, ensure_ascii=False)
            json.dumps(item.raw, ensure_ascii=False).encode()


@given(VALUES)
def test_no_json_at_all_makes_it_raise(payload: Any) -> None:
    assert isinstance(read(payload), list)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(body: bytes) -> None:
    assert read(body) == []
