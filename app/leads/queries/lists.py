"""Lists of leads: filtered, sorted, and paged by the last row seen, so that new rows shift nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select, true

from app.kit.auth import Principal
from app.kit.db import db
from app.kit.storable import storable
from app.leads import matching
from app.leads.models import Lead, LeadTag, Tag
from app.leads.queries.people import EMAIL, PHONE

# What a list can be sorted by; a leading minus turns it round.
SORTS: dict[str, Any] = {
    "created_at": Lead.created_at,
    "updated_at": Lead.updated_at,
    "name": Lead.name_key,
    "amount": Lead.amount,
}
# More words than that are a pasted text, not a search.
SEARCH_WORDS = 8
NOBODY = 0
"""owner=0 asks for leads without an owner."""


@dataclass(frozen=True, kw_only=True)
class LeadFilter:
    """What a list shows. Empty means any; times are inclusive at the start and exclusive at the end.

    phone, email: of the one lead that has it, in any spelling; what is none fits nobody.
    """

    stages: Sequence[str] = ()
    owner: int | None = None
    sources: Sequence[str] = ()
    tags: Sequence[str] = ()
    q: str = ""
    phone: str = ""
    email: str = ""
    created_from: datetime | None = None
    created_to: datetime | None = None
    updated_from: datetime | None = None
    updated_to: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Position:
    """The last row of a page: the value it was sorted by, and its id."""

    value: Any
    id: str


def visible(by: Principal) -> ColumnElement[bool]:
    """Condition of the living leads that `by` may see."""
    own = Lead.owner_id == by.user_id if by.own_only else true()
    return and_(Lead.deleted_at.is_(None), own)


def conditions(filters: LeadFilter) -> list[ColumnElement[bool]]:
    """The filter as SQL conditions."""
    found: list[ColumnElement[bool]] = []
    if filters.stages:
        found.append(Lead.stage_key.in_(filters.stages))
    if filters.owner is not None:
        found.append(Lead.owner_id.is_(None) if filters.owner == NOBODY else Lead.owner_id == filters.owner)
    if filters.sources:
        found.append(Lead.source.in_(filters.sources))
    for tag in filters.tags:
        found.append(
            exists().where(
                LeadTag.lead_id == Lead.id, LeadTag.tag_id == Tag.id, Tag.key == matching.fold(tag)
            )
        )
    for identity, text in ((PHONE, filters.phone), (EMAIL, filters.email)):
        if text:
            found.append(identity.column == identity.key(text))
    for column, start, end in (
        (Lead.created_at, filters.created_from, filters.created_to),
        (Lead.updated_at, filters.updated_from, filters.updated_to),
    ):
        if start is not None:
            found.append(column >= start)
        if end is not None:
            found.append(column < end)
    return found + [Lead.search_text.contains(word, autoescape=True) for word in search_words(filters.q)]


def search_words(q: str) -> list[str]:
    """What must occur in search_text. A number typed with spaces is one word."""
    q = matching.fold(storable(q))
    if not re.search(r"[^\W\d_]|@", q):
        q = re.sub(r"(?<=[\d)])[\s().-]+(?=[\d(])", "", q)
    return q.split()[:SEARCH_WORDS]


def page(
    filters: LeadFilter,
    *,
    by: Principal,
    sort: str = "-created_at",
    after: Position | None = None,
    limit: int = 50,
) -> tuple[list[Lead], Position | None]:
    """One page and the position after which the next begins (None: this was the last)."""
    column, down = SORTS[sort.removeprefix("-")], sort.startswith("-")
    query = select(Lead).where(visible(by), *conditions(filters))
    if after is not None:
        query = query.where(_beyond(column, down, after))
    rows = list(db.session.scalars(_ordered(query, column, down).limit(limit + 1)))
    if len(rows) <= limit:
        return rows, None
    rows = rows[:limit]
    return rows, position_of(rows[-1], sort)


def position_of(lead: Lead, sort: str) -> Position:
    """Where a list sorted so goes on after this lead."""
    return Position(value=getattr(lead, SORTS[sort.removeprefix("-")].key), id=lead.id)


def position_text(position: Position) -> list[str | None]:
    """The position JSON-plain, for a cursor."""
    value = position.value
    return [
        value.isoformat() if isinstance(value, datetime) else None if value is None else str(value),
        position.id,
    ]


def position_from(sort: str, text: Any) -> Position:
    """The reverse of position_text; raises ValueError for what it never gave out."""
    if not (isinstance(text, list) and len(text) == 2 and isinstance(text[1], str)):
        raise ValueError("not a position")
    value, lead_id = text
    column = sort.removeprefix("-")
    try:
        if value is None and column == "amount":
            parsed: Any = None
        elif not isinstance(value, str):
            raise ValueError("no text")
        elif column.endswith("_at"):
            parsed = datetime.fromisoformat(value)
            if parsed.tzinfo is None:
                raise ValueError("no time zone")
            parsed = parsed.astimezone(UTC)
        elif column == "amount":
            parsed = Decimal(value)
            if not parsed.is_finite() or abs(parsed) > 10**14:
                raise ValueError("no amount")
        else:
            parsed = storable(value)
        return Position(value=parsed, id=str(UUID(lead_id)))
    except (ValueError, ArithmeticError) as error:
        raise ValueError("not a position") from error


def without_stage(filters: LeadFilter) -> LeadFilter:
    """The same filter over all stages."""
    return replace(filters, stages=())


def _ordered(query: Select[Any], column: Any, down: bool) -> Select[Any]:
    if down:
        return query.order_by(column.desc().nulls_last(), Lead.id.desc())
    return query.order_by(column.asc().nulls_last(), Lead.id.asc())


def _beyond(column: Any, down: bool, after: Position) -> ColumnElement[bool]:
    beyond_id = Lead.id < after.id if down else Lead.id > after.id
    if after.value is None:  # rows without the value come last, in both directions
        return and_(column.is_(None), beyond_id)
    beyond = column < after.value if down else column > after.value
    return or_(beyond, and_(column == after.value, beyond_id), column.is_(None))
