"""Doorbells: one job waits however often it is rung, and none is missed because somebody died."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask import Flask
from rq.serializers import JSONSerializer

from app.kit import jobs, work
from app.kit.redis_client import redis

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

    known = app.extensions["embudo_jobs"]
    monkeypatch.setitem(app.extensions, "embudo_jobs", known | {NAME: replace(known[NAME], run=fail)})
    jobs.enqueue(NAME)
    queue = jobs.queue_of("email")
    worker = work.QueueWorker(app, [queue], connection=redis(), serializer=JSONSerializer)
    worker.work(burst=True, logging_level="WARNING")
    (job_id,) = queue.failed_job_registry.get_job_ids()
    job = queue.fetch_job(job_id)
    assert job is not None
    result = job.latest_result()
    assert result is not None and result.exc_string is not None
    assert "JobFailed: RuntimeError" in result.exc_string
    assert "ana@example.com" not in result.exc_string
