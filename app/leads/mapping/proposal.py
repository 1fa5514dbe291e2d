"""A first mapping from the columns' names and types, so that most people only have to look and say yes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.leads.mapping import columns
from app.leads.mapping.columns import Column, Mapped, fits, settable
from app.leads.matching import fold

NAMES: Mapping[str, tuple[str, ...]] = {
    "name": ("name", "full name", "nombre", "nombre completo", "lead", "contact", "contacto", "cliente"),
    "company": ("company", "empresa", "organisation", "organization", "organizacion", "account", "compania"),
    "email": ("e-mail", "email", "mail", "correo", "correo electronico", "e mail", "email address"),
    "phone": ("phone", "telefono", "mobile", "movil", "telephone", "phone number", "whatsapp", "celular"),
    "stage": ("stage", "etapa", "status", "estado", "fase"),
    "amount": ("amount", "importe", "value", "valor", "deal value", "monto", "presupuesto"),
    "currency": ("currency", "moneda", "divisa"),
    "next_contact_on": ("next contact", "proximo contacto", "follow up", "follow-up", "seguimiento"),
    "notes": ("notes", "notas", "comments", "comentarios", "observaciones"),
    "tags": ("tags", "etiquetas", "labels"),
    "language": ("language", "idioma"),
    "source": ("source", "origen", "fuente"),
    "owner_name": ("owner", "responsable", "propietario", "assigned to", "asignado a", "vendedor"),
    "created_at": ("created", "created at", "creado"),
    "updated_at": ("updated", "updated at", "actualizado"),
}
"""Folded names that a column of each field usually has, in both languages."""

TYPES: Mapping[str, str] = {"email": "email", "phoneNumber": "phone", "currency": "amount"}
"""Column types that say by themselves what they hold, when they occur once."""

ID_NAMES = ("lead id", "embudo lead id", "app lead id", "embudo id", "id de lead", "id lead")


def propose(
    table: Iterable[Column], *, stages: Mapping[str, tuple[str, ...]]
) -> tuple[list[Mapped], str | None, str | None]:
    """(the pairs, the column for our lead's id, the last-modified column) for a table's columns.

    stages: key → the names it goes by, to find the choices of a stage's column.
    """
    known = [column for column in table if columns.is_usable(column.type)]
    by_name = {fold(column.name): column for column in reversed(known)}
    id_column = next((by_name[name].id for name in ID_NAMES if _may_hold_id(by_name.get(name))), None)
    modified = next(
        (column.id for column in known if column.type == columns.MODIFIED_TYPE and column.watches_all), None
    )
    taken = {id_column, modified}
    chosen: dict[str, Column] = {}
    for field, names in NAMES.items():
        for name in names:
            column = by_name.get(name)
            if column is not None and column.id not in taken and fits(field, column.type):
                chosen[field] = column
                taken.add(column.id)
                break
    for kind, field in TYPES.items():
        alike = [column for column in known if column.type == kind and column.id not in taken]
        if field not in chosen and len(alike) == 1:
            chosen[field] = alike[0]
            taken.add(alike[0].id)
    return (
        [
            Mapped(
                field=field,
                column=column.id,
                column_name=column.name,
                type=column.type,
                direction=_direction(field, column),
                options=choices_for(column, stages) if field == "stage" else {},
            )
            for field, column in chosen.items()
        ],
        id_column,
        modified,
    )


def choices_for(column: Column, names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Our value → the column's choice that goes by one of its names; those without one are written as first named."""
    choices = {fold(choice): choice for choice in column.choices}
    found: dict[str, str] = {}
    for key, known_as in names.items():
        match = next((choices[fold(name)] for name in (key, *known_as) if fold(name) in choices), None)
        found[key] = match or (known_as[0] if known_as else key)
    return found


def _may_hold_id(column: Column | None) -> bool:
    return column is not None and column.type in columns.ID_TYPES


def _direction(field: str, column: Column) -> str:
    if columns.is_read_only(column.type):
        return "in"
    return "both" if settable(field) else "out"
