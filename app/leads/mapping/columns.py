"""The two sides' fields: what a lead has, what an Airtable column can be, and which pairs make sense.

Columns are known by id (``fld…``): names are changed by people, and a rename must not look like a new column. Types
are those of Airtable's field model (airtable.com/developers/web/api/field-model, 2026-08).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEAD_FIELDS: Mapping[str, str] = {
    "name": "text",
    "company": "text",
    "email": "text",
    "phone": "text",
    "stage": "choice",
    "amount": "decimal",
    "currency": "text",
    "next_contact_on": "date",
    "notes": "text",
    "tags": "list",
    "language": "text",
    "source": "choice",
    "owner_name": "text",
    "created_at": "moment",
    "updated_at": "moment",
}
"""A lead's fields and the kind of their values. Custom fields are ``custom.<key>``, of kind "any"."""

OUTWARD_ONLY = frozenset({"source", "owner_name", "created_at", "updated_at"})
"""Fields that Airtable may show but not change: owners are the platform's users, the rest is history."""

DIRECTIONS = ("both", "out", "in")
"""out: from us to Airtable; in: from Airtable to us."""

CUSTOM = "custom."

TEXT_TYPES = frozenset({"singleLineText", "multilineText", "richText", "email", "phoneNumber", "url"})
NUMBER_TYPES = frozenset({"number", "currency", "percent", "rating", "duration"})
CHOICE_TYPES = frozenset({"singleSelect"})
LIST_TYPES = frozenset({"multipleSelects"})
DATE_TYPES = frozenset({"date"})
MOMENT_TYPES = frozenset({"dateTime"})
FLAG_TYPES = frozenset({"checkbox"})
WRITABLE = TEXT_TYPES | NUMBER_TYPES | CHOICE_TYPES | LIST_TYPES | DATE_TYPES | MOMENT_TYPES | FLAG_TYPES

READ_ONLY = frozenset(
    {
        "formula", "rollup", "multipleLookupValues", "count", "autoNumber", "createdTime", "lastModifiedTime",
        "createdBy", "lastModifiedBy", "barcode", "aiText",
    }
)  # fmt: skip
"""Computed by Airtable (or not ours to write): they come in and never go out."""

MODIFIED_TYPE = "lastModifiedTime"
ID_TYPES = frozenset({"singleLineText", "multilineText"})
"""Types that can hold our lead's id and that performUpsert can merge on."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of an Airtable table as its schema tells: id (fld…), name, type, names of its choices.

    watches_all: for a lastModifiedTime column, whether it notices every column (only then it finds all changes).
    """

    id: str
    name: str
    type: str
    choices: tuple[str, ...] = ()
    watches_all: bool = True


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """A pair: the lead's field and the column it is kept in.

    options: the lead's value → the name of the column's choice, for stages and other fixed values.
    """

    field: str
    column: str
    column_name: str = ""
    type: str = "singleLineText"
    direction: str = "both"
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def goes_out(self) -> bool:
        """Whether our value is written into Airtable."""
        return self.direction in ("both", "out") and not is_read_only(self.type)

    @property
    def comes_in(self) -> bool:
        """Whether Airtable's value is taken over."""
        return self.direction in ("both", "in") and settable(self.field)

    def plain(self) -> dict[str, Any]:
        """JSON-plain, as it is stored."""
        return {
            "field": self.field,
            "column": self.column,
            "column_name": self.column_name,
            "type": self.type,
            "direction": self.direction,
            "options": dict(self.options),
        }


def kind_of(name: str) -> str:
    """The kind of a lead's field: text, choice, decimal, date, moment, list, or any for custom ones."""
    return "any" if name.startswith(CUSTOM) else LEAD_FIELDS[name]


def settable(name: str) -> bool:
    """Whether Airtable may change this field of a lead."""
    return name not in OUTWARD_ONLY


def is_read_only(column_type: str) -> bool:
    """Whether Airtable refuses values for such a column."""
    return column_type not in WRITABLE


def is_usable(column_type: str) -> bool:
    """Whether such a column can be mapped at all; links, attachments, people and buttons cannot."""
    return column_type in WRITABLE or column_type in READ_ONLY


def fits(name: str, column_type: str) -> bool:
    """Whether values of the lead's field can usually be kept in such a column."""
    if not is_usable(column_type) or (is_read_only(column_type) and not settable(name)):
        return False
    if column_type in READ_ONLY or column_type in TEXT_TYPES:
        return True
    wanted = {
        "decimal": NUMBER_TYPES,
        "date": DATE_TYPES | MOMENT_TYPES,
        "moment": DATE_TYPES | MOMENT_TYPES,
        "list": LIST_TYPES,
        "choice": CHOICE_TYPES,
        "text": CHOICE_TYPES,
        "any": WRITABLE,
    }
    return column_type in wanted[kind_of(name)]
