"""What the checks of one document share: the problems found so far and what is known about the flow."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

from app.contracts.problems import Problem, problem
from app.kit import text
from app.whatsapp.engine.limits import MAX_TEXT_CHARS

NAME = re.compile(r"[a-zA-Z_\u00c0-\u024f][a-zA-Z0-9_\u00c0-\u024f]{0,39}")
ROOTS: Final = {
    "contact": frozenset({"name", "phone", "user_id"}),
    "message": frozenset({"text"}),
    "flow": frozenset({"name"}),
    "channel": frozenset({"name"}),
    "now": frozenset[str](),
}


@dataclass
class Checks:
    """problems: in the order of the document; ids, variables: that exist in the flow."""

    known_templates: set[str] | None = None
    problems: list[Problem] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    variables: set[str] = field(default_factory=set)

    def add(self, where: str, code: str, template: str, /, **params: Any) -> None:
        """Note a problem; the template is a msgid, params are JSON-plain."""
        self.problems.append(problem(where, code, template, **params))

    def template(
        self, where: str, name: str, value: Any, *, required: bool = True, most: int = MAX_TEXT_CHARS
    ) -> None:
        """A field that holds Liquid: a text, not blank when required, whose markup and variables are
        right."""
        if value is None and not required:
            return
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return
        if not isinstance(value, str):
            if value is None:
                self.add(where, "empty_text", "%(field)s is missing.", field=name)
            else:
                self.add(where, "wrong_type", "%(field)s must be text.", field=name)
            return
        if not value.strip():
            if required:
                self.add(where, "empty_text", "%(field)s is empty.", field=name)
            return
        if len(value) > most:
            self.add(
                where, "text_too_long", "%(field)s has %(length)s characters; at most %(most)s are allowed.",
                field=name, length=len(value), most=most,
            )  # fmt: skip
            return
        if not is_storable(value):
            self.add(where, "bad_characters", "%(field)s has characters that cannot be stored.", field=name)
            return
        try:
            paths = text.variables(value)
        except text.LiquidProblem as wrong:
            self.add(
                where, "liquid_syntax", "%(field)s cannot be read: %(reason)s (line %(line)s).",
                field=name, reason=wrong.message, line=wrong.line or 1,
            )  # fmt: skip
            return
        for path in sorted(paths):
            if not self._is_known(path):
                self.add(
                    where, "unknown_variable", "%(field)s uses %(variable)s, which nothing in the flow sets.",
                    field=name, variable=path,
                )  # fmt: skip

    def _is_known(self, path: str) -> bool:
        root, _, rest = path.partition(".")
        name = rest.partition(".")[0]
        if root == "vars":
            return not name or name in self.variables
        return root in ROOTS and (not name or not ROOTS[root] or name in ROOTS[root])

    def target(self, where: str, name: str, value: Any) -> str | None:
        """The node that an exit leads to; None when it leads nowhere, which is said unless it is meant."""
        if value is None:
            return None
        if not isinstance(value, str):
            self.add(where, "wrong_type", "The exit %(exit)s must be a node's id.", exit=name)
        elif value not in self.ids:
            self.add(
                where, "dangling_exit", "The exit %(exit)s leads to %(target)s, which does not exist.",
                exit=name, target=value[:64],
            )  # fmt: skip
        else:
            return value
        return None

    def whole(self, where: str, name: str, value: Any, low: int, high: int) -> None:
        """A whole number within bounds, or nothing."""
        if value is not None and not (is_whole(value) and low <= value <= high):
            self.add(
                where, "out_of_range", "%(field)s must be a whole number from %(low)s to %(high)s.",
                field=name, low=low, high=high,
            )  # fmt: skip


def is_whole(value: Any) -> TypeGuard[int]:
    """A whole number; JSON's true is none, Python's is."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """A finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 10**15


def is_storable(value: str) -> bool:
    """Without NUL and halves of surrogate pairs, which PostgreSQL and UTF-8 refuse."""
    return "\x00" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


def is_plain_text(value: Any, most: int) -> TypeGuard[str]:
    """A text that is not blank, storable and not too long."""
    return isinstance(value, str) and bool(value.strip()) and len(value) <= most and is_storable(value)


def is_name(value: Any) -> TypeGuard[str]:
    """A name that Liquid can read as ``vars.name``."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None
