"""How values look in lists and on show pages: badges, moments, links, never a bare None."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from flask_babel import format_date, format_decimal, format_time, gettext
from markupsafe import Markup, escape

from app.kit import zone

COLOURS = ("grey", "blue", "green", "red", "amber", "violet", "teal")
"""What badge() knows; each has a light and a dark pair of at least 4.5:1."""

Choices = Mapping[Any, Any]
"""Fixed values of a column: value → label, or value → (label, colour)."""

NOTHING = Markup('<span class="muted" aria-hidden="true">—</span>')
"""Shown where there is no value."""


def label_of(value: Any, choices: Choices) -> str:
    """The words for a value; the value itself when it is not among the choices."""
    entry = choices.get(value, value)
    return str(entry[0] if isinstance(entry, tuple) else entry)


def badge(value: Any, choices: Choices | None = None, colour: str = "grey") -> Markup:
    """A small coloured label; the colour comes from `choices` when it has one for the value.

    A colour is one of COLOURS, or "#rrggbb" (then only the dot is coloured, so that contrast is ours).
    """
    if value is None or value == "":
        return NOTHING
    entry = (choices or {}).get(value)
    if isinstance(entry, tuple):
        colour = entry[1]
    words = label_of(value, choices or {})
    if colour.startswith("#") and len(colour) == 7 and colour[1:].isalnum():
        dot = Markup('<i class="dot" style="background:{}"></i>').format(colour)
        return Markup('<span class="badge-soft" data-colour="grey">{}{}</span>').format(dot, words)
    known = colour if colour in COLOURS else "grey"
    return Markup('<span class="badge-soft" data-colour="{}">{}</span>').format(known, words)


def when(moment: datetime | None) -> Markup:
    """A moment, in the zone whose days filters and cards mean: the browser's may be another day."""
    if moment is None:
        return NOTHING
    here = zone.local(moment)
    return Markup('<time datetime="{}" title="{}">{}, {}</time>').format(
        moment.isoformat(),
        exactly(moment),
        format_date(here, "medium", rebase=False),
        format_time(here, "short", rebase=False),
    )


def exactly(moment: datetime) -> str:
    """A moment for a tooltip, to the second, with the zone: 2026-03-01 18:05:00-06:00 America/Mexico_City."""
    return f"{zone.local(moment).isoformat(sep=' ', timespec='seconds')} {zone.name()}"


def yes_no(value: Any) -> Markup:
    """A tick or a dash, with the word for those who do not see it."""
    if value:
        return Markup('<span class="yes"><i class="fa fa-check" aria-hidden="true"></i> {}</span>').format(
            gettext("Yes")
        )
    return Markup('<span class="muted">{}</span>').format(gettext("No"))


def link(url: str, text: Any) -> Markup:
    """A link whose text is escaped."""
    return Markup('<a href="{}">{}</a>').format(url, text)


def code(text: Any) -> Markup:
    """An id or a key in a fixed-width face."""
    return NOTHING if text in (None, "") else Markup("<code>{}</code>").format(text)


def shown(value: Any) -> Any:
    """Any value as a person reads it."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, Markup):
        return value
    if isinstance(value, bool):
        return yes_no(value)
    if isinstance(value, datetime):
        return when(value)
    if isinstance(value, date):
        return format_date(value, "medium")
    if isinstance(value, Decimal | float):
        return format_decimal(value)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, list | tuple | set):
        items = Markup("").join(Markup('<span class="chip">{}</span>').format(item) for item in value)
        return items or NOTHING
    return escape(value)
