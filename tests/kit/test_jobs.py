"""Doorbells: one job waits however often it is rung, and none is missed because somebody died."""

from __future__ import annotations

from flask import Flask

from app.kit import jobs

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
