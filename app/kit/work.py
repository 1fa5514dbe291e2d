"""The worker: one parent that loaded the app once, and children that drain queues.

RQ's default worker forks for every job (milliseconds each, and a killed parent leaves the child running). Ours are
SimpleWorkers: the job runs in the child itself, which the parent starts again when it dies. Children die with the
parent. What was being done is in the database, with a lease or a mark, and goes on after the restart.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from flask import Flask
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from app.kit import db, dead_letters, jobs, metrics, telemetry
from app.kit.ending import end_with_parent
from app.kit.redis_client import connect

WORKER_TTL = 60
"""Seconds without a heartbeat after which a worker counts as dead."""

STOP_SECONDS = 20
"""How long a child may finish its job after SIGTERM: less than the 30 s a platform gives before SIGKILL."""

ENDS = (signal.SIGTERM, signal.SIGINT)
"""The signals at which a worker ends."""

log = telemetry.get_logger("worker")


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What a child does: drains these RQ queues, or takes these services' events from the broker, or tells metrics.

    It is a child that tells them, because the parent forks and so may have no threads.
    """

    queues: tuple[str, ...] = ()
    consumes: bool = False
    tells: Callable[[], None] | None = None

    def __str__(self) -> str:
        if self.tells:
            return "metrics"
        return ("events: " if self.consumes else "") + ", ".join(self.queues)


class _TimeLimit(UnixSignalDeathPenalty):
    """RQ's alarm, for jobs with an exception that reaches us past all that the job does about failures."""

    def handle_death_penalty(self, signum: int, frame: FrameType | None) -> None:
        if self._exception is JobTimeoutException:
            raise jobs.TookTooLong
        super().handle_death_penalty(signum, frame)  # type: ignore[no-untyped-call]


class QueueWorker(SimpleWorker):
    """Drains queues inside the app's context, without per-job chatter to Redis."""

    death_penalty_class = _TimeLimit

    def __init__(self, app: Flask, queues: Sequence[Queue], **options: Any) -> None:
        super().__init__(list(queues), **options)
        self.app = app

    def perform_job(self, *args: Any, **kwargs: Any) -> bool:
        """Run the job in a fresh context, so that no session outlives it."""
        with self.app.app_context():
            return bool(super().perform_job(*args, **kwargs))

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Take no further job, and have the one that runs begin nothing more."""
        jobs.stop()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """Go on finishing the job: platforms send SIGTERM to every process and the parent sends it again.

        RQ would break off in the middle of a job; the parent kills whoever has not finished in STOP_SECONDS.
        """

    def teardown(self) -> None:
        """Say good-bye on a fresh connection.

        The signal breaks in anywhere, also when a question for work has been sent and its answer is not awaited yet: on
        that connection Redis would answer nothing else before there is work.
        """
        self.connection.connection_pool.disconnect(inuse_connections=False)
        super().teardown()  # type: ignore[no-untyped-call]


def run(app: Flask, names: Sequence[str]) -> None:
    """Drain the named queues (all served ones when none is named) until SIGTERM or SIGINT."""
    parts = _parts(app, names)
    db.dispose_engines(app)
    gc.collect()
    gc.freeze()  # the collector would write into pages that the children share with us
    children: dict[int, _Part] = {}
    stopping: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopping.append(number)
        for child in children:
            _signal(child, signal.SIGTERM)

    def start(part: _Part) -> None:
        """Start a child, unless it is too late. A signal waits until we know whom to pass it on to."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
        try:
            if not stopping:
                children[_start(app, part)] = part
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)

    for number in ENDS:
        signal.signal(number, stop)
    for part in parts:
        start(part)
    log.info("worker started", parts=[str(part) for part in parts])
    deadline: float | None = None
    while children:
        pid, _status = os.waitpid(-1, os.WNOHANG)
        if pid in children:
            part = children.pop(pid)
            if not stopping:
                log.error("worker child died, starting it again", part=str(part))
                time.sleep(0.5)  # a child that dies at once must not spin
                start(part)
            continue
        if stopping:
            deadline = deadline or time.monotonic() + STOP_SECONDS
            if time.monotonic() > deadline:
                for child, part in children.items():
                    log.error("worker child does not end, killing it", part=str(part))
                    _signal(child, signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, 0.2)
    log.info("worker stopped")


def _parts(app: Flask, names: Sequence[str]) -> list[_Part]:
    """What the children do, one each; exits when a queue is named that is not served."""
    with app.app_context():
        known = list(dict.fromkeys(job.queue for job in jobs.known().values()))
        patient = {job.queue for job in jobs.known().values() if job.patient}
    unknown = sorted(set(names) - set(known))
    if unknown:
        sys.exit(
            f"No such queue here: {', '.join(unknown)}. Queues of the served services: {', '.join(known)}."
        )
    queues = list(names) or known
    parts = [_Part(queues=tuple(group)) for group in _groups(queues, patient, app.config["WORKER_PROCESSES"])]
    if app.config["EVENTS_BROKER_URL"] and (listeners := _listeners(app, queues)):
        parts.append(_Part(queues=tuple(listeners), consumes=True))
    metrics.join(app.config)
    if tells := metrics.serve(app):
        parts.append(_Part(tells=tells))
    return parts


def _groups(queues: Sequence[str], patient: Collection[str], processes: int) -> list[list[str]]:
    """Which child drains what. The first child only takes queues whose jobs end soon, so that somebody who writes is
    never answered later because a mail server or a spreadsheet is slow; each other child begins with another queue.
    """
    prompt = [name for name in queues if name not in patient]
    slow = [name for name in queues if name in patient]
    if processes == 1 or not prompt or not slow:
        processes = max(1, min(processes, len(queues)))
        return [[*queues[start:], *queues[:start]] for start in range(processes)]
    turns = [index % len(slow) for index in range(processes - 1)]
    return [prompt, *([*slow[turn:], *slow[:turn], *prompt] for turn in turns)]


def _listeners(app: Flask, queues: Sequence[str]) -> list[str]:
    """The services whose events this worker takes from the broker: those whose queue of this name it drains."""
    with app.app_context():
        return [
            name
            for name in app.extensions["embudo_services"]
            if name in queues and dead_letters.job_name(name) in jobs.known()
        ]


def _start(app: Flask, part: _Part) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        end_with_parent(parent, signal.SIGKILL)
        # Until the work below says otherwise, SIGTERM just ends us: what the parent does at it is not for us.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # The parent tells us; a terminal's Ctrl-C reaches everybody.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
        db.dispose_engines(app, close=False)
        if part.tells:
            part.tells()
        elif part.consumes:
            from app.kit import broker  # who has no broker does not load its client

            app.extensions["embudo_redis"] = connect(app.config["REDIS_URL"])
            broker.consume(app, part.queues)
        else:
            _drain(app, part.queues)
        status = 0
    except BaseException:
        log.exception("worker child failed")
    finally:
        os._exit(status)


def _drain(app: Flask, names: Sequence[str]) -> None:
    while True:
        connection = connect(app.config["REDIS_URL"], reply_seconds=None)
        app.extensions["embudo_redis"] = connect(app.config["REDIS_URL"])
        try:
            queues = [Queue(name, connection=connection, serializer=JSONSerializer) for name in names]
            worker = QueueWorker(
                app,
                queues,
                connection=connection,
                serializer=JSONSerializer,
                worker_ttl=WORKER_TTL,
                maintenance_interval=30,
                log_job_description=False,
            )
            worker.work(logging_level="WARNING", with_scheduler=False)
        except RedisError as error:
            if jobs.stopping():
                return
            log.warning("redis is gone, waiting for it", error=type(error).__name__)
            time.sleep(1)
            continue
        return


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
