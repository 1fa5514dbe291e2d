"""A wish to send a mail, as a command takes it and as strangers write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.contracts.problems import Problem, escaped, problem

FIELDS = ("to", "template", "language", "variables", "subject", "html", "text", "category", "lead_id")
"""What a stranger may say."""

LEAD_ID_LENGTH = 36


@dataclass(frozen=True, kw_only=True)
class Order:
    """A wish to send a mail: by template (with variables), or with its own subject and html or text.

    language: of the template; exact_language refuses to fall back to another one. category: of a mail without a
    template, one of models.CATEGORIES. dedupe_key: the same key is sent
    once only. lead_id: whose mail it is, so that it can be shown and erased with the lead.
    """

    to: str
    template: str | None = None
    language: str | None = None
    exact_language: bool = False
    variables: Mapping[str, Any] | None = None
    subject: str | None = None
    html: str | None = None
    text: str | None = None
    category: str | None = None
    lead_id: str | None = None
    dedupe_key: str | None = None
    by: str = "system"


def read_order(values: Mapping[str, Any], *, by: str) -> tuple[Order, list[Problem]]:
    """The order that a request means, and the problems of fields that no order can hold.

    A faulty field is left blank, so that the rest can be checked in the same go.
    """
    problems = [
        problem(
            f"/{escaped(str(name)[:60])}",
            "unknown_field",
            "There is no field “%(name)s” here.",
            name=str(name)[:60],
        )
        for name in values
        if name not in FIELDS
    ]
    read: dict[str, Any] = {}
    for name in FIELDS:
        value = values.get(name)
        if value is None:
            continue
        kind = Mapping if name == "variables" else str
        if not isinstance(value, kind):
            problems.append(
                problem(f"/{name}", "wrong_type", "“%(name)s” must be an object.", name=name)
                if kind is Mapping
                else problem(f"/{name}", "wrong_type", "“%(name)s” must be a text.", name=name)
            )
            continue
        read[name] = value
    if len(read.get("lead_id", "")) > LEAD_ID_LENGTH:
        problems.append(problem("/lead_id", "too_long", "A lead's id has at most 36 characters."))
        del read["lead_id"]
    if "\x00" in read.get("lead_id", ""):
        problems.append(problem("/lead_id", "bad_id", "This is no id."))
        del read["lead_id"]
    read["to"] = read.get("to", "")
    return Order(**read, exact_language="language" in read, by=by), problems
