"""Doorbells: RQ says that there is work, the database says which.

A job drains all due rows of its kind, so it needs no arguments and may be rung any number of times. Ringing costs
the request one Redis command; the relay turns rings into RQ jobs and leaves out those that wait already. When a
ring is lost, the relay's sweep asks every job whether rows are due and rings again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from flask import Flask, current_app
from rq import Queue, Worker

from app.kit import db, telemetry
from app.kit.ending import Ending
from app.kit.redis_client import RedisError, redis

JOB_SECONDS = 120
"""A job that drains longer than this is stopped; what it did is recorded, the rest is rung again."""

DRAIN_SECONDS = 10.0
"""After so long a job ends and rings for itself again: other queues wait for its worker, and what it has begun by then
must come to its end within the seconds that a stopping worker is given (app.kit.work.STOP_SECONDS)."""

BELL_SECONDS = 30
"""A bell that rang this long ago without an answer is rung again, also while other jobs wait in its queue."""

STALLED_SECONDS = 300.0
"""Work that has waited so long is not late but stuck: it waits for somebody who does not come."""

NUDGE_LIMIT = 10_000
"""Nudges kept while no relay runs; they are hints, so old ones may go."""

log = telemetry.get_logger("kit")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A kind of work that a worker drains.

    name: service and verb, ``whatsapp.send_messages``. queue: the RQ queue. run: drains all due rows.
    due: whether any row is due now; asked by the relay every few seconds, so it must be one cheap query.
    patient: waits for somebody outside, so a run may take a minute; the worker keeps such queues away from one child.
    """

    name: str
    queue: str
    run: Callable[[], None]
    due: Callable[[], bool]
    patient: bool = False


@dataclass(frozen=True, kw_only=True)
class QueueHealth:
    """How a queue does: jobs waiting, living workers, seconds the oldest job has waited (None: nothing waits)."""

    queue: str
    waiting: int
    workers: int
    oldest_seconds: float | None


class JobFailed(Exception):
    """A job failed; why is in the log."""


class TookTooLong(BaseException):
    """RQ stops this job. No Exception, so that whoever goes on after a failure does not take it for one."""


_ending = Ending()


def stop() -> None:
    """Have the jobs of this process begin nothing more: it was told to end."""
    _ending.tell()


def stopping() -> bool:
    """Whether this process was told to end."""
    return _ending.is_told()


def drain_until() -> float:
    """When the job that begins now should end; for is_over()."""
    return time.monotonic() + DRAIN_SECONDS


def is_over(deadline: float) -> bool:
    """Whether a job should begin nothing more and ring for the rest: its time is over, or its worker ends."""
    return stopping() or time.monotonic() >= deadline


def init_jobs(app: Flask, jobs: Iterable[Job]) -> None:
    """Tell the app which jobs it knows."""
    app.extensions["embudo_jobs"] = {job.name: job for job in jobs}


def known() -> dict[str, Job]:
    """The jobs of the served services, by name."""
    jobs: dict[str, Job] = current_app.extensions["embudo_jobs"]
    return jobs


def nudge_key(service: str) -> str:
    """The Redis list on which a service's relay waits."""
    return f"embudo:nudges:{service}"


def nudge(service: str, what: str) -> None:
    """Wake a service's relay after commit. Losing this costs the seconds until the next sweep."""
    client = redis()
    db.after_commit(f"nudge:{service}:{what}", lambda: _push(client, service, what))


def _push(client: Any, service: str, what: str) -> None:
    try:
        client.lpush(nudge_key(service), what)
    except RedisError as error:
        log.warning("nudge lost, the sweep will find the work", service=service, error=type(error).__name__)


@dataclass(kw_only=True)
class Bell:
    """A bell that is answered by who rings it. rung: whether it was."""

    name: str
    rung: bool = False


_answered: ContextVar[Bell | None] = ContextVar("embudo_answered", default=None)


@contextmanager
def answering(name: str) -> Iterator[Bell]:
    """Answer this bell yourself: rings inside the block go no further, the caller does the work right after it.

    If the caller dies in between, the sweep finds the work.
    """
    bell = Bell(name=name)
    token = _answered.set(bell)
    try:
        yield bell
    finally:
        _answered.reset(token)


def ring(name: str) -> None:
    """Say that the job `name` has work; inside transaction() it rings after commit."""
    bell = _answered.get()
    if bell is not None and bell.name == name:
        bell.rung = True
        return
    nudge(name.partition(".")[0], f"job:{name}")


def bell_key(name: str) -> str:
    """Redis key that exists while a job waits in its queue."""
    return f"embudo:bell:{name}"


def enqueue(name: str) -> bool:
    """Put the job into its RQ queue unless it waits there already; False when it does."""
    job = known()[name]
    client = redis()
    queue = queue_of(job.queue)
    # A bell over an empty queue: whoever took the job was killed before they answered. A job too many does no harm,
    # waiting until the bell is forgotten does.
    if not client.set(bell_key(name), "1", nx=True, ex=BELL_SECONDS) and client.llen(queue.key):
        return False
    queue.enqueue_call(
        "app.kit.jobs.run",
        args=(name,),
        timeout=JOB_SECONDS,
        result_ttl=60,
        failure_ttl=86_400,
        description=name,
    )
    return True


def queue_of(name: str) -> Queue:
    """The RQ queue; JSON, so that nothing from Redis is ever unpickled."""
    return Queue(name, connection=redis(), serializer="rq.serializers.JSONSerializer")


def run(name: str, *_former: Any) -> None:
    """Run a job inside the worker's app; called by RQ, which knows only this name.

    The run has a request id of its own; work on a row is done under the id that the row was made under, so that what
    a request leads to can be found under its id (app.kit.context). _former: what an older release gave along.
    """
    # The bell goes first: whoever rings from now on may have work that the drain below no longer sees.
    redis().delete(bell_key(name))
    job = known().get(name)
    if job is None:
        log.warning("unknown job left alone", job=name)
        return
    with db.own_context(), telemetry.bound(request_id=db.new_id(), job=name):
        started = time.perf_counter()
        outcome = "failed"
        try:
            job.run()
            outcome = "done"
        except Exception as error:
            log.exception("job failed", job=name)
            # RQ keeps the text and the trace of what it catches, and logs it again: neither may name people.
            raise JobFailed(type(error).__name__) from None
        except TookTooLong as error:
            log.error("job stopped, it took too long", job=name)
            raise JobFailed(type(error).__name__) from None
        finally:  # also when RQ stops it because it takes too long
            telemetry.JOBS.labels(name, outcome).inc()
            telemetry.JOB_SECONDS.labels(name).observe(time.perf_counter() - started)


def health() -> list[QueueHealth]:
    """How each queue of the served services does; empty when Redis is gone."""
    try:
        workers = Worker.all(connection=redis())
        names = sorted({job.queue for job in known().values()})
        report = []
        for name in names:
            queue = queue_of(name)
            oldest = queue.get_jobs(0, 1)
            waited = None
            if oldest and oldest[0].enqueued_at:
                waited = max(0.0, (db.utcnow() - oldest[0].enqueued_at).total_seconds())
            alive = sum(1 for worker in workers if name in worker.queue_names())
            report.append(QueueHealth(queue=name, waiting=len(queue), workers=alive, oldest_seconds=waited))
    except RedisError:
        return []
    return report
