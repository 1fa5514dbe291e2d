"""Which events an endpoint wants: names, groups such as ``lead.*``, or ``*`` for all. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from app.contracts.events import EVENTS
from app.contracts.problems import Problem, problem

EVERYTHING = "*"
PATTERN_LIMIT = 100  # more patterns than there are events say nothing new


def known() -> tuple[str, ...]:
    """Names of the events that may leave the house, sorted."""
    return tuple(sorted(name for name, event in EVENTS.items() if event.public))


def groups() -> tuple[str, ...]:
    """The groups there are: ``lead.*`` …, sorted."""
    return tuple(sorted({f"{name.partition('.')[0]}.*" for name in known()}))


def matches(patterns: Iterable[str], name: str) -> bool:
    """Whether one of the patterns means the event of that name."""
    group = f"{name.partition('.')[0]}.*"
    return any(pattern in (EVERYTHING, name, group) for pattern in patterns)


def read(given: Any) -> tuple[list[str], list[Problem]]:
    """Patterns as they are kept (each once, in the given order), and what is wrong with them."""
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) > PATTERN_LIMIT:
        return [], [problem("/events", "wrong_type", "Events must be a list of names.")]
    kept: list[str] = []
    problems: list[Problem] = []
    possible = {EVERYTHING, *known(), *groups()}
    for number, item in enumerate(given):
        pattern = item.strip().lower() if isinstance(item, str) else ""
        if pattern not in possible:
            problems.append(
                problem(
                    f"/events/{number}",
                    "unknown_event",
                    "There is no event “%(name)s”; there are * for all, groups such as lead.*, and names such as lead.created.",
                    name=str(item)[:60],
                )
            )
        elif pattern not in kept:
            kept.append(pattern)
    if not kept and not problems:
        problems.append(problem("/events", "missing", "Choose at least one event."))
    return kept, problems
