"""State, asked when somebody scrapes: each part by itself, with a time limit, so that a broken one hides no other.

Servers are first asked whether they answer at all, at once and each in a lane of its own (app.kit.lanes): one that
hangs counts as down, and what reads it is left out. An answer is kept a few seconds, so several Prometheus servers cost
the databases no more than one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from flask import Flask, current_app
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from app.kit import db, lanes, resilience, telemetry
from app.kit.errors import Temporary
from app.kit.redis_client import RedisError, redis

KEPT_SECONDS = 3.0
"""How long an answer is given again: less than any sensible scrape interval."""

QUERY_MS = 2000
"""How long one statement may take on PostgreSQL, milliseconds."""

ALIVE_SECONDS = 1.5
"""Who has not answered “are you there?” by then is told as down."""

SCRAPE_SECONDS = 2.5
"""What has not been answered by then is left out: Prometheus gives up after four seconds (deploy/prometheus) and would
get nothing, which looks as if the service were gone."""

log = telemetry.get_logger("metrics")


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """A number that is asked. meaning: a sentence with the unit. labels: their names, in the order of values."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()


Sample = tuple[Gauge, tuple[str, ...], float]
"""A gauge, the values of its labels, its value."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something that is asked by one or a few statements, whose number does not grow with the rows.

    needs: the binds it reads, and "redis": when one of them is down, the part is not asked at all. silent: what is told
    when it gives no answer in time, for a part that asks whether something is there.
    """

    name: str
    gauges: tuple[Gauge, ...]
    read: Callable[[], Iterable[Sample]]
    needs: tuple[str, ...] = ()
    silent: tuple[Sample, ...] = ()


DATABASE_UP = Gauge(
    name="embudo_database_up", meaning="Whether the database of this bind answers", labels=("bind",)
)
REDIS_UP = Gauge(name="embudo_redis_up", meaning="Whether Redis answers")
SCRAPE_ERRORS = Gauge(
    name="embudo_metrics_scrape_errors", meaning="Parts of this answer that could not be read"
)
DUE_ROWS = Gauge(
    name="embudo_due_rows",
    meaning="Rows that wait for a worker and could be worked on now",
    labels=("service", "work"),
)
DUE_AGE = Gauge(
    name="embudo_due_oldest_age_seconds",
    meaning="Seconds for which the oldest of the due rows has been due; 0 when there is none",
    labels=("service", "work"),
)
BREAKER_OPEN = Gauge(
    name="embudo_breaker_open",
    meaning="Whether calls are held back because they kept failing",
    labels=("provider",),
)


def init_metrics(app: Flask, parts: Iterable[Part]) -> None:
    """Tell the app what to ask, beside what the kit itself asks."""
    from app.kit.metrics import own  # it declares its parts with what is above

    state = app.extensions["embudo_metrics"] = _State((*own.parts(app.extensions["embudo_services"]), *parts))
    app.extensions.setdefault("embudo_process_caches", []).append(state.forget)


class _State:
    """The last answer, and the lock that makes scrapes at the same time share one."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.lock = threading.Lock()
        self.until = 0.0
        self.kept: list[GaugeMetricFamily] = []

    def forget(self) -> None:
        """Ask anew at the next scrape."""
        self.until = 0.0


def families() -> list[GaugeMetricFamily]:
    """All gauges as they are now; never raises for a part that cannot be read."""
    state: _State = current_app.extensions["embudo_metrics"]
    with state.lock:
        if state.until < time.monotonic():
            state.kept = _families(state.parts)
            state.until = time.monotonic() + KEPT_SECONDS
        return state.kept


def _families(parts: Sequence[Part]) -> list[GaugeMetricFamily]:
    deadline = time.monotonic() + SCRAPE_SECONDS
    asked = {part.name: _ask(part) for part in parts if not part.needs}
    down = _down()
    asked |= {part.name: _ask(part) for part in parts if part.needs and not down & set(part.needs)}
    answers = lanes.answers(asked, deadline - time.monotonic())
    gauges = [DATABASE_UP, REDIS_UP, SCRAPE_ERRORS, *(gauge for part in parts for gauge in part.gauges)]
    found = {
        gauge.name: GaugeMetricFamily(gauge.name, gauge.meaning, labels=gauge.labels) for gauge in gauges
    }
    samples: list[Sample] = [(DATABASE_UP, (bind,), float(bind not in down)) for bind in _binds()]
    samples.append((REDIS_UP, (), float("redis" not in down)))
    failed = 0
    for part in parts:
        told = _told(part, answers.get(part.name), late=part.name in asked)
        failed += told is None
        samples += told or ()
    samples.append((SCRAPE_ERRORS, (), failed))
    for gauge, labels, value in samples:
        found[gauge.name].add_metric(labels, value)
    return list(found.values())


def _told(part: Part, answer: Future[list[Sample]] | None, *, late: bool) -> Sequence[Sample] | None:
    """The samples of a part; None when it could not be read. late: it was asked, and has not answered."""
    if answer is None:
        if late:
            log.warning("part of the metrics not read in time", part=part.name)
        return part.silent or None
    error = answer.exception()
    if error is None:
        return answer.result()
    if isinstance(error, SQLAlchemyError | RedisError | Temporary):
        log.warning("part of the metrics not read", part=part.name, error=type(error).__name__)
    else:
        # A fault of ours must not blind whoever watches; the number of what failed is watched, too.
        log.error("part of the metrics failed", part=part.name, exc_info=error)
    return None


def _binds() -> tuple[str, ...]:
    return (db.PLATFORM, *current_app.extensions["embudo_services"])


def _down() -> set[str]:
    """The databases and Redis, as far as they do not answer soon; each server is asked once."""
    servers = db.by_engine(_binds())
    asked = {engine: lanes.ask(("alive", engine), partial(_select_one, engine)) for engine in servers}
    pinged = lanes.ask(("alive", "redis"), lambda: redis().ping())
    answers = lanes.answers({**asked, "redis": pinged}, ALIVE_SECONDS)
    alive = {key for key, answer in answers.items() if answer.exception() is None}
    down = {bind for engine, binds in servers.items() if engine not in alive for bind in binds}
    return down if "redis" in alive else down | {"redis"}


def _select_one(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def _ask(part: Part) -> Future[list[Sample]]:
    """Ask a part in the lane of the server that it reads, so that one scrape takes one connection of each pool."""
    binds = [bind for bind in part.needs if bind != "redis"]
    server = db.engine_of(binds[0]) if binds else "redis" if part.needs else part.name
    return lanes.ask(("part", server), partial(_read, part))


def _read(part: Part) -> list[Sample]:
    with db.own_context():
        for bind in set(part.needs) - {"redis"}:
            engine = db.engine_of(bind)
            if engine.dialect.name == "postgresql":
                # Ends with this session's transaction; the statements of the part run in it.
                connection = db.db.session.connection(bind_arguments={"bind": engine})
                connection.execute(text(f"SET LOCAL statement_timeout = {QUERY_MS}"))
        return list(part.read())


def due_part(service: str, work: Mapping[str, Callable[[datetime], tuple[Any, tuple[Any, ...]]]]) -> Part:
    """The part that counts a service's due rows.

    work: per kind of work, a function of the time now that gives (column saying since when a row is due, conditions
    of the due rows).
    """

    def read() -> Iterator[Sample]:
        now = db.utcnow()
        for name, question in work.items():
            since, where = question(now)
            count, oldest = db.db.session.execute(select(func.count(), func.min(since)).where(*where)).one()
            age = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
            yield DUE_ROWS, (service, name), count
            yield DUE_AGE, (service, name), age

    return Part(name=f"due work of {service}", gauges=(DUE_ROWS, DUE_AGE), read=read, needs=(service,))


def last_day(now: datetime) -> str:
    """The smallest id that a row of the last 24 hours can have: ids are ordered by time, and indexed."""
    return db.first_id_at(now - timedelta(days=1))


def open_breakers(names: Mapping[str, str]) -> list[Sample]:
    """Samples of these breakers. names: breaker → what to call it, each once."""
    states = resilience.breakers_open(list(names)) if names else []
    return [
        (BREAKER_OPEN, (shown,), float(is_open))
        for shown, is_open in zip(names.values(), states, strict=True)
    ]


def breakers_part(service: str, names: Callable[[], Mapping[str, str]]) -> Part:
    """The part for the breakers of a service's providers. names: asks the service's database for `open_breakers`."""
    return Part(
        name=f"breakers of {service}",
        gauges=(BREAKER_OPEN,),
        read=lambda: open_breakers(names()),
        needs=(service, "redis"),
    )


def distinct(names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Id → name as a label's value, for rows that people name: what is not unique gets the end of its id.

    Two series with the same labels would make Prometheus refuse the whole answer.
    """
    pairs = list(names)
    often = {name for _, name in pairs if sum(other == name for _, other in pairs) > 1}
    return {id_: f"{name} ({id_[-8:]})" if name in often else name for id_, name in pairs}
