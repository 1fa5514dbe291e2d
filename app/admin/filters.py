"""How lists are narrowed: a few operators per kind of column, none of which can be talked into an error.

FAB's own filters let the address choose any operator by number for any column, parse dates without a zone
(which our timestamps refuse) and know no "from … to". These know exactly what a list offers: text contains,
a choice equals, numbers and days lie between.
"""

from __future__ import annotations

import copy
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from flask_appbuilder.models.filters import BaseFilter, Filters
from sqlalchemy import or_

from app.kit import auth

TEXT_LIMIT = 100
"""Characters of a search that are looked at; nobody types more, and longer ones only burn the database."""

NUMBER_LIMIT = Decimal(2**31 - 1)
"""Beyond it PostgreSQL refuses the comparison with an integer column."""


class LeanFilters(Filters):  # type: ignore[misc]
    """FAB's Filters, copied instead of built anew: the original converts every column again at each query."""

    def _get_filters(self, cols: Any) -> dict[str, Any]:
        """No table of every operator for every column: our lists name theirs."""
        return {}

    def copy(self) -> LeanFilters:
        """The same columns and active filters, in lists of its own."""
        twin = copy.copy(self)
        twin.filters, twin.values = list(self.filters), list(self.values)
        return twin

    def get_joined_filters(self, filters: Filters) -> LeanFilters:
        """Both sets of active filters together."""
        twin = copy.copy(self)
        twin.filters, twin.values = self.filters + filters.filters, self.values + filters.values
        return twin


class OwnOnly(BaseFilter):  # type: ignore[misc]
    """Base filter: who may see only their own rows sees those whose column holds their user id."""

    def apply(self, query: Any, value: Any) -> Any:
        """Narrow the query for sellers; everybody else sees all."""
        who = auth.current()
        if not who.own_only:
            return query
        return query.filter(getattr(self.model, self.column_name) == who.user_id)


class IsNull(BaseFilter):  # type: ignore[misc]
    """Base filter: rows whose column is empty, for instance those that are not deleted."""

    def apply(self, query: Any, value: Any) -> Any:
        """Add the condition."""
        return query.filter(getattr(self.model, self.column_name).is_(None))


class Equals(BaseFilter):  # type: ignore[misc]
    """The column has exactly this value."""

    def apply(self, query: Any, value: Any) -> Any:
        """Add the condition."""
        return query.filter(getattr(self.model, self.column_name) == value)


class Related(BaseFilter):  # type: ignore[misc]
    """The many-to-one relation points to the row with this key."""

    def apply(self, query: Any, value: Any) -> Any:
        """Add the condition."""
        return query.filter(self.datamodel.get_relation_fk(self.column_name) == value)


class Contains(BaseFilter):  # type: ignore[misc]
    """The text contains these characters, whatever their case."""

    def apply(self, query: Any, value: str) -> Any:
        """Add the condition."""
        return query.filter(contains(getattr(self.model, self.column_name), value))


class AtLeast(BaseFilter):  # type: ignore[misc]
    """The number or moment is this one or a later one."""

    def apply(self, query: Any, value: Any) -> Any:
        """Add the condition."""
        return query.filter(getattr(self.model, self.column_name) >= value)


class Below(BaseFilter):  # type: ignore[misc]
    """The number or moment is smaller than this one."""

    def apply(self, query: Any, value: Any) -> Any:
        """Add the condition."""
        return query.filter(getattr(self.model, self.column_name) < value)


class AtMost(BaseFilter):  # type: ignore[misc]
    """The number or day is this one or a smaller one."""

    def apply(self, query: Any, value: Any) -> Any:
        """Add the condition."""
        return query.filter(getattr(self.model, self.column_name) <= value)


class AnyContains(BaseFilter):  # type: ignore[misc]
    """One of several columns contains the text; the names come as column_name, joined by commas."""

    def apply(self, query: Any, value: str) -> Any:
        """Add the condition; every word must occur somewhere."""
        columns = [getattr(self.model, name) for name in self.column_name.split(",")]
        for word in value.split()[:6]:
            query = query.filter(or_(*(contains(column, word) for column in columns)))
        return query


def contains(column: Any, text: str) -> Any:
    """SQL condition: `column` contains `text` as typed; % and _ mean themselves."""
    return column.icontains(text[:TEXT_LIMIT], autoescape=True)


def parse_day(text: str) -> date | None:
    """A day as the browser's date field writes it (ISO 8601), or None."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def parse_number(text: str) -> Decimal | None:
    """A finite number that every database can compare, or None."""
    try:
        number = Decimal(text.replace(",", "."))
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) <= NUMBER_LIMIT else None
