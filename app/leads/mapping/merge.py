"""Three-way merge, field by field: what we have, what Airtable has, and what both last agreed on.

The agreement is a pair (our value, their value), not one value: a column may round, trim or reword what it is given,
and compared with one value such a field would be written back and forth for ever. A side has changed when it differs
from its own half of the pair; an echo of our own write differs in neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

POLICIES = ("newest", "ours", "airtable")
"""Who wins a field that both have changed: the later edit, always we, always Airtable."""

Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How to decide.

    conflict: one of POLICIES. outward, inward: fields that may be written into Airtable, taken from it (None: all).
    ours_at, theirs_at: when a side last changed a field, aware; a missing time is older than any.
    """

    conflict: str = "newest"
    outward: frozenset[str] | None = None
    inward: frozenset[str] | None = None
    ours_at: Mapping[str, datetime] = field(default_factory=dict)
    theirs_at: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Clash:
    """A field that both sides changed to different values; winner is "ours" or "airtable"."""

    field: str
    base: Any
    ours: Any
    theirs: Any
    winner: str


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """push: our values to write into Airtable. pull: their values to take over. new_shadow: the pairs that hold
    once both is done; fields that were not looked at keep theirs."""

    push: dict[str, Any]
    pull: dict[str, Any]
    conflicts: tuple[Clash, ...]
    new_shadow: dict[str, list[Any]]


def merge(shadow: Mapping[str, Any], local: Values, remote: Values, policy: Policy) -> MergeResult:
    """Decide every field that both sides have a value for.

    shadow: field → [ours, theirs] as last agreed. local, remote: values in the lead's form; a field that only one of
    them has is left alone. At a tie of times, or without any, Airtable wins: people who edit a table look at it.
    """
    push: dict[str, Any] = {}
    pull: dict[str, Any] = {}
    conflicts: list[Clash] = []
    agreed: dict[str, list[Any]] = {name: list(pair) for name, pair in shadow.items()}
    for name in local.keys() & remote.keys():
        ours, theirs = local[name], remote[name]
        pair = shadow.get(name)
        out = policy.outward is None or name in policy.outward
        in_ = policy.inward is None or name in policy.inward
        winner = _winner(name, pair, ours, theirs, out=out, in_=in_, policy=policy, conflicts=conflicts)
        if winner == "ours":
            push[name] = ours
            agreed[name] = [ours, ours]
        elif winner == "airtable":
            pull[name] = theirs
            agreed[name] = [theirs, theirs]
        elif winner == "both":
            agreed[name] = [ours, theirs]
    return MergeResult(push=push, pull=pull, conflicts=tuple(conflicts), new_shadow=agreed)


def _winner(
    name: str,
    pair: Any,
    ours: Any,
    theirs: Any,
    *,
    out: bool,
    in_: bool,
    policy: Policy,
    conflicts: list[Clash],
) -> str:
    """Ours | airtable | both (they agree, whatever they agreed on before) | neither (nothing may be done about it)."""
    if not differs(ours, theirs):
        return "both"
    if pair is None:
        we_changed, they_changed = not _empty(ours), not _empty(theirs)
        base = None
    else:
        base = pair[0]
        we_changed, they_changed = differs(ours, pair[0]), differs(theirs, pair[1])
    if we_changed and they_changed and out and in_:
        winner = _later(name, policy)
        conflicts.append(Clash(field=name, base=base, ours=ours, theirs=theirs, winner=winner))
        return winner
    if we_changed and out:
        return "ours"
    if they_changed and in_:
        return "airtable"
    return "neither"


def _later(name: str, policy: Policy) -> str:
    if policy.conflict != "newest":
        return policy.conflict
    ours, theirs = policy.ours_at.get(name), policy.theirs_at.get(name)
    return "ours" if ours is not None and (theirs is None or ours > theirs) else "airtable"


def differs(one: Any, other: Any) -> bool:
    """Whether two values are different to a person: empty is empty, the order of a list says nothing."""
    if _empty(one) and _empty(other):
        return False
    if isinstance(one, list) and isinstance(other, list):
        return sorted(map(str, one)) != sorted(map(str, other))
    if isinstance(one, str) and isinstance(other, str):
        return _lines(one) != _lines(other)
    if isinstance(one, bool) != isinstance(other, bool):
        return True
    return bool(one != other)


def _empty(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").strip()
