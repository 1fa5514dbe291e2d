"""The process that never decides anything and without which everything is late.

It hands outbox events to the transport, turns nudges into RQ jobs, and every few seconds looks into the databases
for work whose bell was lost. Several relays may run; they leave each other's rows alone.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, current_app
from sqlalchemy.exc import DBAPIError

from app.kit import cache, db, gone, interest, jobs, metrics, outbox, telemetry
from app.kit.ending import Ending
from app.kit.errors import Temporary
from app.kit.redis_client import RedisError, connect, redis
from app.kit.rest import idempotency

SWEEP_SECONDS = 2.0
"""How often the databases are asked for due work: the longest a lost bell can cost."""

PURGE_SECONDS = 3600.0
"""How often it is forgotten what nobody will ask for again."""

PURGES: dict[str, Callable[[str], bool]] = {
    "events": outbox.purge,
    "answers": idempotency.purge,
    "gone": gone.purge,
}
"""Each forgets a batch of one service's old rows and says whether there may be more."""

SILENT_SECONDS = 30.0
"""A relay that has not been heard of for so long is taken for dead: fifteen sweeps were missed."""

HEARTBEAT_KEY = "embudo:relay"
"""Hash of service → unix time of the relay's last sweep; shown by the admin, watched by alerts."""

MARK_KEY = "embudo:mark"
"""With a service's name exists as long as Redis has kept its memory; when it is gone, what that service handed over is
handed over again."""

log = telemetry.get_logger("relay")


def run(app: Flask) -> None:
    """Work until SIGTERM or SIGINT."""
    stop = Ending()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.tell())
    metrics.join(app.config)
    if tells := metrics.serve(app):
        threading.Thread(target=tells, name="metrics", daemon=True).start()
    waiting = connect(app.config["REDIS_URL"], reply_seconds=SWEEP_SECONDS + 3)
    with app.app_context():
        services = list(current_app.extensions["embudo_services"])
        log.info("relay started", services=services)
        last_sweep = last_purge = 0.0
        unfinished: set[tuple[str, str]] = set()
        while not stop.is_told():
            try:
                if unfinished:
                    what = _take(waiting, services)
                else:
                    what = _wait(waiting, services, max(0.1, last_sweep + SWEEP_SECONDS - time.monotonic()))
            except RedisError as error:
                log.warning("redis is gone, waiting for it", error=type(error).__name__)
                stop.wait(1.0)
                what = set()
            if time.monotonic() - last_sweep >= SWEEP_SECONDS:
                last_sweep = time.monotonic()
                what |= _sweep(services)
            if time.monotonic() - last_purge >= PURGE_SECONDS:
                last_purge = time.monotonic()
                what |= {(service, f"purge:{name}") for service in services for name in PURGES}
            unfinished = {
                item for item in sorted(what | unfinished) if not stop.is_told() and _guarded(_answer, item)
            }
        log.info("relay stopped")


def pass_once() -> int:
    """All that is due, without waiting: it is handed over or enqueued. How many things that were."""
    services = list(current_app.extensions["embudo_services"])
    what = _take(redis(), services) | _sweep(services)
    count = len(what)
    while what:
        what = {item for item in sorted(what) if _answer(item)}
    return count


def _wait(client: Any, services: list[str], seconds: float) -> set[tuple[str, str]]:
    """The nudges that came, deduplicated: pairs of (service, what)."""
    found = client.blpop([jobs.nudge_key(service) for service in services], timeout=seconds)
    if found is None:
        return set()
    first = (found[0].decode().rpartition(":")[2], found[1].decode())
    return {first} | _take(client, services)


def _take(client: Any, services: list[str]) -> set[tuple[str, str]]:
    nudges: set[tuple[str, str]] = set()
    for service in services:
        for item in client.lpop(jobs.nudge_key(service), jobs.NUDGE_LIMIT) or []:
            nudges.add((service, item.decode()))
    return nudges


def _sweep(services: list[str]) -> set[tuple[str, str]]:
    """What the databases say is due, whatever was rung or lost."""
    what: set[tuple[str, str]] = set()
    _guarded(_beat, services)
    for service in services:
        with db.own_context():
            _guarded(_remind, service)
            if _guarded(_confirm, service):
                what.add((service, "confirmations"))
            _guarded(cache.drop_left, service)
            _guarded(interest.refresh, service)
            if _guarded(outbox.due, service):
                what.add((service, "outbox"))
    for job in jobs.known().values():
        with db.own_context():
            if _guarded(job.due):
                what.add((job.name.partition(".")[0], f"job:{job.name}"))
    return what


def _confirm(service: str) -> bool:
    """Take note of one batch of confirmations; whether there may be more."""
    confirmations = current_app.extensions["embudo_transport"].confirmations(service)
    outbox.confirm(service, confirmations)
    return bool(confirmations)


def _beat(services: list[str]) -> None:
    redis().hset(HEARTBEAT_KEY, mapping={service: time.time() for service in services})


def _remind(service: str) -> None:
    """Tell Redis again what it was told, if it has lost its memory."""
    mark = f"{MARK_KEY}:{service}"
    if not redis().exists(mark):
        outbox.hurry(service)
        redis().set(mark, "1")


def _answer(item: tuple[str, str]) -> bool:
    """One bounded piece of the work; whether more of it is left for the next round, after everybody else's turn."""
    service, what = item
    kind, _, name = what.partition(":")
    with db.own_context():
        if kind == "outbox":
            return outbox.hand_over(service) == outbox.HAND_OVER_BATCH
        if kind == "confirmations":
            return _confirm(service)
        if kind == "purge":
            return PURGES[name](service)
        if kind == "job" and name in jobs.known():
            jobs.enqueue(name)
        return False


def _guarded(work: Callable[..., Any], *args: Any) -> Any:
    """A database, Redis or a broker that is gone must not stop the other services; the next sweep tries again."""
    try:
        return work(*args)
    except (RedisError, DBAPIError, Temporary) as error:
        db.db.session.rollback()
        log.warning(
            "relay step failed, the next sweep tries again", step=work.__name__, error=type(error).__name__
        )
        return None


def heartbeats() -> dict[str, float]:
    """Seconds since the relay of each service last swept; empty when Redis is gone."""
    try:
        seen = redis().hgetall(HEARTBEAT_KEY)
    except RedisError:
        return {}
    return {service.decode(): max(0.0, time.time() - float(at)) for service, at in seen.items()}
