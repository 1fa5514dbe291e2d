"""Which values the stand-in's columns take, and how it shows them; the rules of Airtable's field model."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from app.leads.providers.fake.answers import Refusal
from app.leads.providers.fake.store import new_id

TEXT = frozenset({"singleLineText", "multilineText", "richText", "email", "phoneNumber", "url"})
NUMBERS = frozenset({"number", "currency", "percent", "rating", "duration"})
COMPUTED = frozenset(
    {"formula", "rollup", "multipleLookupValues", "count", "autoNumber", "createdTime", "lastModifiedTime", "createdBy",
     "lastModifiedBy", "button"}
)  # fmt: skip
TEXT_LENGTH = 100_000


def iso(at: float) -> str:
    """A moment as Airtable writes it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def accepted(column: dict[str, Any], value: Any, *, typecast: bool) -> Any:
    """The value as the column keeps it, None for empty; raises Refusal as Airtable does.

    With typecast a missing choice is added to `column`, texts become numbers, and the like.
    """
    kind = column["type"]
    if kind in COMPUTED:
        raise _no_value(column, "a value because the field is computed")
    if value is None or value in ("", []):
        return None
    if kind in TEXT:
        if typecast and not isinstance(value, str):
            value = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        if not isinstance(value, str) or len(value) > TEXT_LENGTH:
            raise _no_value(column)
        return value
    if kind in NUMBERS:
        return _number(column, value, typecast=typecast)
    if kind == "checkbox":
        if not isinstance(value, bool):
            raise _no_value(column)
        return value or None
    if kind in ("date", "dateTime"):
        return _date(column, value)
    if kind == "singleSelect":
        return _choice(column, value, typecast=typecast)
    if kind == "multipleSelects":
        if typecast and isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        if not isinstance(value, list):
            raise _no_value(column)
        return list(dict.fromkeys(_choice(column, item, typecast=typecast) for item in value))
    raise _no_value(column)


def shown(
    columns: list[dict[str, Any]], cells: dict[str, Any], *, created: float, modified: float, number: int
) -> dict[str, Any]:
    """The cells by column id as a reader gets them: empty ones are left out, computed ones are there."""
    found: dict[str, Any] = {}
    for column in columns:
        kind = column["type"]
        value: Any
        if kind == "lastModifiedTime":
            value = iso(modified)
        elif kind == "createdTime":
            value = iso(created)
        elif kind == "autoNumber":
            value = number
        elif kind in COMPUTED:
            value = column.get("always")  # what a test says that the formula gives
        else:
            value = cells.get(column["id"])
        if value not in (None, "", [], False):
            found[column["id"]] = value
    return found


def _number(column: dict[str, Any], value: Any, *, typecast: bool) -> int | float:
    if typecast and isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise _no_value(column) from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _no_value(column)
    return value


def _date(column: dict[str, Any], value: Any) -> str:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        raise _no_value(column) from None
    if column["type"] == "date":
        return found.date().isoformat()
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return iso(found.timestamp())


def _choice(column: dict[str, Any], value: Any, *, typecast: bool) -> str:
    if not isinstance(value, str):
        raise _no_value(column)
    choices = column.setdefault("options", {}).setdefault("choices", [])
    if value in (choice["name"] for choice in choices):
        return value
    if not typecast:
        raise Refusal(
            422,
            "INVALID_MULTIPLE_CHOICE_OPTIONS",
            f'Insufficient permissions to create new select option ""{value}""',
        )
    choices.append({"id": new_id("sel"), "name": value})
    return value


def _no_value(column: dict[str, Any], what: str = "the provided value") -> Refusal:
    return Refusal(422, "INVALID_VALUE_FOR_COLUMN", f'Field "{column["name"]}" cannot accept {what}')
