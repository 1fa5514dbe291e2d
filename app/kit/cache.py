"""A cache that can be wrong for nobody: entries carry the token they were computed under.

A reader that loaded an old row and stores it after a writer has invalidated the key would make the cache stale for
its whole life. So a reader takes the key's token before it reads the database and stores only if the token is still
the same; invalidation changes the token. All of it is optional: without Redis every look-up is a miss.
"""

from __future__ import annotations

from typing import Any

import orjson

from app.kit import db, telemetry
from app.kit.redis_client import RedisError, redis

TTL_SECONDS = 300
"""How long an entry may live; only a bound on memory, not what keeps it fresh."""

BLOCKED = "!"
"""Token of a key that a running transaction is about to change, or that Redis could not tell: nothing is stored."""

BLOCK_SECONDS = 60
"""Longer than any transaction may take."""

log = telemetry.get_logger("kit")

STORE_IF_SAME = """
if redis.call('GET', KEYS[2]) ~= ARGV[2] and not (ARGV[2] == '' and redis.call('EXISTS', KEYS[2]) == 0) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
return 1
"""


def get(key: str) -> tuple[Any, str]:
    """(the cached value or None, the token to give back to put())."""
    try:
        value, token = redis().mget(_value(key), _token(key))
    except RedisError:
        telemetry.note_lookup(_kind(key), "unavailable")
        return None, BLOCKED
    telemetry.note_lookup(_kind(key), "hit" if value else "miss")
    return (orjson.loads(value) if value else None), (token.decode() if token else "")


def put(key: str, value: Any, token: str) -> bool:
    """Store `value` unless the key was invalidated since get() gave out `token`."""
    if token == BLOCKED:
        return False
    try:
        stored = redis().eval(
            STORE_IF_SAME, 2, _value(key), _token(key), orjson.dumps(value), token, TTL_SECONDS
        )
    except RedisError:
        return False
    return bool(stored)


def invalidate(*keys: str) -> None:
    """Forget these keys; inside transaction(), nobody may store them until it has committed.

    A reader that loads the old row while the writer is about to commit finds the key blocked and stores nothing. If
    the writer dies in between, the block ends by itself and the committed row is read.
    """
    if not db.in_transaction():
        _drop(keys, db.new_id(), TTL_SECONDS * 2)
        return
    _drop(keys, BLOCKED, BLOCK_SECONDS)
    db.after_commit("cache:" + ",".join(keys), lambda: _drop(keys, db.new_id(), TTL_SECONDS * 2))


def _drop(keys: tuple[str, ...], token: str, seconds: int) -> None:
    try:
        with redis().pipeline() as pipe:
            for key in keys:
                pipe.set(_token(key), token, ex=seconds)
                pipe.delete(_value(key))
            pipe.execute()
    except RedisError as error:
        # Entries die by their TTL, and a Redis that is down serves none of them.
        log.warning("cache not invalidated", error=type(error).__name__)


def _kind(key: str) -> str:
    """What kind of thing is looked up; keys are like ``lead:ID``."""
    return key.partition(":")[0]


def _value(key: str) -> str:
    return f"embudo:cache:{key}"


def _token(key: str) -> str:
    return f"embudo:cache-token:{key}"
