"""Three-way merge: a table of cases, and what must hold whatever the values are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.leads.mapping import Policy, differs, merge

EARLY = datetime(2026, 11, 1, tzinfo=UTC)
LATE = EARLY + timedelta(hours=1)

CASES: list[tuple[str, Any, str, str, dict[str, Any], str]] = [
    ("nobody changed anything", ["a", "a"], "a", "a", {}, "-"),
    ("we changed it", ["a", "a"], "b", "a", {}, "push"),
    ("they changed it", ["a", "a"], "a", "b", {}, "pull"),
    ("both made the same of it", ["a", "a"], "b", "b", {}, "-"),
    ("the echo of our write", ["b", "b"], "b", "b", {}, "-"),
    ("a column that rewords what it gets", ["+34600", "600"], "+34600", "600", {}, "-"),
    ("we changed it where the column rewords", ["+34600", "600"], "+34700", "600", {}, "push"),
    ("we cleared it", ["a", "a"], "", "a", {}, "push"),
    ("they cleared it", ["a", "a"], "a", "", {}, "pull"),
    ("first meeting, only we have one", None, "a", "", {}, "push"),
    ("first meeting, only they have one", None, "", "a", {}, "pull"),
    ("first meeting, two values", None, "a", "b", {}, "conflict pull"),
    (
        "both, ours later",
        ["a", "a"],
        "b",
        "c",
        {"ours_at": {"f": LATE}, "theirs_at": {"f": EARLY}},
        "conflict push",
    ),
    (
        "both, theirs later",
        ["a", "a"],
        "b",
        "c",
        {"ours_at": {"f": EARLY}, "theirs_at": {"f": LATE}},
        "conflict pull",
    ),
    ("both, ours known, theirs not", ["a", "a"], "b", "c", {"ours_at": {"f": EARLY}}, "conflict push"),
    (
        "both at once",
        ["a", "a"],
        "b",
        "c",
        {"ours_at": {"f": EARLY}, "theirs_at": {"f": EARLY}},
        "conflict pull",
    ),
    ("both, always ours", ["a", "a"], "b", "c", {"conflict": "ours"}, "conflict push"),
    (
        "both, always Airtable",
        ["a", "a"],
        "b",
        "c",
        {"conflict": "airtable", "ours_at": {"f": LATE}},
        "conflict pull",
    ),
    ("only outwards, they changed it", ["a", "a"], "a", "b", {"inward": frozenset()}, "-"),
    ("only outwards, both changed it", ["a", "a"], "b", "c", {"inward": frozenset()}, "push"),
    ("only inwards, we changed it", ["a", "a"], "b", "a", {"outward": frozenset()}, "-"),
    ("only inwards, both changed it", ["a", "a"], "b", "c", {"outward": frozenset()}, "pull"),
    ("line ends say nothing", ["a\nb", "a\nb"], "a\nb", "a\r\nb ", {}, "-"),
]


@pytest.mark.parametrize(("shadow", "ours", "theirs", "policy", "expected"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
def test_case(shadow: Any, ours: str, theirs: str, policy: dict[str, Any], expected: str) -> None:
    result = merge({} if shadow is None else {"f": shadow}, {"f": ours}, {"f": theirs}, Policy(**policy))
    assert result.push == ({"f": ours} if "push" in expected else {})
    assert result.pull == ({"f": theirs} if "pull" in expected else {})
    assert bool(result.conflicts) is ("conflict" in expected)


def test_a_field_that_one_side_does_not_tell_is_left_alone() -> None:
    result = merge({"f": ["a", "a"]}, {"f": "b"}, {}, Policy())
    assert (result.push, result.pull, result.new_shadow) == ({}, {}, {"f": ["a", "a"]})


def test_a_conflict_tells_everything_that_a_person_needs() -> None:
    clash = merge({"f": ["a", "a"]}, {"f": "b"}, {"f": "c"}, Policy(conflict="ours")).conflicts[0]
    assert (clash.field, clash.base, clash.ours, clash.theirs, clash.winner) == ("f", "a", "b", "c", "ours")


VALUE = st.one_of(
    st.none(),
    st.sampled_from(["", "a", "b", "c"]),
    st.booleans(),
    st.lists(st.sampled_from(["a", "b"]), max_size=2),
)
FIELDS = st.dictionaries(st.sampled_from(["f", "g", "h"]), VALUE)
SHADOW = st.dictionaries(st.sampled_from(["f", "g", "h"]), st.lists(VALUE, min_size=2, max_size=2))
TIMES = st.dictionaries(st.sampled_from(["f", "g", "h"]), st.sampled_from([EARLY, LATE]))


def swapped(shadow: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: [theirs, ours] for name, (ours, theirs) in shadow.items()}


@given(shadow=SHADOW, local=FIELDS, remote=FIELDS, ours_at=TIMES, theirs_at=TIMES)
def test_the_sides_are_treated_alike(
    shadow: Any, local: Any, remote: Any, ours_at: Any, theirs_at: Any
) -> None:
    """Swapping the sides swaps what is pushed and pulled; only a tie of times is Airtable's."""
    for name in ("f", "g", "h"):
        if ours_at.get(name) == theirs_at.get(name):
            ours_at = {**ours_at, name: LATE}
            theirs_at = {**theirs_at, name: EARLY}
    one = merge(shadow, local, remote, Policy(ours_at=ours_at, theirs_at=theirs_at))
    other = merge(swapped(shadow), remote, local, Policy(ours_at=theirs_at, theirs_at=ours_at))
    assert one.push == other.pull
    assert one.pull == other.push
    assert {clash.field for clash in one.conflicts} == {clash.field for clash in other.conflicts}


@given(shadow=SHADOW, local=FIELDS, remote=FIELDS, ours_at=TIMES, theirs_at=TIMES,
       conflict=st.sampled_from(["newest", "ours", "airtable"]))  # fmt: skip
def test_after_a_merge_there_is_nothing_left_to_do(
    shadow: Any, local: Any, remote: Any, ours_at: Any, theirs_at: Any, conflict: str
) -> None:
    policy = Policy(conflict=conflict, ours_at=ours_at, theirs_at=theirs_at)
    first = merge(shadow, local, remote, policy)
    second = merge(first.new_shadow, {**local, **first.pull}, {**remote, **first.push}, policy)
    assert (second.push, second.pull, second.conflicts) == ({}, {}, ())
    assert second.new_shadow == {**first.new_shadow}


@given(shadow=SHADOW, local=FIELDS)
def test_an_echo_never_pushes_and_never_pulls(shadow: Any, local: Any) -> None:
    """What Airtable has is what it had when we last agreed, and so have we."""
    agreed = {name: [value, value] for name, value in local.items()}
    result = merge({**shadow, **agreed}, local, dict(local), Policy())
    assert (result.push, result.pull, result.conflicts) == ({}, {}, ())


@given(one=VALUE, other=VALUE)
def test_difference_has_no_direction(one: Any, other: Any) -> None:
    assert differs(one, other) is differs(other, one)
    assert not differs(one, one)
