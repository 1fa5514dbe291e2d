"""A lead's values as Airtable's cells and back, one table of cases per direction.

Cells follow airtable.com/developers/web/api/field-model. Formula cells may hold ``{"specialValue": "NaN"}`` or
``{"error": "#ERROR!"}`` instead of a value: such a cell says nothing, so it changes nothing. Webhook payloads write a
choice as an object with a name where the REST interface writes the name; both are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any

from app.contracts.problems import Problem, problem
from app.kit.storable import storable
from app.leads.mapping import columns
from app.leads.mapping.columns import Mapped, kind_of
from app.leads.matching import fold

Cells = dict[str, Any]
TRUE_WORDS = frozenset({"1", "true", "yes", "si", "on", "x"})
CENT = Decimal("0.01")
LARGEST_TEXT = 100_000
"""Characters a text cell may have (airtable.com/developers/web/api/field-model: long text)."""


class _Unreadable(Exception):
    """The cell holds no value of the kind that is wanted."""


_NOTHING: Any = object()
"""The cell says nothing: a formula that failed."""


def to_airtable(
    values: Mapping[str, Any], field_map: Iterable[Mapped], *, zone: tzinfo = UTC
) -> tuple[Cells, list[Problem]]:
    """The cells by column id for those of `values` that go out, and what cannot be written.

    values: a lead's plain values by field name (custom fields as ``custom.<key>``); a field that is absent is left
    out, an empty one clears its cell (None). zone: where the day of a moment is taken, for columns that hold days.
    """
    cells: Cells = {}
    problems: list[Problem] = []
    for item in field_map:
        if not item.goes_out or item.field not in values:
            continue
        try:
            cells[item.column] = _cell(values[item.field], item, zone)
        except _Unreadable:
            problems.append(
                problem(
                    f"/{item.field}",
                    "unwritable",
                    "This value does not fit the Airtable column “%(column)s”.",
                    column=item.column_name or item.column,
                )
            )
    return cells, problems


def from_airtable(
    cells: Mapping[str, Any], field_map: Iterable[Mapped], *, partial: bool = False
) -> tuple[dict[str, Any], list[Problem]]:
    """The lead's plain values for a record's cells, and what cannot be read.

    Airtable leaves empty cells out, so a column without a cell is empty; partial: only the columns that changed are
    given, so an absent one says nothing. Cells of failed formulas say nothing either.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for item in field_map:
        if item.column not in cells and partial:
            continue
        try:
            value = _value(cells.get(item.column), item)
        except _Unreadable:
            problems.append(
                problem(
                    f"/{item.field}",
                    "unreadable",
                    "Airtable's value in “%(column)s” is none for this field.",
                    column=item.column_name or item.column,
                )
            )
            continue
        if value is not _NOTHING:
            values[item.field] = value
    return values, problems


# --- out ----------------------------------------------------------------------------------------------------------------


def _cell(value: Any, item: Mapped, zone: tzinfo) -> Any:
    if item.type in columns.FLAG_TYPES:
        return _flag(value)
    if value is None or value in ("", []):
        return None
    if item.type in columns.NUMBER_TYPES:
        return _number(value)
    if item.type in columns.LIST_TYPES:
        return [item.options.get(name, name) for name in _names(value)]
    if item.type in columns.CHOICE_TYPES:
        text = _text(value)
        return item.options.get(text, text)
    if item.type in columns.DATE_TYPES:
        return _day(value, zone).isoformat()
    if item.type in columns.MOMENT_TYPES:
        return _moment(value).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = item.options.get(_text(value), _text(value))
    if len(text) > LARGEST_TEXT:
        raise _Unreadable
    return text


def _flag(value: Any) -> bool:
    if isinstance(value, str):
        return fold(value) in TRUE_WORDS
    return bool(value)


def _number(value: Any) -> int | float:
    number = _decimal(value)
    return int(number) if number == number.to_integral_value() else float(number)


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise _Unreadable
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation as error:
        raise _Unreadable from error
    if not number.is_finite() or abs(number) > Decimal(10) ** 15:
        raise _Unreadable
    return number


def _moment(value: Any, zone: tzinfo = UTC) -> datetime:
    """The moment in UTC; zone: whose clock it is that a value without offset tells."""
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
        return (found.replace(tzinfo=zone) if found.tzinfo is None else found).astimezone(UTC)
    except (ValueError, OverflowError) as error:  # in UTC a moment may lie before the year 1 or after 9999
        raise _Unreadable from error


def _day(value: Any, zone: tzinfo) -> date:
    """The day of a value; of a moment, the day that it is in the zone."""
    try:
        return _moment(value, zone).astimezone(zone).date()
    except OverflowError as error:
        raise _Unreadable from error


def _names(value: Any) -> list[str]:
    items = value if isinstance(value, list | tuple) else str(value).split(",")
    return [name for name in (_text(item).strip() for item in items) if name]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, dict):
        for key in ("name", "text", "value", "email", "label"):
            if isinstance(value.get(key), str):
                return str(value[key])
        raise _Unreadable
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


# --- in -----------------------------------------------------------------------------------------------------------------


def _value(cell: Any, item: Mapped) -> Any:
    if isinstance(cell, dict) and ("error" in cell or "specialValue" in cell):
        return _NOTHING
    if isinstance(cell, float) and not math.isfinite(cell):
        return _NOTHING
    if item.type == "multipleLookupValues" and isinstance(cell, dict):
        cell = cell.get("valuesByLinkedRecordId") and [
            value for values in cell["valuesByLinkedRecordId"].values() for value in values
        ]
    return _READERS[kind_of(item.field)](cell, item)


def _read_text(cell: Any, item: Mapped) -> Any:
    return storable(_chosen(_text(cell), item)).strip() if cell not in (None, "", []) else ""


def _read_choice(cell: Any, item: Mapped) -> Any:
    return _chosen(_text(cell), item).strip() if cell not in (None, "", []) else None


def _read_decimal(cell: Any, _item: Mapped) -> Any:
    if cell in (None, "", []):
        return None
    if isinstance(cell, list) and len(cell) == 1:  # a lookup of one record
        cell = cell[0]
    return str(_decimal(cell).quantize(CENT))


def _read_date(cell: Any, _item: Mapped) -> Any:
    return None if cell in (None, "", []) else _moment(_single(cell)).date().isoformat()


def _read_moment(cell: Any, _item: Mapped) -> Any:
    return None if cell in (None, "", []) else _moment(_single(cell)).isoformat()


def _read_list(cell: Any, item: Mapped) -> Any:
    return [] if cell in (None, "") else [storable(_chosen(name, item)) for name in _names(cell)]


def _read_any(cell: Any, item: Mapped) -> Any:
    """Custom fields take text, numbers and truth; whatever else a column holds is shown as text."""
    if item.type in columns.FLAG_TYPES:
        return bool(cell)
    if cell in (None, "", []):
        return None
    if isinstance(cell, bool | int | float):
        return cell
    return storable(_chosen(_text(cell), item)).strip() or None


def _single(cell: Any) -> Any:
    return cell[0] if isinstance(cell, list) and cell else cell


def _chosen(text: str, item: Mapped) -> str:
    """The lead's value that stands behind a choice's name; people capitalise and accent names as they like."""
    if not item.options:
        return text
    wanted = fold(text)
    for ours, theirs in item.options.items():
        if fold(theirs) == wanted:
            return ours
    return text


_READERS = {
    "text": _read_text,
    "choice": _read_choice,
    "decimal": _read_decimal,
    "date": _read_date,
    "moment": _read_moment,
    "list": _read_list,
    "any": _read_any,
}
