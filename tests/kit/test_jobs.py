"""Doorbells: one job waits however often it is rung, and none is missed because somebody died."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import repeat
from typing import Any

import pytest
from flask import Flask
from rq import Queue, Worker
from rq.serializers import JSONSerializer

from app.contracts.events import LeadCreated
from app.kit import dead_letters, jobs, outbox, transport, work
from app.kit.ending import Ending
from app.kit.redis_client import connect, redis
from tests.kit.test_outbox import a_lead_created, listen, publish

NAME = "email.send_due"


def test_a_bell_that_rings_already_brings_no_second_job(app: Flask) -> None:
    assert jobs.enqueue(NAME)
    assert not jobs.enqueue(NAME)
    assert len(jobs.queue_of("email")) == 1


def test_a_job_lost_with_a_killed_worker_is_rung_again_at_once(app: Flask) -> None:
    assert jobs.enqueue(NAME)
    jobs.queue_of("email").pop_job_id()  # and then kill -9
    assert jobs.enqueue(NAME)
    assert len(jobs.queue_of("email")) == 1


def test_what_broke_a_job_is_in_the_log_and_not_in_redis(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("refused for ana@example.com")

    trace = why_it_failed(app, monkeypatch, NAME, fail)
    assert "JobFailed: RuntimeError" in trace
    assert "ana@example.com" not in trace


def test_a_job_that_takes_too_long_is_stopped_whatever_it_does_about_failures(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_on_for_ever() -> None:
        for _ in repeat(None):
            try:
                raise RuntimeError("refused for ana@example.com")
            except Exception:  # noqa: S112
                continue

    monkeypatch.setattr(jobs, "JOB_SECONDS", 1)
    trace = why_it_failed(app, monkeypatch, NAME, go_on_for_ever)
    assert "JobFailed: TookTooLong" in trace
    assert "ana@example.com" not in trace


def test_the_event_that_was_handled_when_a_job_s_time_was_over_is_not_blamed(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_ends(_event: LeadCreated) -> None:
        for _ in repeat(None):
            pass

    listen(app, monkeypatch, {"email": {LeadCreated: never_ends}})
    publish(a_lead_created())
    outbox.hand_over("leads")
    redis().delete(jobs.nudge_key("email"))
    name = dead_letters.job_name("email")
    monkeypatch.setattr(jobs, "JOB_SECONDS", 1)
    assert "TookTooLong" in why_it_failed(app, monkeypatch, name, jobs.known()[name].run)
    assert dead_letters.counts()["email"] == (0, 0)
    assert jobs.known()[name].due(), "the letter waits for another try"


def test_events_are_handled_until_the_job_s_time_is_over_and_the_rest_by_the_next(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled: list[str] = []
    listen(app, monkeypatch, {"email": {LeadCreated: lambda event: handled.append(event.lead_id)}})
    for _ in range(3):
        publish(a_lead_created())
    outbox.hand_over("leads")
    monkeypatch.setattr(transport, "TAKE", 1)
    monkeypatch.setattr(jobs, "DRAIN_SECONDS", 0.0)
    job = jobs.known()[dead_letters.job_name("email")]
    for done in (1, 2, 3):
        redis().delete(jobs.nudge_key("email"))
        job.run()
        assert len(handled) == done
        assert redis().lrange(jobs.nudge_key("email"), 0, -1) == [f"job:{job.name}".encode()]


def test_letters_are_tried_again_until_the_job_s_time_is_over(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def refuse(event: LeadCreated) -> None:
        refused.append(event.lead_id)
        raise RuntimeError

    listen(app, monkeypatch, {"email": {LeadCreated: refuse}})
    for _ in range(3):
        publish(a_lead_created())
    outbox.hand_over("leads")
    job = jobs.known()[dead_letters.job_name("email")]
    job.run()
    monkeypatch.setattr(dead_letters, "retry_wait", lambda _attempts: 0.0)
    monkeypatch.setattr(jobs, "DRAIN_SECONDS", 0.0)
    refused.clear()
    job.run()
    assert len(refused) == 1


def why_it_failed(app: Flask, monkeypatch: pytest.MonkeyPatch, name: str, run: Callable[[], None]) -> str:
    """What RQ keeps of a worker's run of this job, which does `run`."""
    known = app.extensions["embudo_jobs"]
    monkeypatch.setitem(app.extensions, "embudo_jobs", known | {name: replace(known[name], run=run)})
    jobs.enqueue(name)
    queue = jobs.queue_of(known[name].queue)
    worker = work.QueueWorker(app, [queue], connection=redis(), serializer=JSONSerializer)
    worker.work(burst=True, logging_level="WARNING")
    (job_id,) = queue.failed_job_registry.get_job_ids()
    job = queue.fetch_job(job_id)
    assert job is not None
    result = job.latest_result()
    assert result is not None and result.exc_string is not None
    return result.exc_string


@pytest.mark.timeout(60)
def test_a_worker_told_to_end_between_a_question_and_its_answer_ends(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_ending", Ending())
    connection = connect(app.config["REDIS_URL"], reply_seconds=None)
    pool = connection.connection_pool
    asked: list[str] = []

    class Interrupted(pool.connection_class):  # type: ignore[misc, name-defined]
        """The signal comes when Redis has been asked for work, and nobody waits for the answer yet."""

        def send_command(self, *args: Any, **options: Any) -> None:
            super().send_command(*args, **options)
            if str(args[0]).startswith("BL"):
                asked.append(args[0])
                os.kill(os.getpid(), signal.SIGTERM)

    pool.connection_class = Interrupted
    queues = [
        Queue(name, connection=connection, serializer=JSONSerializer)
        for name in ("nobody-rings", "this-either")
    ]
    handlers = {number: signal.getsignal(number) for number in work.ENDS}
    try:
        worker = work.QueueWorker(app, queues, connection=connection, serializer=JSONSerializer)
        assert worker.work(logging_level="WARNING") is False
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert len(asked) == 1
    assert not Worker.all(connection=redis()), "it has said good-bye"
