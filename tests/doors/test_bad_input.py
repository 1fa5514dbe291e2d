"""Whatever is sent, the answer names what is wrong, nothing is stored and nothing breaks: asked of every operation."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from app.kit.rest import encode_cursor
from tests.doors.interface import UNKNOWN_ID, Door, doors, refusal

Stored = Callable[[], dict[str, int]]

UUID = UNKNOWN_ID

WRONG_TYPES: tuple[Any, ...] = (7, 1.5, True, "text", [], [[1]], {}, {"a": {"b": 1}})


class Sender:
    """Sends a body to a door that is otherwise right: a valid key, things that are there, If-Match."""

    def __init__(self, key: Any, ids: dict[str, str]) -> None:
        self.key = key
        self.ids = ids

    def __call__(
        self, door: Door, data: bytes, media: str | None = "application/json", **headers: str
    ) -> Any:
        sent = {"If-Match": "*", **headers}
        if media is not None:
            sent["Content-Type"] = media
        return self.key.open(door.at(self.ids), method=door.method, data=data, headers=sent)

    def json(self, door: Door, body: Any) -> Any:
        """A body as JSON."""
        return self(door, json.dumps(body).encode())


@pytest.fixture
def send(
    app: Flask, api: Callable[..., Any], known_ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Sender:
    """Ask as somebody who may everything and is never too fast."""
    monkeypatch.setitem(app.config, "API_BURST", 1e9)
    return Sender(api(), known_ids)


@pytest.fixture
def with_body(app: Flask) -> list[Door]:
    """Operations that take a body."""
    found = [door for door in doors(app) if door.example is not None]
    assert len(found) > 10
    return found


NO_JSON = {
    "nothing": b"",
    "cut": b"{",
    "a gap": b'{"name": }',
    "no text": b"\xff\xfe",
    "NaN": b'{"name": NaN}',
    "Infinity": b'{"name": Infinity}',
    "single quotes": b"{'name': 1}",
    "more behind it": b'{"a":1} x',
    "half an emoji": b'{"name": "\\ud800"}',
    "half an emoji, raw": b'{"name": "\xed\xa0\x80"}',
    "brackets without end": b"[" * 100_000,
    "braces without end": b'{"a":' * 10_000,
}


def test_what_is_no_json_is_refused(send: Sender, with_body: list[Door], stored: Stored) -> None:
    before = stored()
    for door in with_body:
        for name, data in NO_JSON.items():
            assert "JSON" in refusal(send(door, data), 400)["detail"], (door, name)
    assert stored() == before


def test_another_content_type_is_refused(send: Sender, with_body: list[Door], stored: Stored) -> None:
    before = stored()
    form = "application/x-www-form-urlencoded"
    for door in with_body:
        for media in (None, "text/plain", form, "multipart/form-data; boundary=x", "json", ""):
            refusal(send(door, json.dumps(door.example).encode(), media), 415)
    assert stored() == before


def test_json_that_is_no_object_is_refused(send: Sender, with_body: list[Door], stored: Stored) -> None:
    before = stored()
    for door in with_body:
        for body in (None, 7, "text", True, [], [{"name": "Ana"}]):
            assert refusal(send.json(door, body), 422)["errors"], door
    assert stored() == before


def test_unknown_fields_are_named_all_of_them(send: Sender, with_body: list[Door], stored: Stored) -> None:
    before = stored()
    for door in with_body:
        problems = refusal(send.json(door, {**door.example, "nmae": 1, "emial": 2, "a/b~c": 3}), 422)[
            "errors"
        ]
        assert {"/nmae", "/emial"} <= {item["where"] for item in problems}, door
        assert all(item["code"] and item["message"] for item in problems), door
    assert stored() == before


def test_values_of_a_wrong_type_are_refused_and_named(
    send: Sender, with_body: list[Door], stored: Stored
) -> None:
    before = stored()
    for door in with_body:
        for name, schema in door.properties.items():
            for value in WRONG_TYPES:
                if _fits(schema, value):
                    continue
                problems = refusal(send.json(door, {**door.example, name: value}), 422)["errors"]
                assert any(item["where"].startswith(f"/{name}") for item in problems), (door, name, value)
    assert stored() == before


def _fits(schema: Any, value: Any) -> bool:
    options = schema.get("anyOf", [schema])
    kinds: set[str] = set()
    for option in options:
        kind = option.get("type", "any")
        kinds |= {kind} if isinstance(kind, str) else set(kind)
    mine = {
        bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object",
    }[type(value)]  # fmt: skip
    # An empty list or object, a text, may be wrong for other reasons, or right; tests of the service know.
    return "any" in kinds or mine in kinds or (mine == "integer" and "number" in kinds)


def test_every_problem_is_told_at_once(send: Sender, app: Flask, stored: Stored) -> None:
    before = stored()
    wanted = {
        "POST /leads": {"email": "x", "phone": "12", "stage": "nowhere", "amount": "much", "owner_id": 0},
        "POST /email": {"to": "x", "template": 7, "language": 1},
        "POST /webhooks": {"url": "nonsense", "events": ["no.such"]},
        "POST /start": {"to": "12", "channel_id": "x", "flow": "no such"},
    }
    for door in doors(app):
        if str(door) in wanted:
            body = wanted.pop(str(door))
            found = {item["where"].split("/")[1] for item in refusal(send.json(door, body), 422)["errors"]}
            assert found >= set(body), door
    assert wanted == {}
    assert stored() == before


def test_deep_nesting_is_refused(send: Sender, with_body: list[Door], stored: Stored) -> None:
    before = stored()
    for levels in (60, 200, 2000):
        nested = '{"a":[' * (levels // 2) + '"bottom"' + "]}" * (levels // 2)
        for door in with_body:
            for name in door.properties:
                body = json.dumps({**door.example, name: "@@"}).replace('"@@"', nested)
                refusal(send(door, body.encode()), 400)
    assert stored() == before


def test_nul_and_odd_characters_never_break_a_door(send: Sender, with_body: list[Door]) -> None:
    for door in with_body:
        for name, schema in door.properties.items():
            for text in (
                "\x00",
                "a\x00b",
                "\ufffe\uffff",
                "\u202e\u200b",
                "'; DROP TABLE x; --",
                "{{",
                "{% for %}",
            ):
                answer = send.json(door, {**door.example, name: text})
                assert answer.status_code < 500, (door, name, text, answer.text)
                if "\x00" in text and schema.get("type") != "object":
                    assert answer.status_code in (201, 202, 422) or name == "document", (door, name)
                    assert "\\u0000" not in answer.text or answer.status_code == 422, (door, name)


def test_large_bodies_are_refused_before_they_are_read(
    send: Sender, with_body: list[Door], stored: Stored
) -> None:
    before = stored()
    for door in with_body:
        refusal(send(door, b'{"name": "' + b"x" * 10_000_000 + b'"}'), 413)
    for door in doors(send.key.client.application):
        if door.method == "POST" and door.example is None:
            refusal(send(door, b"x" * 10_000_000, **{"Idempotency-Key": "large"}), 413)
    assert stored() == before


def test_numbers_beyond_all_bounds_never_break_a_door(send: Sender, with_body: list[Door]) -> None:
    for door in with_body:
        for name in door.properties:
            for number in ("1e400", "1" * 400, "-1" + "0" * 30, "1e-400", "9007199254740993"):
                body = json.dumps({**door.example, name: "@@"}).replace('"@@"', number)
                answer = send(door, body.encode())
                assert answer.status_code < 500, (door, name, number, answer.text)
                if answer.status_code >= 400:
                    refusal(answer, 400, 409, 422)  # 409: the example's telephone is a lead's by now


NO_IDS = (
    "nonsense", "0", "-1", "%00", "a%00b", "..%2f..%2fetc%2fpasswd", UUID, UUID.upper().replace("-", ""),
    "%F0%9F%98%80", "%ff", "x" * 3000, "1%20OR%201=1", "99999999999999999999",
)  # fmt: skip


def test_ids_of_nothing_are_not_found(send: Sender, app: Flask, stored: Stored) -> None:
    before = stored()
    for door in doors(app):
        if str(door) == "DELETE /simulations/{session_id}":
            continue  # forgetting what is not there is no mistake
        for name in door.at_names():
            for wrong in NO_IDS:
                path = door.at({**send.ids, name: wrong})
                answer = send.key.open(path, method=door.method, json=door.example, headers={"If-Match": "*"})
                refusal(answer, 404)
    assert stored() == before


def test_ids_of_another_kind_are_not_found(send: Sender, app: Flask, stored: Stored) -> None:
    before = stored()
    kinds = {"lead_id", "flow_id", "conversation_id", "message_id", "endpoint_id", "delivery_id", "chat_id"}
    same = {"run_id": "conversation_id"}
    for door in doors(app):
        if str(door) == "DELETE /simulations/{session_id}":
            continue
        for name in door.at_names():
            for other in kinds - {name, same.get(name)}:
                path = door.at({**send.ids, name: send.ids[other]})
                answer = send.key.open(path, method=door.method, json=door.example, headers={"If-Match": "*"})
                refusal(answer, 404)
    assert stored() == before


def test_limits_and_unknown_parameters_of_lists_are_refused(send: Sender, app: Flask) -> None:
    for door in doors(app):
        if "limit" not in door.query:
            continue
        for wrong in ("0", "-1", "1000", "101", "abc", "1e99", "", "9" * 30, "1.5", "\x00"):
            problems = refusal(send.key.get(door.at(send.ids), query_string={"limit": wrong}), 422)["errors"]
            assert [item["where"] for item in problems] == ["/limit"], (door, wrong)
        problems = refusal(send.key.get(door.at(send.ids), query_string={"lmit": "1", "x": "2"}), 422)[
            "errors"
        ]
        assert {item["where"] for item in problems} == {"/lmit", "/x"}, door


CURSORS = [
    "nonsense", "", "=", "W10", "%%%", "é", "x" * 501, "\x00", encode_cursor(), encode_cursor(None), encode_cursor(1),
    encode_cursor([]), encode_cursor({}), encode_cursor("' OR 1=1 --"), encode_cursor({"$gt": ""}),
    encode_cursor("\x00"), encode_cursor(2**63), encode_cursor(-1), encode_cursor("a", "b"), encode_cursor(None, None),
    encode_cursor(1, 2), encode_cursor([], {}), encode_cursor("\x00", UUID), encode_cursor("-created_at", None, None),
    encode_cursor("-created_at", "x", UUID), encode_cursor("-created_at", "9999-99-99", UUID),
    encode_cursor("name", {}, []), encode_cursor("-created_at", "0001-01-01T00:00:00+23:59", UUID),
    encode_cursor("-created_at", 1e308, UUID), encode_cursor(1, 2, 3), encode_cursor(1, 2, 3, 4),
]  # fmt: skip


def test_cursors_that_were_tampered_with_never_break_a_list(send: Sender, app: Flask) -> None:
    lists = 0
    for door in doors(app):
        if "cursor" not in door.query:
            continue
        lists += 1
        for cursor in CURSORS:
            answer = send.key.get(door.at(send.ids), query_string={"cursor": cursor})
            assert answer.status_code in (200, 422), (door, cursor, answer.text)
            if answer.status_code == 422:
                assert {item["where"] for item in refusal(answer, 422)["errors"]} == {"/cursor"}, door
        for cursor in ("nonsense", "W10", "%%%", encode_cursor(1, 2, 3, 4)):
            refusal(send.key.get(door.at(send.ids), query_string={"cursor": cursor}), 422)
    assert lists > 5


def test_a_cursor_of_one_list_is_refused_by_the_others(send: Sender, app: Flask) -> None:
    send.key.post("/leads", json={"name": "Berta"})
    leads = send.key.get("/leads?limit=1").json["next"]
    assert leads
    refusal(send.key.get("/leads", query_string={"cursor": leads, "sort": "name"}), 422)
    for path in ("/webhooks", "/email", "/templates", "/conversations", "/flows"):
        refusal(send.key.get(path, query_string={"cursor": leads}), 422)


def test_a_change_needs_the_version_it_changes(send: Sender, app: Flask, stored: Stored) -> None:
    before = stored()
    for door in doors(app):
        if "428" not in door.told["responses"]:
            continue
        path = door.at(send.ids)
        refusal(send.key.open(path, method=door.method, json=door.example), 428)
        for wrong in (
            '"999"',
            '"-1"',
            '"1.0"',
            '"x"',
            '"' + "9" * 400 + '"',
            '"\u00b2"',
            '""',
            '"1", "2"',
            "nonsense",
        ):
            answer = send.key.open(path, method=door.method, json=door.example, headers={"If-Match": wrong})
            refusal(answer, 412)
        assert send.key.get(path).headers["ETag"], "each thing with If-Match shows its ETag"
    assert stored() == before


def test_query_parameters_given_twice_or_oddly_never_break_a_list(send: Sender, app: Flask) -> None:
    for door in doors(app):
        for name in door.query:
            for value in ("\x00", "😀" * 50, "x" * 5000, "-1", "'", "%", "_", "\\", "1;2", "2026-13-45", "٣"):
                answer = send.key.get(door.at(send.ids), query_string=[(name, value), (name, value)])
                assert answer.status_code in (200, 404, 422), (door, name, value, answer.text)


def test_a_request_id_of_the_caller_is_kept_only_when_it_is_harmless(send: Sender) -> None:
    for kept in ("order-4711", "A.b_c-1234"):
        assert send.key.get("/stages", headers={"X-Request-Id": kept}).headers["X-Request-Id"] == kept
    for odd in (
        "short",
        "x" * 65,
        "a b c d e f",
        '"};alert(1)//',
        "<script>alert(1)",
        "ñandú-ñandú",
        "{{7*7}}-{{7*7}}",
    ):
        shown = send.key.get("/stages", headers={"X-Request-Id": odd}).headers["X-Request-Id"]
        assert shown != odd
        assert len(shown) == 36


def test_versions_of_a_flow_are_paged(send: Sender) -> None:
    path = f"/flows/{send.ids['flow_id']}"
    for _ in range(2):
        assert send.key.post(f"{path}/publish").status_code == 201
    newest = send.key.get(f"{path}/versions?limit=2").json
    oldest = send.key.get(f"{path}/versions", query_string={"limit": 2, "cursor": newest["next"]}).json
    assert [item["number"] for item in newest["items"] + oldest["items"]] == [3, 2, 1]
    assert oldest["next"] is None
