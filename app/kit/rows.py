"""Statements about rows that many need in the same words: insert unless it is there, delete a batch, claim.

All but purge_older() run inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import or_, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from app.kit.db import db, transaction, utcnow

DELETE_BATCH = 1000
"""Rows that are forgotten by one statement."""


def insert_once(table: Any, values: Mapping[str, Any], index_elements: Sequence[str]) -> bool:
    """INSERT … ON CONFLICT DO NOTHING; False when such a row was there already.

    table: a Table or a mapped class. index_elements: columns of the unique index that decides.
    """
    table = getattr(table, "__table__", table)
    session = db.session()
    dialect = session.get_bind(clause=table).dialect.name
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(table).values(**values)
    # SQLAlchemy drops an INSERT's row count unless asked; it would then be -1, which is true, on PostgreSQL.
    result: Any = session.execute(
        insert.on_conflict_do_nothing(index_elements=list(index_elements)),
        execution_options={"preserve_rowcount": True},
    )
    return bool(result.rowcount == 1)


def insert_many_once(
    table: Any, rows: Sequence[Mapping[str, Any]], index_elements: Sequence[str]
) -> set[tuple[Any, ...]]:
    """The same for many rows by one statement; the keys, values of `index_elements`, of those that were not there.

    rows: all with the same columns, and no two with the same key.
    """
    if not rows:
        return set()
    table = getattr(table, "__table__", table)
    session = db.session()
    dialect = session.get_bind(clause=table).dialect.name
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    key = [table.c[name] for name in index_elements]
    found = session.execute(
        insert.on_conflict_do_nothing(index_elements=list(index_elements)).returning(*key), list(rows)
    )
    return {tuple(row) for row in found}


def delete_some(table: Any, *where: Any, order_by: Any) -> int:
    """Delete the first DELETE_BATCH rows of a mapped class, inside the running transaction; how many they were.

    All at once may take longer than a statement may, and is then never done. order_by: a column whose index finds them.
    """
    key = tuple(table.__table__.primary_key)
    some = select(*key).where(*where).order_by(order_by).limit(DELETE_BATCH)
    done: Any = db.session.execute(table.__table__.delete().where(tuple_(*key).in_(some)))
    return int(done.rowcount)


def purge_older(table: Any, column: Any, than: datetime) -> bool:
    """Delete a batch of what the column (indexed) tells to be older; whether there may be more. Commits."""
    with transaction():
        return delete_some(table, column < than, order_by=column) == DELETE_BATCH


Row = TypeVar("Row")


def claim(model: type[Row], *where: Any, order_by: Sequence[Any], limit: int, lease: timedelta) -> list[Row]:
    """Take rows for yourself until `lease` is over; what another has claimed is left to them.

    model needs a column `claimed_until`. Call inside transaction(), work after it, record in another. On
    PostgreSQL workers skip each other's rows; on SQLite the write lock makes them take turns.
    """
    now = utcnow()
    claimed_until = model.claimed_until  # type: ignore[attr-defined]
    rows = db.session.scalars(
        select(model)
        .where(*where, or_(claimed_until.is_(None), claimed_until < now))
        .order_by(*order_by)
        .limit(limit)
        # key_share: whoever adds a row that refers to this one need not wait.
        .with_for_update(skip_locked=True, key_share=True)
    ).all()
    for row in rows:
        row.claimed_until = now + lease  # type: ignore[attr-defined]
    return list(rows)
