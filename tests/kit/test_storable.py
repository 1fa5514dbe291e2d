"""What strangers write can be stored everywhere."""

from __future__ import annotations

from app.kit.storable import storable, storable_json


def test_what_a_database_or_utf8_refuses_is_left_out_and_lines_stay() -> None:
    assert storable("a\x00b\ud83d\n\tc") == "ab\n\tc"
    assert storable("\U0001f44b") == "\U0001f44b"


def test_json_values_become_storable_at_every_depth() -> None:
    assert storable_json({"a\x00": ["b\x00", {"c": 1}], "d": None}) == {
        "a": ["b", {"c": 1}],
        "d": None,
    }
