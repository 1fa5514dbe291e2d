"""One page of a list, read from an address that anybody may have tampered with.

Every parameter is checked against what the list offers; what does not fit is left out, so there is nothing
that could fail in the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

from flask import request, url_for
from flask_babel import format_date, gettext

from app.admin import filters as narrow
from app.admin.cells import label_of, shown
from app.admin.interface import COUNT_LIMIT
from app.kit import zone
from app.kit.db import as_id

PAGE_SIZES = (25, 50, 100)
"""What a person may choose; anything else falls back to the view's own size, and 100 is the most."""

OPTIONS_LIMIT = 200
"""Rows offered in a filter for a relation; more belong into a search."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One filter that a list offers: kind is text | choice | day | number; value(s) as in the address.

    zone: the time zone in which the days begin, where the column's values are moments.
    """

    name: str
    label: str
    kind: str
    options: list[tuple[str, str]] = field(default_factory=list)
    value: str = ""
    value_from: str = ""
    value_to: str = ""
    zone: str = ""


@dataclass(frozen=True, kw_only=True)
class Chip:
    """An active filter: what it says, and the address without it."""

    text: str
    remove_url: str


class Listing:
    """What a list page shows: rows, their cells, where one is, how it is narrowed and sorted."""

    def __init__(self, view: Any) -> None:
        self.view = view
        self.name = type(view).__name__
        self.args = request.args
        self.filters = view.datamodel.get_filters()
        self.chips: list[Chip] = []
        self.q = self._text("q")
        self.fields = [self._field(name) for name in view.search_columns]
        if self.q and view.quick_search:
            self.filters.add_filter(",".join(view.quick_search), narrow.AnyContains, self.q)
        self._load()

    def _text(self, name: str) -> str:
        return self.args.get(name, "").replace("\x00", "").strip()[: narrow.TEXT_LIMIT]

    @property
    def narrowed(self) -> bool:
        """Whether a search or filter is active."""
        return bool(self.q or self.chips)

    @property
    def more(self) -> bool:
        """Whether there are more rows than were counted."""
        return self.count >= COUNT_LIMIT

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(1, -(-self.count // self.size))

    @cached_property
    def can(self) -> dict[str, bool]:
        """What the current user may do here: add, show, edit, delete."""
        return {what: self.view.can(what) for what in ("add", "show", "edit", "delete")}

    @cached_property
    def columns(self) -> list[dict[str, Any]]:
        """The columns: name, label, and for sortable ones the address and the present direction."""
        columns = []
        for name in self.view.list_columns:
            column = {
                "name": name,
                "label": str(self.view.label_columns.get(name, name)),
                "url": None,
                "sorted": "",
            }
            if name in self.view.orderable:
                column["sorted"] = self.direction if self.order == name else ""
                turn = "desc" if column["sorted"] == "asc" else "asc"
                column["url"] = self.url(
                    **{f"_oc_{self.name}": name, f"_od_{self.name}": turn, f"page_{self.name}": None}
                )
            columns.append(column)
        return columns

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows: key, and one cell per column."""
        makers = [self.view.cell_maker(name) for name in self.view.list_columns]
        for item in self.items:
            yield {
                "pk": self.view.datamodel.get_pk_value(item),
                "title": self.view.title_of(item),
                "changeable": self.view.changeable(item),
                "cells": [make(item) for make in makers],
            }

    def url(self, **changes: Any) -> str:
        """This page's address with some parameters changed; None takes one out."""
        args: dict[str, Any] = {key: values for key, values in self.args.lists() if key in self._known}
        args.update(changes)
        kept = {key: value for key, value in args.items() if value not in (None, "", [""])}
        return url_for(request.endpoint or "", **(request.view_args or {}), **kept)

    @cached_property
    def _known(self) -> set[str]:
        names = {"q", *(f"{key}_{self.name}" for key in ("page", "psize", "_oc", "_od"))}
        for column in self.view.search_columns:
            names |= {f"f.{column}", f"f.{column}.from", f"f.{column}.to"}
        return names

    def page_url(self, page: int) -> str:
        """The address of another page, counted from 0."""
        return self.url(**{f"page_{self.name}": page or None})

    def size_url(self, size: int) -> str:
        """The address of the first page with another number of rows."""
        return self.url(**{f"psize_{self.name}": size, f"page_{self.name}": None})

    def _load(self) -> None:
        size = _whole(self.args.get(f"psize_{self.name}"))
        self.size = size if size in PAGE_SIZES else min(self.view.page_size, PAGE_SIZES[-1])
        self.order, self.direction = self._order()
        interface = self.view.datamodel
        joined = self.filters.get_joined_filters(self.view.base_filters_now())
        page = _whole(self.args.get(f"page_{self.name}")) or 0
        # A page beyond the end is common after deleting; asking for it would need a second query anyway.
        self.page = min(page, COUNT_LIMIT // self.size)
        self.count, self.items = interface.query(
            joined, self.order, self.direction, page=self.page, page_size=self.size
        )
        if not self.items and self.page:
            self.page = max(0, self.pages - 1)
            self.count, self.items = interface.query(
                joined, self.order, self.direction, page=self.page, page_size=self.size
            )

    def _order(self) -> tuple[str, str]:
        wanted, direction = self.args.get(f"_oc_{self.name}"), self.args.get(f"_od_{self.name}")
        if wanted in self.view.orderable and direction in ("asc", "desc"):
            return str(wanted), str(direction)
        return self.view.base_order or ("", "")

    def _field(self, name: str) -> Field:
        interface = self.view.datamodel
        label = str(self.view.label_columns.get(name, name))
        if choices := self.view.choices_of(name):
            options = [(str(value), label_of(value, choices)) for value in choices]
            return self._choice(name, label, options, {str(value): value for value in choices}, narrow.Equals)
        if interface.is_boolean(name):
            options = [("1", gettext("Yes")), ("0", gettext("No"))]
            return self._choice(name, label, options, {"1": True, "0": False}, narrow.Equals)
        if interface.is_relation_many_to_one(name):
            related = interface.get_related_interface(name)
            rows = related.query(page=0, page_size=OPTIONS_LIMIT)[1]
            keys = {str(related.get_pk_value(row)): related.get_pk_value(row) for row in rows}
            options = [(str(related.get_pk_value(row)), str(row)) for row in rows]
            return self._choice(name, label, options, keys, narrow.Related)
        if interface.is_date(name) or interface.is_datetime(name):
            return self._range(name, label, "day", narrow.parse_day)
        if interface.is_integer(name) or interface.is_numeric(name) or interface.is_float(name):
            return self._range(name, label, "number", narrow.parse_number)
        value = self._text(f"f.{name}")
        if value and interface.is_uuid(name):
            # An id that is none matches nothing, as one that nobody has.
            self._add(name, narrow.Equals, as_id(value) or "00000000-0000-0000-0000-000000000000")
            self._chip(f"{label}: {value}", f"f.{name}")
        elif value and (interface.is_string(name) or interface.is_text(name)):
            self._add(name, narrow.Contains, value)
            self._chip(f"{label}: “{value}”", f"f.{name}")
        return Field(name=name, label=label, kind="text", value=value)

    def _choice(
        self, name: str, label: str, options: list[tuple[str, str]], values: dict[str, Any], kind: type[Any]
    ) -> Field:
        value = self._text(f"f.{name}")
        if value in values:
            self._add(name, kind, values[value])
            self._chip(f"{label}: {dict(options)[value]}", f"f.{name}")
        return Field(
            name=name, label=label, kind="choice", options=options, value=value if value in values else ""
        )

    def _range(self, name: str, label: str, kind: str, parse: Callable[[str], Any]) -> Field:
        texts = {end: self._text(f"f.{name}.{end}") for end in ("from", "to")}
        values = {end: parse(text) if text else None for end, text in texts.items()}
        moment = self.view.datamodel.is_datetime(name)
        if (low := values["from"]) is not None:
            self._add(name, narrow.AtLeast, zone.day_start(low) if moment else low)
            self._chip(f"{label} ≥ {_plain(low)}", f"f.{name}.from")
        if (high := values["to"]) is not None and high != date.max:
            self._add(
                name,
                narrow.Below if moment else narrow.AtMost,
                zone.day_start(high, after=1) if moment else high,
            )
            self._chip(f"{label} ≤ {_plain(high)}", f"f.{name}.to")
        kept = {end: texts[end] if values[end] is not None else "" for end in texts}
        return Field(
            name=name,
            label=label,
            kind=kind,
            value_from=kept["from"],
            value_to=kept["to"],
            zone=zone.name() if moment else "",
        )

    def _add(self, name: str, kind: type[Any], value: Any) -> None:
        self.filters.add_filter(name, kind, value)

    def _chip(self, text: str, parameter: str) -> None:
        self.chips.append(
            Chip(text=text, remove_url=self.url(**{parameter: None, f"page_{self.name}": None}))
        )


def _whole(text: str | None) -> int | None:
    """A number from the address, or None."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else None


def _plain(value: Any) -> str:
    return format_date(value, "medium") if isinstance(value, date) else str(shown(value))
