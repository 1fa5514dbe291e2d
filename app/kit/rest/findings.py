"""What pydantic finds wrong, in our shape and in words that can be translated.

Pydantic says everything in English. The rules that our bodies and queries use have sentences here; what is rarer keeps
pydantic's own.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from app.contracts.problems import MOST_SHOWN, Problem, escaped, problem

_SENTENCES = {
    item.code: item.template
    for item in (
        problem("", "missing", "This is missing."),
        problem("", "extra_forbidden", "There is no such field here."),
        problem("", "model_type", "This must be an object."),
        problem("", "dict_type", "This must be an object."),
        problem("", "list_type", "This must be a list."),
        problem("", "string_type", "This must be a text."),
        problem("", "bool_type", "This must be true or false."),
        problem("", "bool_parsing", "This must be true or false."),
        problem("", "int_type", "This must be a whole number."),
        problem("", "int_parsing", "This must be a whole number."),
        problem("", "int_from_float", "This must be a whole number."),
        problem("", "int_parsing_size", "This number is too large."),
        problem("", "string_too_short", "At least %(min_length)s characters."),
        problem("", "string_too_long", "At most %(max_length)s characters."),
        problem("", "string_pattern_mismatch", "This must look like %(pattern)s."),
        problem("", "greater_than_equal", "This must be %(ge)s or more."),
        problem("", "less_than_equal", "This must be %(le)s or less."),
        problem("", "less_than", "This must be less than %(lt)s."),
        problem("", "literal_error", "This must be one of %(expected)s."),
        problem("", "datetime_from_date_parsing", "This is no time; write it like 2026-01-31T08:00:00Z."),
        problem("", "datetime_parsing", "This is no time; write it like 2026-01-31T08:00:00Z."),
        problem("", "no_time", "This is no time; write it like 2026-01-31T08:00:00Z."),
        problem("", "time_out_of_range", "This time is out of range."),
    )
}
"""Code → sentence. The codes are pydantic's, and those that our own validators raise as PydanticCustomError."""


def problems_of(error: ValidationError) -> list[Problem]:
    """Each finding as a problem; `where` is a JSON pointer."""
    return [_problem(item) for item in error.errors(include_url=False, include_input=False)[:MOST_SHOWN]]


def _problem(item: Any) -> Problem:
    where = "/" + "/".join(escaped(str(part)) for part in item["loc"])
    code, message = str(item["type"]), str(item["msg"])
    template = _SENTENCES.get(code)
    if template is None:
        message = message.removeprefix("Value error, ")
        sentence = message[:1].upper() + message[1:] + ("" if message.endswith(".") else ".")
        return Problem(where, code, sentence)
    params = {
        name: value for name, value in item.get("ctx", {}).items() if f"%({name})s" in template
    }  # ctx also holds exceptions
    if code == "literal_error":  # "'a', 'b' or 'c'": a list reads in every language
        params["expected"] = ", ".join(str(params["expected"]).rsplit(" or ", 1))
    return Problem(where, code, template, params)
