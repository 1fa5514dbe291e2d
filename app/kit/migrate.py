"""A numbered history per database, run by one command.

The same history passes whether the databases are SQLite files, one PostgreSQL, or one each: every bind has its own
version table and looks only at its own tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from flask import current_app
from sqlalchemy import JSON, Connection, inspect, text
from sqlalchemy.types import TypeDecorator

from app.kit import db

HISTORY = Path(__file__).resolve().parents[2] / "migrations"
SETUP_LOCK = 0x454D4255
"""Key of the PostgreSQL advisory lock that lets only one set-up run at a time."""

OWN_TABLES = {db.PLATFORM: ("ab_", "platform_")}
"""Which tables of a shared database belong to a bind: by prefix; a service's own name by default."""


def binds() -> list[str]:
    """The binds of this process, platform first."""
    return [db.PLATFORM, *current_app.extensions["embudo_services"]]


def version_table(bind: str) -> str:
    """Where a bind's current revision is kept."""
    return f"alembic_version_{bind}"


def prefixes(bind: str) -> tuple[str, ...]:
    """Prefixes of the tables that belong to a bind."""
    return OWN_TABLES.get(bind, (f"{bind}_",))


def config_of(bind: str, connection: Connection | None = None) -> Any:
    """Alembic's configuration for one bind's history."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(HISTORY))
    config.set_main_option("version_locations", str(HISTORY / "versions" / bind))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes.update(
        bind=bind, connection=connection, metadata=current_app.extensions["embudo_metadata"][bind]
    )
    return config


@cache
def known(bind: str) -> tuple[str, ...]:
    """The revisions of a bind that this release knows, oldest first; their files begin with them."""
    files = (HISTORY / "versions" / bind).glob(f"{bind}_[0-9]*.py")
    return tuple(sorted("_".join(file.stem.split("_")[:2]) for file in files))


def head(bind: str) -> str | None:
    """The newest revision this release knows of a bind."""
    return known(bind)[-1] if known(bind) else None


def is_current(bind: str, connection: Connection) -> bool:
    """Whether a bind's database has this release's tables, or those of a newer one.

    During a rolling update the database is ahead of the processes that still run; migrations are made so that these
    go on working, hence a revision that this release does not know counts as newer.
    """
    table = version_table(bind)
    if not inspect(connection).has_table(table):
        return False
    revision = connection.scalar(text(f"SELECT version_num FROM {table}"))  # noqa: S608 (our own name)
    return revision is not None and (revision == head(bind) or revision not in known(bind))


def upgrade_all() -> list[str]:
    """Bring every bind to this release's revision; the binds that changed."""
    from alembic import command

    changed = []
    for bind in binds():
        with _connected(bind) as connection:
            if not is_current(bind, connection):
                command.upgrade(config_of(bind, connection), "head")
                changed.append(bind)
    return changed


def differences(bind: str) -> list[Any]:
    """What the models say and the database does not have; empty when the history is complete."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    config = config_of(bind)
    with db.engine_of(bind).connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": version_table(bind), "include_name": own_only(bind)}
        )
        return list(compare_metadata(context, config.attributes["metadata"]))


def own_only(bind: str) -> Any:
    """Alembic's include_name: leave the other binds' tables of a shared database alone."""

    def include(name: str | None, kind: str, _parents: Any) -> bool:
        return kind != "table" or (name or "").startswith(prefixes(bind))

    return include


def render_type(kind: str, item: Any, _context: Any) -> str | bool:
    """Alembic's render_item: our column types as migrations write them."""
    if kind != "type":
        return False
    if isinstance(item, JSON):
        return "kit.Json"
    if isinstance(item, db.UtcDateTime):
        return "kit.UtcDateTime()"
    if isinstance(item, TypeDecorator):
        return f"sa.{type(item.impl).__name__}()"
    return False


def new_revision(bind: str, message: str) -> None:
    """Write the next numbered file of a bind's history from the differences."""
    from alembic import command

    number = len(list((HISTORY / "versions" / bind).glob(f"{bind}_[0-9]*.py"))) + 1
    with db.engine_of(bind).connect() as connection:
        command.revision(
            config_of(bind, connection), message=message, autogenerate=True, rev_id=f"{bind}_{number:04d}"
        )


@contextmanager
def _connected(bind: str) -> Iterator[Connection]:
    with db.engine_of(bind).connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": SETUP_LOCK})
            connection.commit()
        elif connection.dialect.name == "sqlite":
            # SQLite changes a table by making it anew, and dropping the old one counts as deleting its rows: with
            # foreign keys on, that fails, or takes along what refers to them. (sqlite.org/lang_altertable.html §7)
            _foreign_keys(connection, "OFF")
        try:
            yield connection
            connection.commit()
        finally:
            if connection.dialect.name == "sqlite":
                connection.rollback()
                _foreign_keys(connection, "ON")
            if connection.dialect.name == "postgresql":
                connection.rollback()
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": SETUP_LOCK})
                connection.commit()


def _foreign_keys(connection: Connection, state: str) -> None:
    """Switch them past SQLAlchemy, which would begin a transaction first; in one it would do nothing."""
    connection.connection.cursor().execute(f"PRAGMA foreign_keys = {state}")
