"""The variables a template declares, and the values a sender gives. Pure.

Declared types are what lets `POST /email` refuse a wrong call at once with every fault named, instead of mailing
"Dear ," to a customer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

from app.contracts.problems import Problem, escaped, problem

TYPES = ("text", "number", "date", "url", "boolean")
"""What a variable may be. date is an ISO 8601 day or moment; url is a link that a person may follow."""

URL_SCHEMES = frozenset({"https", "http", "mailto", "tel"})
"""What a link may start with; `javascript:` and `data:` would run in webmail and in our own preview."""

VALUE_CHARS = 10_000
"""Longest value of a text variable, characters."""

VARIABLES = 50
"""Most variables a template may declare."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TRUE, _FALSE = {"true", "1", "yes"}, {"false", "0", "no"}


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A declared variable.

    type: one of TYPES. default: used when the sender gives none (None: there is none). sample: used by previews.
    """

    name: str
    type: str = "text"
    required: bool = False
    default: Any = None
    sample: Any = None
    description: str = ""

    def as_json(self) -> dict[str, Any]:
        """As stored and as shown by the API."""
        return asdict(self)


def read_variables(rows: Iterable[Mapping[str, Any]]) -> tuple[Variable, ...]:
    """Variables from their stored form; keys that this release does not know are left out."""
    known = set(Variable.__dataclass_fields__)
    return tuple(Variable(**{key: value for key, value in row.items() if key in known}) for row in rows)


def check_variables(declared: Sequence[Variable]) -> list[Problem]:
    """What is wrong with the declarations themselves."""
    problems: list[Problem] = []
    if len(declared) > VARIABLES:
        problems.append(
            problem("/variables", "too_many", "At most %(limit)s variables can be declared.", limit=VARIABLES)
        )
    seen: set[str] = set()
    for index, variable in enumerate(declared):
        where = f"/variables/{index}"
        if not isinstance(variable.name, str) or not _NAME.fullmatch(variable.name):
            problems.append(
                problem(
                    f"{where}/name",
                    "invalid_name",
                    "“%(name)s” is not a variable name: use small letters, digits and _, beginning with a letter.",
                    name=str(variable.name)[:60],
                )
            )
        elif variable.name in seen:
            problems.append(
                problem(
                    f"{where}/name", "duplicate", "“%(name)s” is declared more than once.", name=variable.name
                )
            )
        seen.add(variable.name)
        if variable.type not in TYPES:
            problems.append(
                problem(
                    f"{where}/type",
                    "invalid_type",
                    "The type of “%(name)s” must be one of: %(types)s.",
                    name=str(variable.name)[:60],
                    types=", ".join(TYPES),
                )
            )
            continue
        for key in ("default", "sample"):
            value = getattr(variable, key)
            if not _blank(value):
                found = _convert(variable, value, f"{where}/{key}")
                if isinstance(found, Problem):
                    problems.append(found)
    return problems


def bind(
    declared: Sequence[Variable], given: Mapping[str, Any], where: str = "/variables"
) -> tuple[dict[str, Any], list[Problem]]:
    """The values a template is rendered with, JSON-plain, and everything that is wrong with what was given.

    A variable that is neither given nor required gets its default, else None, which prints nothing and counts as
    false: to Liquid an empty text is true, but whoever writes `{% if company %}` means that there is one. Text that says a number, a
    day or a truth value is taken for one: flows know nothing but text.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for variable in declared:
        value = given.get(variable.name)
        if _blank(value):
            value = variable.default
        if _blank(value):
            if variable.required:
                problems.append(
                    problem(
                        f"{where}/{variable.name}",
                        "missing",
                        "The template needs a value for “%(name)s”.",
                        name=variable.name,
                    )
                )
            values[variable.name] = None
            continue
        found = _convert(variable, value, f"{where}/{variable.name}")
        if isinstance(found, Problem):
            problems.append(found)
        else:
            values[variable.name] = found
    names = {variable.name for variable in declared}
    problems += [
        problem(
            f"{where}/{escaped(str(name)[:60])}",
            "unknown_variable",
            "The template has no variable “%(name)s”.",
            name=str(name)[:60],
        )
        for name in given
        if name not in names
    ]
    return values, problems


def samples(declared: Sequence[Variable]) -> dict[str, Any]:
    """Values for a preview: sample, else default, else something of the right type that shows where it stands."""
    shown: dict[str, Any] = {
        "number": 1,
        "date": "2030-01-31",
        "url": "https://example.com/",
        "boolean": True,
    }
    chosen: dict[str, Any] = {}
    for variable in declared:
        candidates = (variable.sample, variable.default, shown.get(variable.type), f"[{variable.name}]")
        for candidate in candidates:
            if not _blank(candidate) and not isinstance(found := _convert(variable, candidate, ""), Problem):
                chosen[variable.name] = found
                break
    return chosen


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _convert(variable: Variable, value: Any, where: str) -> Any | Problem:
    """The value in the variable's type, or what is wrong with it."""
    return _CONVERTERS.get(variable.type, _text)(variable.name, value, where)


def _text(name: str, value: Any, where: str) -> Any | Problem:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return problem(where, "wrong_type", "“%(name)s” must be a text.", name=name)
    text = str(value)
    if len(text) > VALUE_CHARS:
        return problem(
            where,
            "too_long",
            "“%(name)s” is longer than %(limit)s characters.",
            name=name,
            limit=VALUE_CHARS,
        )
    return text


def _number(name: str, value: Any, where: str) -> Any | Problem:
    wrong = problem(where, "wrong_type", "“%(name)s” must be a number.", name=name)
    if isinstance(value, bool):
        return wrong
    if isinstance(value, str) and len(value) <= 40:
        try:
            value = int(value)
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                return wrong
    if not isinstance(value, int | float) or (isinstance(value, float) and not math.isfinite(value)):
        return wrong
    return value


def _date(name: str, value: Any, where: str) -> Any | Problem:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, str):
        text = value.strip()
        try:
            datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            return text
    return problem(where, "wrong_type", "“%(name)s” must be a date such as 2030-01-31.", name=name)


def _boolean(name: str, value: Any, where: str) -> Any | Problem:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    return problem(where, "wrong_type", "“%(name)s” must be true or false.", name=name)


def _url(name: str, value: Any, where: str) -> Any | Problem:
    if isinstance(value, str):
        text = value.strip()
        if len(text) <= VALUE_CHARS and not re.search(r"[\s\x00-\x1f\x7f\"'<>\\]", text):
            try:
                parts = urlsplit(text)
            except ValueError:
                parts = None
            if parts and parts.scheme.lower() in URL_SCHEMES:
                is_web = parts.scheme.lower() in {"http", "https"}
                if parts.hostname if is_web else parts.path:
                    return text
    return problem(
        where,
        "invalid_url",
        "“%(name)s” must be a link that begins with %(schemes)s.",
        name=name,
        schemes=", ".join(f"{scheme}:" for scheme in sorted(URL_SCHEMES)),
    )


_CONVERTERS = {"text": _text, "number": _number, "date": _date, "boolean": _boolean, "url": _url}
