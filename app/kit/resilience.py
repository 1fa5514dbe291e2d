"""What keeps a failing neighbour from taking us down: breaker, token bucket, back-off.

State is shared by all processes through Redis, because a provider counts our calls, not our processes'. Without
Redis both let everything through: the time-outs and the retries in rows still hold.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from flask import current_app

from app.kit import telemetry
from app.kit.errors import Misconfigured, ProviderError, RateLimited, Temporary, Unknown
from app.kit.redis_client import RedisError, redis

log = telemetry.get_logger("kit")

FAILURES_TO_OPEN = 5
"""Failures in a row after which a breaker opens."""

OPEN_SECONDS = 30.0
"""How long an open breaker refuses before it lets one probe through."""

SHARE_SECONDS = 0.02
"""How much of a bucket's rate a process fetches at once."""

SHARES = 1000
"""Buckets whose shares a process remembers; what it forgets, callers lose."""

_TAKE = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local state = redis.call('HMGET', KEYS[1], 'level', 'at')
local level = tonumber(state[1]) or tonumber(ARGV[2])
local at = math.min(tonumber(state[2]) or now, now)
level = math.min(tonumber(ARGV[2]), level + (now - at) * tonumber(ARGV[1]))
local wait = 0
local taken = math.min(math.floor(level), tonumber(ARGV[3]))
if taken >= 1 then level = level - taken else wait = (1 - level) / tonumber(ARGV[1]) end
redis.call('HSET', KEYS[1], 'level', tostring(level), 'at', tostring(now))
redis.call('EXPIRE', KEYS[1], 3600)
return {taken, tostring(wait)}
"""
"""By Redis's clock, for all processes: one whose own is ahead would else stop the flow for the others. When Redis's is
put back, the time that it has seen already counts from now."""

_ADMIT = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 'closed' end
if redis.call('EXISTS', KEYS[2]) == 1 then return 'open' end
redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
return 'probe'
"""


class BreakerOpen(Temporary):
    """The breaker refuses; nothing was sent and no attempt counts. retry_after in seconds."""

    def __init__(self, name: str, retry_after: float = OPEN_SECONDS) -> None:
        super().__init__(f"{name} keeps failing; waiting before the next try", code="breaker_open")
        self.retry_after = retry_after


@contextmanager
def breaker(
    name: str, *, failures: int = FAILURES_TO_OPEN, open_seconds: float = OPEN_SECONDS
) -> Iterator[None]:
    """Guard calls to `name`; raises BreakerOpen at once while it is open.

    Temporary and Unknown outcomes count as failures, except RateLimited (the neighbour works, we are too fast).
    Permanent outcomes are about the one call and count as an answer.
    """
    opened, pause, count = (f"embudo:breaker:{name}:{part}" for part in ("opened", "pause", "failures"))
    try:
        if redis().eval(_ADMIT, 2, opened, pause, int(open_seconds * 1000)) == b"open":
            raise BreakerOpen(name, open_seconds)
    except RedisError:
        yield
        return
    try:
        yield
    except RateLimited:
        raise
    except (Temporary, Unknown) as error:
        _note_failure(
            name, opened, pause, count, failures, open_seconds, at_once=isinstance(error, Misconfigured)
        )
        raise
    except ProviderError:
        _note_answer(opened, pause, count)
        raise
    _note_answer(opened, pause, count)


def _note_failure(
    name: str, opened: str, pause: str, count: str, failures: int, open_seconds: float, *, at_once: bool
) -> None:
    try:
        seen = redis().incr(count)
        redis().expire(count, 600)
        if at_once or seen >= failures:
            with redis().pipeline() as pipe:
                pipe.set(opened, time.time(), ex=3600)
                pipe.set(pause, "1", px=int(open_seconds * 1000))
                pipe.execute()
            log.warning("breaker open", breaker=name, failures=seen)
    except RedisError:
        return


def _note_answer(*keys: str) -> None:
    try:
        redis().delete(*keys)
    except RedisError:
        return


def breaker_open(name: str) -> bool:
    """Whether the breaker refuses calls now."""
    try:
        return breakers_open([name])[0]
    except RedisError:
        return False


def breakers_open(names: Sequence[str]) -> list[bool]:
    """Whether each of these breakers holds calls back, in one question; raises RedisError."""
    with redis().pipeline(transaction=False) as pipe:
        for name in names:
            pipe.exists(f"embudo:breaker:{name}:opened")
        return [bool(found) for found in pipe.execute()]


@dataclass(frozen=True, kw_only=True)
class TokenBucket:
    """At most `rate` calls a second on average and `burst` at once, over all processes.

    name: the account that the provider counts.
    """

    name: str
    rate: float
    burst: float

    def take(self) -> float:
        """Take a token: 0.0, or the seconds after which there will be one (none was taken then)."""
        return self.take_up_to(1)[1]

    def take_soon(self) -> float:
        """As take(), for what comes often: a process fetches what flows in SHARE_SECONDS at once and spends it itself.

        Exact up to 1 / SHARE_SECONDS calls a second, where a share is one token. Above, each process may have that
        share left over when it falls silent, so that so many calls more than `burst` can come at once.
        """
        shares = current_app.extensions.setdefault("embudo_shares", {})
        left = shares.pop(self.name, 0)
        if left < 1:
            left, wait = self.take_up_to(max(1, int(self.rate * SHARE_SECONDS)))
            if left < 1:
                return wait
        if left > 1:
            if len(shares) >= SHARES:
                shares.clear()
            shares[self.name] = left - 1
        return 0.0

    def take_up_to(self, most: int) -> tuple[int, float]:
        """(tokens taken, at most `most`; seconds until there will be one when there was none, else 0.0)."""
        try:
            taken, wait = redis().eval(_TAKE, 1, f"embudo:bucket:{self.name}", self.rate, self.burst, most)
        except RedisError:
            return most, 0.0
        return int(taken), float(wait)


def pause(name: str, seconds: float) -> None:
    """Tell all processes to leave `name` alone for a while, because it said so (429, Retry-After)."""
    try:
        redis().set(f"embudo:pause:{name}", "1", px=max(1, int(seconds * 1000)))
    except RedisError:
        return


def paused(name: str) -> float:
    """Seconds for which `name` should still be left alone; 0.0 when it need not."""
    try:
        left = redis().pttl(f"embudo:pause:{name}")
    except RedisError:
        return 0.0
    return float(max(left, 0)) / 1000


def backoff(attempt: int, steps: Sequence[float]) -> float:
    """Seconds until the next try after failure number `attempt` (from 1): the step ± 20 %, the last one goes on."""
    step = steps[min(max(attempt, 1), len(steps)) - 1]
    return step * random.uniform(0.8, 1.2)
