"""From a form to a command and back: plain values one way, problems beside their fields the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask_appbuilder.fields import QuerySelectField, QuerySelectMultipleField
from flask_appbuilder.validators import Unique
from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from wtforms import DateTimeField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.fields.core import UnboundField

from app.admin.interface import SafeInterface
from app.contracts.problems import Problem
from app.kit.errors import EmbudoError
from app.kit.rest.problems import sentences


def values_of(form: Any, columns: Iterable[str], interface: SafeInterface) -> dict[str, Any]:
    """The form's values under the names that commands know.

    A many-to-one relation becomes the key under the name of its column (stage → stage_id), a many-to-many the
    list of keys; empty text, sent or not, becomes None where the column may be empty.
    """
    values: dict[str, Any] = {}
    for name in columns:
        field = form[name]
        data = field.data
        if isinstance(field, QuerySelectMultipleField):
            related = interface.get_related_interface(name)
            values[name] = [related.get_pk_value(row) for row in data or []]
        elif isinstance(field, QuerySelectField):
            related = interface.get_related_interface(name)
            values[interface.get_relation_fk(name).key] = None if data is None else related.get_pk_value(data)
        elif (data is None and isinstance(field, StringField)) or (
            isinstance(data, str) and not data.strip()
        ):
            values[name] = None if interface.is_nullable(name) or name not in interface.list_columns else ""
        else:
            values[name] = data
    return values


def changes_of(values: dict[str, Any], row: Any, interface: SafeInterface) -> dict[str, Any]:
    """The values that differ from what the row has; fields the row does not have always count."""
    missing: Any = object()

    def differs(name: str, value: Any) -> bool:
        stored = getattr(row, name, missing)
        if stored is missing:
            return True
        if interface.is_relation(name):
            related = interface.get_related_interface(name)
            return {related.get_pk_value(other) for other in stored} != set(value)
        return bool(stored != value)

    return {name: value for name, value in values.items() if differs(name, value)}


def mend(form: type[Any]) -> None:
    """What FAB generates, without its faults: times as browsers send them, a sentence in the reader's language."""
    for field in vars(form).values():
        if not isinstance(field, UnboundField):
            continue
        if field.field_class is DateTimeField:
            field.kwargs["format"] = ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S"]
        for check in field.kwargs.get("validators", ()):
            if isinstance(check, Unique):  # it would keep the sentence in the language of its first reader
                check.message = _l("Already exists.")


def options(pairs: Iterable[tuple[Any, Any]]) -> list[SelectChoice]:
    """Pairs of (value, label) as the choices of a SelectField."""
    return [SelectChoice(value=value, label=str(label)) for value, label in pairs]


def say(problem: Problem) -> str:
    """The problem's sentence in the reader's language."""
    return gettext(problem.template, **problem.params) if problem.params else gettext(problem.template)


def place(error: EmbudoError, form: Any, interface: SafeInterface) -> list[str]:
    """Put each problem beside its field; gives back the sentences that belong to no field."""
    by_column: dict[str, str] = {}
    for field in form:
        by_column[field.name] = field.name
        if interface.is_relation_many_to_one(field.name):
            by_column[interface.get_relation_fk(field.name).key] = field.name
    left = [] if error.problems else sentences(error)
    for problem in error.problems:
        name = problem.where.strip("/").replace("/", ".").split(".")[0]
        if name in by_column:
            field = form[by_column[name]]
            field.errors = [*field.errors, say(problem)]
        else:
            left.append(say(problem))
    return left
