"""Breaker, bucket and back-off, with the state that all processes share."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from flask import Flask

from app.kit import resilience
from app.kit.errors import Misconfigured, Permanent, RateLimited, Temporary, Unknown
from app.kit.redis_client import connect, redis
from app.kit.resilience import BreakerOpen, TokenBucket, backoff, breaker, breaker_open
from tests.ops.waiting import wait_for

DRAWER = """
import sys
from flask import Flask
from app.kit.redis_client import init_redis, redis
from app.kit.resilience import TokenBucket

app = Flask("drawer")
app.config["REDIS_URL"] = sys.argv[1]
init_redis(app)
with app.app_context():
    redis().incr("test:ready")
    while not redis().exists("test:go"):
        pass
    while not redis().exists("test:enough"):
        if not TokenBucket(name="base", rate=20, burst=2).take():
            redis().incr("test:taken")
"""
"""One of several processes that use one account."""


def fail(error: Exception, *, failures: int = 3) -> None:
    """One guarded call that ends so."""
    with pytest.raises(type(error)), breaker("twilio", failures=failures, open_seconds=60):
        raise error


def test_a_breaker_opens_after_failures_in_a_row_and_refuses_without_calling(app: Flask) -> None:
    for _ in range(3):
        fail(Temporary("down"))
    called = False
    with pytest.raises(BreakerOpen), breaker("twilio"):
        called = True
    assert not called
    assert breaker_open("twilio")


def test_an_answer_in_between_starts_the_count_again(app: Flask) -> None:
    for _ in range(2):
        fail(Temporary("down"))
    with breaker("twilio", failures=3):
        pass
    fail(Temporary("down"))
    assert not breaker_open("twilio")


@pytest.mark.parametrize("error", [RateLimited("slow down"), Permanent("bad number")])
def test_a_provider_that_answers_is_not_broken(app: Flask, error: Exception) -> None:
    for _ in range(5):
        fail(error)
    assert not breaker_open("twilio")


def test_unknown_outcomes_count(app: Flask) -> None:
    for _ in range(3):
        fail(Unknown("time-out"))
    assert breaker_open("twilio")


def test_wrong_credentials_open_the_breaker_at_once(app: Flask) -> None:
    fail(Misconfigured("bad token"), failures=50)
    assert breaker_open("twilio")


def test_after_the_pause_one_probe_goes_through_and_closes_the_breaker(app: Flask) -> None:
    for _ in range(3):
        fail(Temporary("down"))
    redis().delete("embudo:breaker:twilio:pause")
    with breaker("twilio"), pytest.raises(BreakerOpen), breaker("twilio"):
        pass
    assert not breaker_open("twilio")


def test_breakers_let_everything_through_without_redis(app: Flask, monkeypatch) -> None:
    monkeypatch.setitem(app.extensions, "embudo_redis", connect("unix:///nowhere/redis.sock"))
    for _ in range(5):
        fail(Temporary("down"))
    with breaker("twilio"):
        pass


def test_a_bucket_gives_its_burst_and_then_says_how_long_to_wait(app: Flask) -> None:
    bucket = TokenBucket(name="account", rate=0.5, burst=3)
    assert [bucket.take() for _ in range(3)] == [0.0, 0.0, 0.0]
    assert 0 < bucket.take() <= 2


def test_a_bucket_fills_again_with_time(app: Flask) -> None:
    bucket = TokenBucket(name="account", rate=2, burst=1)
    bucket.take()
    redis().hset("embudo:bucket:account", "at", time.time() - 1)
    assert bucket.take() == 0.0


def test_a_clock_that_is_ahead_stops_the_flow_for_nobody(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = TokenBucket(name="account", rate=1000, burst=1)
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: 4_000_000_000.0)
        bucket.take()
    wait_for(lambda: bucket.take() == 0.0, "another token flows in")


def test_neither_does_redis_s_own_when_it_is_put_back(app: Flask) -> None:
    bucket = TokenBucket(name="account", rate=1000, burst=1)
    redis().hset("embudo:bucket:account", mapping={"level": 0, "at": time.time() + 3600})
    wait_for(lambda: bucket.take() == 0.0, "another token flows in")


def test_processes_share_what_an_account_allows(app: Flask) -> None:
    command = [sys.executable, "-c", DRAWER, app.config["REDIS_URL"]]
    drawers = [subprocess.Popen(command, cwd=Path(__file__).parents[2]) for _ in range(3)]
    wait_for(lambda: redis().get("test:ready") == b"3", "all are ready")
    began = time.monotonic()
    redis().set("test:go", 1)
    wait_for(lambda: int(redis().get("test:taken") or 0) >= 30, "they take")
    redis().set("test:enough", 1)
    assert [drawer.wait(timeout=30) for drawer in drawers] == [0, 0, 0]
    assert int(redis().get("test:taken")) <= 2 + 20 * (time.monotonic() - began), "together, not each"


def test_a_bucket_lets_everything_through_without_redis(app: Flask, monkeypatch) -> None:
    monkeypatch.setitem(app.extensions, "embudo_redis", connect("unix:///nowhere/redis.sock"))
    assert TokenBucket(name="account", rate=1, burst=1).take() == 0.0


def test_who_asks_often_is_given_a_share_at_once_and_no_token_more_than_there_are(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resilience, "SHARE_SECONDS", 2e6)
    bucket = TokenBucket(name="account", rate=1e-6, burst=5)  # none flows in meanwhile
    assert bucket.take_soon() == 0.0
    assert float(redis().hget("embudo:bucket:account", "level")) == 3.0, "a share's worth is two"
    assert [bucket.take_soon() for _ in range(4)] == [0.0] * 4
    assert bucket.take_soon() > 0.0


def test_a_slow_bucket_is_asked_each_time(app: Flask) -> None:
    bucket = TokenBucket(name="account", rate=50, burst=3)
    assert bucket.take_soon() == 0.0
    assert float(redis().hget("embudo:bucket:account", "level")) == 2.0


def test_a_share_lasts_without_redis_and_beyond(app: Flask, monkeypatch) -> None:
    bucket = TokenBucket(name="account", rate=100, burst=5)
    bucket.take_soon()
    monkeypatch.setitem(app.extensions, "embudo_redis", connect("unix:///nowhere/redis.sock"))
    assert [bucket.take_soon() for _ in range(3)] == [0.0] * 3


def test_back_off_follows_its_steps_with_jitter_and_then_stays() -> None:
    assert 24 <= backoff(1, [30, 120]) <= 36
    assert 96 <= backoff(2, [30, 120]) <= 144
    assert 96 <= backoff(99, [30, 120]) <= 144
