"""One session over several databases, and the rules that keep them apart.

Each service owns a bind. All binds may point to one PostgreSQL (then they share one engine and pool), or to one
database each; the code cannot tell. What would be wrong in the split case is refused in the joined case too: a
transaction that writes to two binds raises TwoBinds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import uuid_utils
from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as FlaskSession
from sqlalchemy import JSON, DateTime, Dialect, Engine, MetaData, Table, Uuid, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import DeclarativeBase, ORMExecuteState, mapped_column
from sqlalchemy.types import TypeDecorator

from app.kit.silence import Silence

PLATFORM = "platform"
"""The bind of what all services share: users, roles, API keys."""

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Constraint names that migrations can refer to on every database."""

IDLE_SECONDS = 5.0
"""A connection that lay in the pool for longer is asked whether it still lives before anybody gets it."""

SQLITE_BUSY_MS = 15_000
"""How long a SQLite writer waits for another before it gives up, milliseconds."""

Id = Annotated[str, mapped_column(Uuid(as_uuid=False))]
"""A UUID column that is text in Python, so that ids are the same thing in rows, events, URLs and Redis."""

Json = JSON().with_variant(JSONB(), "postgresql")
"""JSON column: JSONB on PostgreSQL, text on SQLite."""


class TwoBinds(RuntimeError):
    """A transaction wrote to two databases; it could be half committed. Exchange an event instead."""


class NestedTransaction(RuntimeError):
    """transaction() inside transaction(): only doors open transactions."""


class UtcDateTime(TypeDecorator[datetime]):
    """Timestamps that are aware and in UTC on both sides, also on SQLite, which stores no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times: nobody knows what they mean."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}; use kit.db.utcnow()")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give back the zone that SQLite dropped."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utcnow() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """A UUIDv7 as text: unique, and ordered by the time it was made (RFC 9562)."""
    return str(uuid_utils.uuid7())


def as_id(text: object) -> str | None:
    """The id as the database writes it; None for what can be no id: PostgreSQL refuses to compare others.

    Capitals and missing dashes are forgiven.
    """
    if not isinstance(text, str):
        return None
    try:
        found = UUID(text)
    except ValueError:
        return None
    return str(found) if text.lower() in (str(found), found.hex) else None


def is_id(text: object) -> bool:
    """Whether this can be one of our ids at all."""
    return as_id(text) is not None


def first_id_at(moment: datetime) -> str:
    """The smallest id that new_id() can have made at this moment: an id range is a time range, and has an index."""
    milliseconds = int(moment.timestamp() * 1000)
    return str(UUID(int=milliseconds << 80))  # RFC 9562 §5.7: 48 bits of Unix time, then version and chance


class Session(FlaskSession):
    """Flask-SQLAlchemy's session with the two-bind guard."""


db = SQLAlchemy(session_options={"class_": Session, "expire_on_commit": False})

_bases: dict[str, type[DeclarativeBase]] = {}
_in_transaction: ContextVar[bool] = ContextVar("embudo_in_transaction", default=False)
_joinable: ContextVar[bool] = ContextVar("embudo_joinable", default=False)


def bind_base(bind: str) -> type[Any]:
    """The declarative base whose tables live in `bind`; the same one at every call."""
    if bind not in _bases:
        info = {} if bind == PLATFORM else {"bind_key": bind}
        metadata = MetaData(naming_convention=NAMING, info=info)
        _bases[bind] = type(f"{bind.title()}Base", (DeclarativeBase,), {"metadata": metadata})
        db.metadatas[None if bind == PLATFORM else bind] = metadata
    return _bases[bind]


def metadata_of(bind: str) -> MetaData:
    """The tables of a bind, as far as their models are imported."""
    metadata: MetaData = bind_base(bind).metadata
    return metadata


def init_db(app: Flask) -> None:
    """Make the engines; binds with the same URL share one engine, hence one pool and one transaction."""
    db.init_app(app)
    with app.app_context():
        engines = db._app_engines[app]
        by_url: dict[str, Engine] = {}
        for bind in sorted(engines, key=lambda key: (key is not None, key or "")):
            url = engines[bind].url.render_as_string(hide_password=False)
            engines[bind] = by_url.setdefault(url, engines[bind])
        for engine in by_url.values():
            if engine.dialect.name == "sqlite":
                _tune_sqlite(engine)
            else:
                _ask_after_idleness(engine)
                _leave_alone_after_silence(engine)


def engine_of(bind: str) -> Engine:
    """The engine that serves a bind in the current app."""
    return db.engines[None if bind == PLATFORM else bind]


def dispose_engines(app: Flask, *, close: bool = True) -> None:
    """Drop all pooled connections; close=False after a fork, since the parent still uses them."""
    with app.app_context():
        for engine in set(db.engines.values()):
            engine.dispose(close=close)


def by_engine(binds: Iterable[str]) -> dict[Engine, list[str]]:
    """The binds of each engine: several may share a database, which is then asked once for all of them."""
    found: dict[Engine, list[str]] = {}
    for bind in binds:
        found.setdefault(engine_of(bind), []).append(bind)
    return found


def _ask_after_idleness(engine: Engine) -> None:
    """Like pool_pre_ping, but only after a pause: its round trip is a sixth of an acknowledged webhook."""

    @event.listens_for(engine, "checkin")
    def _on_checkin(_connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _on_checkout(connection: Any, record: Any, _proxy: Any) -> None:
        since = record.info.get("idle_since")
        if since is None or time.monotonic() - since < IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError("the database was restarted") from error


def _leave_alone_after_silence(engine: Engine) -> None:
    """Let not everybody wait for a new connection after one that hung; what refuses takes no time."""
    silence = Silence()

    @event.listens_for(engine, "do_connect")
    def _on_connect(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        errors = dialect.loaded_dbapi.errors
        if not silence.may_ask():
            raise errors.ConnectionTimeout("the database hung just now; it is left alone for a moment")
        answered = True
        try:
            return dialect.connect(*arguments, **options)
        except errors.ConnectionTimeout:
            answered = False
            raise
        finally:
            silence.tell(answered=answered)


def _tune_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself: _on_begin chooses their kind.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")  # an acknowledged webhook must survive a power cut
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Any) -> None:
        # A read that turns into a write fails at once when somebody else wrote meanwhile (SQLITE_BUSY_SNAPSHOT),
        # whatever the busy time-out: so writers take the lock at the start.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if _in_transaction.get() else "BEGIN")


@contextmanager
def transaction(*, joinable: bool = False) -> Iterator[Any]:
    """The one way to write: commits at the end, rolls back on any error, then rings what was rung inside.

    joinable: a door that must store its own row together with what the view writes (an Idempotency-Key and its
    answer) opens the transaction first; the view's transaction() then joins it and commits nothing itself.
    Raises NestedTransaction when one is open already, TwoBinds when two databases were written.
    """
    if _in_transaction.get() and _joinable.get():
        yield db.session()
        db.session.flush()
        return
    if _in_transaction.get():
        raise NestedTransaction("transaction() is open already; only doors open one, commands never do")
    session = db.session()
    if session.new or session.dirty or session.deleted:
        raise NestedTransaction("objects were changed before transaction() was opened")
    session.commit()  # ends the read transaction of what was loaded so far: SQLite could not upgrade it
    token, joined = _in_transaction.set(True), _joinable.set(joinable)
    session.info.pop("after_commit", None)
    try:
        yield session
        session.commit()
    except BaseException:
        session.rollback()
        session.info.pop("after_commit", None)
        raise
    finally:
        _joinable.reset(joined)
        _in_transaction.reset(token)
        session.info.pop("written_bind", None)
    for action in session.info.pop("after_commit", {}).values():
        action()


def in_transaction() -> bool:
    """True inside transaction()."""
    return _in_transaction.get()


def after_commit(key: str, action: Any) -> None:
    """Run `action()` once after the running transaction has committed; the same key counts once.

    Outside a transaction it runs at once. Actions must not raise: what they do is committed already.
    """
    if not _in_transaction.get():
        action()
        return
    db.session().info.setdefault("after_commit", {})[key] = action


@contextmanager
def own_context() -> Iterator[None]:
    """A fresh app context with its own session and no open transaction, for work in another service's name."""
    token, joined = _in_transaction.set(False), _joinable.set(False)
    try:
        with current_app._get_current_object().app_context():  # type: ignore[attr-defined]
            yield
    finally:
        _joinable.reset(joined)
        _in_transaction.reset(token)


def _note_write(session: Any, table: Any) -> None:
    bind = table.metadata.info.get("bind_key", PLATFORM)
    first = session.info.setdefault("written_bind", bind)
    if first != bind:
        raise TwoBinds(
            f"this transaction writes to “{first}” and to “{bind}” ({table.name}); "
            "services exchange events, they do not share transactions"
        )


@event.listens_for(Session, "before_flush")
def _guard_flush(session: Any, _context: Any, _instances: Any) -> None:
    for instance in (*session.new, *session.dirty, *session.deleted):
        _note_write(session, instance.__mapper__.local_table)


@event.listens_for(Session, "do_orm_execute")
def _guard_execute(state: ORMExecuteState) -> None:
    if state.is_insert or state.is_update or state.is_delete:
        table = getattr(state.statement, "table", None)
        if isinstance(table, Table):
            _note_write(state.session, table)


@event.listens_for(Session, "after_commit")
@event.listens_for(Session, "after_rollback")
def _forget_binds(session: Any) -> None:
    session.info.pop("written_bind", None)
