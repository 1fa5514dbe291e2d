"""Databases, Redis, RabbitMQ, the disk: what must answer before anything else makes sense."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from flask import current_app
from flask_babel import gettext, ngettext
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

from app.kit import db, migrate
from app.kit.doctor.findings import Check, Finding, clock_remark, fault, ok, short_url, warning
from app.kit.errors import Temporary
from app.kit.redis_client import RedisError, redis

POSTGRESQL = (14,)
"""The oldest version that still gets fixes (postgresql.org/support/versioning, November 2026)."""

SQLITE = (3, 35)
"""UPDATE … RETURNING, without which rows cannot be claimed."""

REDIS = (6, 2)
"""LPOP with a count, which the relay uses; RQ itself asks for 5."""

RABBITMQ = (3, 10)
"""Quorum queues that dead-letter at least once (rabbitmq.com/docs/quorum-queues)."""

CONNECTIONS_LEFT = 5
"""Fewer free connections than this and the next process that starts may get none."""

CONNECTIONS = 20
"""What web, worker and relay need in their default sizes."""

MEMORY_SHARE = 0.9
DISK_LOW, DISK_FULL = 1_000_000_000, 200_000_000
"""Free bytes below which a disk gets a warning, and below which it counts as full."""

_CONNECTIONS = text(
    "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,"
    " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
    " (SELECT datconnlimit FROM pg_database WHERE datname = current_database()),"
    " (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),"
    " (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND backend_type = 'client backend')"
)
_READ_ONLY_TABLES = text(
    "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'r' AND n.nspname = current_schema() AND starts_with(c.relname, :prefix)"
    " AND NOT (has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')"
    " AND has_table_privilege(c.oid, 'DELETE'))"
)


@contextmanager
def making_no_files() -> Iterator[None]:
    """While this lasts, a SQLite database that is not there is an error; else whoever asks it would make it."""
    engines = {db.engine_of(bind) for bind in migrate.binds()}
    engines = {engine for engine in engines if engine.dialect.name == "sqlite"}
    for engine in engines:
        event.listen(engine, "do_connect", _refuse_missing)
    try:
        yield
    finally:
        for engine in engines:
            event.remove(engine, "do_connect", _refuse_missing)


def _refuse_missing(_dialect: Any, _record: Any, arguments: list[Any], _options: Any) -> None:
    path = str(arguments[0])
    if path != ":memory:" and not Path(path).exists():
        raise sqlite3.OperationalError("the database does not exist yet")


def checks() -> list[Check]:
    """A check for every database server, for Redis, for the broker when there is one, and for the disk."""
    found = [
        Check(name=f"database {' '.join(binds)}", run=partial(_database, engine, binds), first=True)
        for engine, binds in db.by_engine(migrate.binds()).items()
    ]
    found.append(Check(name="redis", run=_redis, first=True))
    if current_app.config.get("EVENTS_BROKER_URL"):
        found.append(Check(name="broker", run=_broker, first=True))
    found.append(Check(name="disk", run=_disk))
    return found


def variable_of(binds: Iterable[str]) -> str:
    """The variable that says where these databases are, as the person set it or would set it."""
    named = [f"{bind.upper()}_DATABASE_URL" for bind in binds]
    return ", ".join([name for name in named if os.environ.get(name)] or ["DATABASE_URL"])


def _database(engine: Engine, binds: list[str]) -> Iterator[Finding]:
    where = f"{variable_of(binds)} ({', '.join(binds)})"
    if engine.dialect.name == "sqlite":
        yield from _sqlite(engine, binds[0])
        return
    try:
        with engine.connect() as connection:
            yield from _postgresql(connection, binds, where)
    except DBAPIError as error:
        yield fault(
            gettext("The database does not answer (%(kind)s).", kind=type(error.orig).__name__),
            where,
            gettext(
                "Check that %(address)s is right, that the server runs and lets this user in from here.",
                address=short_url(engine.url.render_as_string(hide_password=True)),
            ),
        )


def _sqlite(engine: Engine, bind: str) -> Iterator[Finding]:
    path = Path(engine.url.database or "")
    where = f"{path.name} ({bind})"
    # Connecting would make the file, and the doctor makes nothing.
    if not path.is_file():
        yield fault(gettext("The database does not exist yet."), where, gettext("Run: flask ops setup"))
        return
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        yield fault(
            gettext("The file or its folder cannot be written."),
            where,
            gettext("Make this user their owner; SQLite writes files beside the database, too."),
        )
        return
    if sqlite3.sqlite_version_info < SQLITE:
        yield fault(
            gettext("SQLite %(version)s is too old.", version=sqlite3.sqlite_version),
            where,
            gettext("Use a Python with SQLite %(least)s or newer.", least=_dotted(SQLITE)),
        )
        return
    try:
        with engine.connect() as connection:
            yield from _migrations(connection, [bind], where, f"SQLite {sqlite3.sqlite_version}")
    except DBAPIError as error:
        yield fault(
            gettext("The database does not answer (%(kind)s).", kind=type(error.orig).__name__),
            where,
            gettext(
                "The file may be damaged or locked by a program that hangs; stop everything, then look again."
            ),
        )


def _postgresql(connection: Connection, binds: list[str], where: str) -> Iterator[Finding]:
    version = connection.dialect.server_version_info or (0,)
    if version < POSTGRESQL:
        yield warning(
            gettext("PostgreSQL %(version)s gets no more fixes.", version=_dotted(version)),
            where,
            gettext("Move to PostgreSQL %(least)s or newer.", least=_dotted(POSTGRESQL)),
        )
    read_only, standby, now = connection.execute(
        text("SELECT current_setting('transaction_read_only'), pg_is_in_recovery(), clock_timestamp()")
    ).one()
    if read_only == "on" or standby:
        yield fault(
            gettext("The database only lets us read."),
            where,
            gettext(
                "Name the primary server, not a standby; give the user default_transaction_read_only = off."
            ),
        )
    for bind in binds:
        for prefix in migrate.prefixes(bind):
            if closed := connection.scalar(_READ_ONLY_TABLES, {"prefix": prefix}):
                yield fault(
                    ngettext(
                        "%(num)d table (%(prefix)s…) cannot be written by this user.",
                        "%(num)d tables (%(prefix)s…) cannot be written by this user.",
                        closed,
                        prefix=prefix,
                    ),
                    where,
                    gettext("Run the set-up and the application as the same database user."),
                )
    yield from _connections(connection, where)
    yield from clock_remark(now.astimezone(UTC), gettext("the database server"), where)
    yield from _migrations(connection, binds, where, f"PostgreSQL {_dotted(version)}")


def _connections(connection: Connection, where: str) -> Iterator[Finding]:
    server, used, of_database, of_role, ours = connection.execute(_CONNECTIONS).one()
    limits = [(server, used), *((limit, ours) for limit in (of_database, of_role) if limit >= 0)]
    left = min(limit - taken for limit, taken in limits)
    most = min(limit for limit, _ in limits)
    remedy = gettext("Lower WEB_CONCURRENCY, WEB_THREADS or WORKER_PROCESSES, or allow more connections.")
    if left < CONNECTIONS_LEFT:
        yield warning(
            gettext("Only %(left)d connections are left of %(most)d.", left=left, most=most), where, remedy
        )
    elif most < CONNECTIONS:
        yield warning(
            gettext(
                "The server allows %(most)d connections; the default sizes need %(needed)d.",
                most=most,
                needed=CONNECTIONS,
            ),
            where,
            remedy,
        )


def _migrations(connection: Connection, binds: list[str], where: str, server: str) -> Iterator[Finding]:
    behind = [bind for bind in binds if not migrate.is_current(bind, connection)]
    if behind:
        yield fault(
            gettext("Migrations are missing: %(binds)s.", binds=", ".join(behind)),
            where,
            gettext("Run: flask ops setup"),
        )
        return
    yield ok(gettext("%(server)s answers; tables are those of this release.", server=server), where)


def _redis() -> Iterator[Finding]:
    where = "REDIS_URL" if os.environ.get("REDIS_URL") else "Redis"
    try:
        info: dict[str, Any] = redis().info()
        at = redis().time()
    except RedisError as error:
        yield fault(
            gettext(
                "Redis does not answer (%(kind)s); work waits in the databases.", kind=type(error).__name__
            ),
            where,
            gettext("Check REDIS_URL and that the server runs; the local one is started by: make run"),
        )
        return
    version = str(info.get("redis_version", "0"))
    if _numbers(version) < REDIS:
        yield fault(
            gettext("Redis %(version)s is too old.", version=version),
            where,
            gettext("Move to Redis %(least)s or newer, or Valkey.", least=_dotted(REDIS)),
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield fault(
            gettext("Redis throws away what we keep in it when memory is short (%(policy)s).", policy=policy),
            where,
            gettext("Set maxmemory-policy to noeviction; use another Redis for caches."),
        )
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if limit and used > limit * MEMORY_SHARE:
        yield warning(
            gettext("Redis uses %(percent)d %% of its memory.", percent=round(100 * used / limit)),
            where,
            gettext("Raise maxmemory, or look what fills it."),
        )
    yield from _persistence(info, where)
    yield from clock_remark(datetime.fromtimestamp(at[0], UTC), "Redis", where)
    yield ok(gettext("Redis %(version)s answers.", version=version), where)


def _persistence(info: dict[str, Any], where: str) -> Iterator[Finding]:
    for part in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"):
        if info.get(part, "ok") != "ok":
            yield fault(
                gettext("Redis cannot write its data to disk (%(part)s).", part=part),
                where,
                gettext("Look at its log and its disk; it may refuse all writes meanwhile."),
            )
    if not info.get("aof_enabled"):
        yield warning(
            gettext(
                "Redis keeps no append-only file: a restart forgets what is in flight, and all is handed over again."
            ),
            where,
            gettext("Set appendonly yes."),
        )


def _broker() -> Iterator[Finding]:
    from app.kit import broker

    where = "EVENTS_BROKER_URL"
    try:
        version, queues = broker.inspect(
            current_app.config["EVENTS_BROKER_URL"], current_app.extensions["embudo_services"]
        )
    except Temporary as error:
        yield fault(
            gettext("RabbitMQ does not answer (%(code)s); events wait in the outboxes.", code=error.code),
            where,
            gettext("Check address, user, password and virtual host, and that the server runs."),
        )
        return
    if _numbers(version) < RABBITMQ:
        yield fault(
            gettext("RabbitMQ %(version)s is too old.", version=version),
            where,
            gettext("Move to RabbitMQ %(least)s or newer.", least=_dotted(RABBITMQ)),
        )
    for queue in queues:
        yield from _queue(queue, where)
    yield ok(gettext("RabbitMQ %(version)s answers.", version=version), where)


def _queue(queue: Any, where: str) -> Iterator[Finding]:
    name = f"embudo.{queue.service}"
    if queue.state == "missing":
        yield warning(
            gettext("The queue %(queue)s does not exist yet.", queue=name),
            where,
            gettext("Start a relay or a worker of that service; it makes the queue."),
        )
    elif queue.state == "different":
        yield fault(
            gettext("The queue %(queue)s is not the quorum queue that we make.", queue=name),
            where,
            gettext("Let it run empty, delete it, and restart the workers; they make it anew."),
        )
    elif not queue.consumers:
        yield fault(
            ngettext(
                "Nobody takes events from the queue %(queue)s; %(num)d waits.",
                "Nobody takes events from the queue %(queue)s; %(num)d wait.",
                queue.waiting,
                queue=name,
            ),
            where,
            gettext("Start a worker of that service: python worker.py"),
        )
    if queue.dead:
        yield warning(
            ngettext(
                "RabbitMQ has put %(num)d letter of %(queue)s aside.",
                "RabbitMQ has put %(num)d letters of %(queue)s aside.",
                queue.dead,
                queue=name,
            ),
            where,
            gettext("Look at them under Failed events and bring them back."),
        )


def _disk() -> Iterator[Finding]:
    folder = Path(current_app.instance_path)
    where = f"EMBUDO_INSTANCE ({folder.name}/)"
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        yield fault(
            gettext("The instance folder is missing or cannot be written."),
            where,
            gettext("Make it, owned by the user who runs Embudo."),
        )
        return
    free = shutil.disk_usage(folder).free
    shown = gettext("%(megabytes)d MB are free.", megabytes=free // 1_000_000)
    if free >= DISK_LOW:
        yield ok(shown, where)
        return
    yield (fault if free < DISK_FULL else warning)(
        shown, where, gettext("Free some space, or move the folder.")
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-", maxsplit=1)[0].split(".") if part.isdecimal())


def _dotted(version: tuple[Any, ...]) -> str:
    return ".".join(map(str, version[:2]))
