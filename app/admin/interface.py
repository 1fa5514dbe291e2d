"""What lies between FAB's screens and our tables: reads are FAB's, writes are the service's commands.

FAB would add, merge and commit rows by itself, past the commands: no event would leave, no rule would hold.
Here a form's values reach the command as a plain dict, inside one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from flask_appbuilder.models.sqla.interface import SQLAInterface
from sqlalchemy import Integer, Uuid
from sqlalchemy.orm import selectinload
from sqlalchemy.types import TypeDecorator

from app.admin.filters import LeanFilters
from app.kit.db import as_id, transaction

COUNT_LIMIT = 10_001
"""A list says "10,000+" beyond: counting a million rows at every page view costs more than it tells."""

KEY_LIMIT = 2**31 - 1
"""Largest value of an integer key; PostgreSQL refuses a larger one instead of finding nothing."""

Values = Mapping[str, Any]


class SafeInterface(SQLAInterface):  # type: ignore[misc]
    """FAB's interface without its ways to fail: wrong ids, endless counts, boxes that cannot be unticked."""

    eager: tuple[str, ...] = ()
    """Relations to load with every row, dotted where they go on ("permissions.view_menu")."""

    def is_nullable(self, col_name: str) -> bool:
        """An unticked checkbox sends nothing; FAB would call that a missing value."""
        return True if self.is_boolean(col_name) else bool(super().is_nullable(col_name))

    def is_uuid(self, col_name: str) -> bool:
        """Whether the column holds a UUID as text."""
        return col_name in self.list_columns and isinstance(self.list_columns[col_name].type, Uuid)

    def is_integer(self, col_name: str) -> bool:
        """Whether the value is a whole number; a decorated integer (money) is not."""
        column = self.list_columns.get(col_name)
        return (
            column is not None and not isinstance(column.type, TypeDecorator) and super().is_integer(col_name)
        )

    def is_numeric(self, col_name: str) -> bool:
        """Whether the value is a decimal number, also one that is stored as a whole number of cents."""
        column = self.list_columns.get(col_name)
        if (
            column is not None
            and isinstance(column.type, TypeDecorator)
            and isinstance(column.type.impl, Integer)
        ):
            return True
        return bool(super().is_numeric(col_name))

    def apply_all(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """FAB's query, with the relations that will be shown loaded in one query each, not one per row."""
        query = super().apply_all(query, *args, **kwargs)
        for path in self.eager:
            names = path.split(".")
            option = selectinload(getattr(self.obj, names[0]))
            for before, name in pairwise(names):
                model = self.get_related_model(before)
                option = option.selectinload(getattr(model, name))
            query = query.options(option)
        return query

    def get_inner_filters(self, filters: Any) -> Any:
        """All of them: our filters never reach over a relation by a dotted name."""
        return filters

    def get_filters(self, search_columns: Any = None, search_filters: Any = None) -> LeanFilters:
        """Filters that are cheap to copy."""
        return LeanFilters(
            self.filter_converter_class,
            self,
            search_columns=search_columns or [],
            search_filters=search_filters,
        )

    def query_count(self, query: Any, filters: Any = None, select_columns: Any = None) -> int:
        """How many rows there are, but at most COUNT_LIMIT."""
        narrowed = self._apply_inner_all(query, filters, select_columns=select_columns, aliases_mapping={})
        return int(narrowed.limit(COUNT_LIMIT).count())

    def get(self, id: Any, filters: Any = None, *args: Any, **kwargs: Any) -> Any:  # noqa: A002 (FAB's name)
        """The row, or None; also for an id that could never be one."""
        key = self.get_pk_name()
        if isinstance(key, str):
            if self.is_uuid(key):
                id = as_id(id)  # noqa: A001
            elif self.is_integer(key):
                id = as_key(id)  # noqa: A001
            elif "\x00" in str(id):  # PostgreSQL refuses it in any text
                id = None  # noqa: A001
            if id is None:
                return None
        return super().get(id, filters or self.get_filters(), *args, **kwargs)


class CommandInterface(SafeInterface):
    """A model whose writes are commands.

    add(values) -> row or id; edit(id, changes); delete(id). Each runs inside transaction(). A command that is
    left out is not offered. Commands raise Invalid, Conflict, NotFound, Forbidden as everywhere.
    """

    def __init__(
        self,
        model: type[Any],
        *,
        add: Callable[[dict[str, Any]], Any] | None = None,
        edit: Callable[[Any, dict[str, Any]], Any] | None = None,
        delete: Callable[[Any], Any] | None = None,
    ) -> None:
        self.commands: dict[str, Callable[..., Any] | None] = {"add": add, "edit": edit, "delete": delete}
        super().__init__(model)

    def get_related_interface(self, col_name: str) -> SafeInterface:
        """The other end of a relation, to be read only."""
        return SafeInterface(self.get_related_model(col_name))

    def can(self, what: str) -> bool:
        """Whether there is a command for `what`: add, edit or delete."""
        return self.commands[what] is not None

    def add(self, values: Values, commit: bool = True) -> Any:
        """Run the add command; gives the new row's key."""
        made = self._run("add", dict(values))
        return self.get_pk_value(made) if isinstance(made, self.obj) else made

    def edit(self, id_: Any, changes: Values = (), commit: bool = True) -> None:  # type: ignore[assignment]
        """Run the edit command with the fields that changed."""
        self._run("edit", id_, dict(changes))

    def delete(self, id_: Any, commit: bool = True) -> None:
        """Run the delete command."""
        self._run("delete", id_)

    def delete_all(self, items: list[Any]) -> None:
        """FAB's bulk delete is not offered; a service offers an action that runs its command."""
        raise NotImplementedError("use an action that runs the delete command")

    def _run(self, what: str, *args: Any) -> Any:
        command = self.commands[what]
        if command is None:
            raise LookupError(f"{self.obj.__name__} has no command to {what}")
        with transaction():
            return command(*args)


def as_key(text: Any) -> int | None:
    """The integer key, or None when the text is none, however long it is: int() refuses 4300 digits."""
    digits = str(text)
    if not digits.isdecimal() or len(digits) > len(str(KEY_LIMIT)):
        return None
    key = int(digits)
    return key if key <= KEY_LIMIT else None
