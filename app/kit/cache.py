"""A cache that can be wrong for nobody: entries carry the token they were computed under.

A reader that loaded an old row and stores it after a writer has invalidated the key would make the cache stale for
its whole life. So a reader takes the key's token before it reads the database and stores only if the token is still
the same; invalidation changes the token. All of it is optional: without Redis every look-up is a miss.

A reader cannot tell, without asking the database, that a writer did not get through to Redis while it does itself.
So that writer leaves the key in a table, in the transaction that changes the row, and the relay's next sweep drops it,
whatever becomes of the writer: until then, two seconds, others may read what was. Nothing is written while Redis
answers. And a Redis that comes back with the memory of some time ago, from before an invalidation, is believed nothing:
an entry counts only in the run of the server in which it was stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import String, delete, insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, mapped_column

from app.kit import db, telemetry
from app.kit.redis_client import RedisError, redis

TTL_SECONDS = 300
"""How long an entry may live; only a bound on memory, not what keeps it fresh."""

BLOCKED = "!"
"""Token of a key that a running transaction is about to change, or that Redis could not tell: nothing is stored."""

BLOCK_SECONDS = 60
"""Longer than any transaction may take."""

DROP_BATCH = 500
"""Keys that a sweep drops at a time."""

log = telemetry.get_logger("kit")

_tables: dict[str, Any] = {}

STORE_IF_SAME = """
if redis.call('GET', KEYS[2]) ~= ARGV[2] and not (ARGV[2] == '' and redis.call('EXISTS', KEYS[2]) == 0) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
redis.call('SET', KEYS[3], ARGV[4], 'EX', ARGV[3])
return 1
"""


def left_keys_table(base: Any, service: str) -> Any:
    """Declare the table of keys that Redis was not told of; called once, in the models of a service that caches."""

    class LeftKey(base):
        """A cached key that changed while its writer had no Redis. Twice is harmless."""

        __tablename__ = f"{service}_left_key"

        id: Mapped[db.Id] = mapped_column(primary_key=True, default=db.new_id)
        key: Mapped[str] = mapped_column(String(200))

    LeftKey.__name__ = f"{service.title()}LeftKey"
    _tables[service] = LeftKey
    return LeftKey


def get(key: str) -> tuple[Any, str]:
    """(the cached value or None, the token to give back to put())."""
    client = redis()
    try:
        stored, token, run = client.mget(_value(key), _token(key), _run(key))
    except RedisError:
        telemetry.note_lookup(_kind(key), "unavailable")
        return None, BLOCKED
    hit = stored is not None and (run or b"").decode() == client.run_id
    telemetry.note_lookup(_kind(key), "hit" if hit else "miss")
    token = (token or b"").decode()
    return (orjson.loads(stored) if hit else None), (
        token if token == BLOCKED else f"{client.run_id}\n{token}"
    )


def put(key: str, value: Any, token: str) -> bool:
    """Store `value` unless the key was invalidated since get() gave out `token`."""
    if token == BLOCKED:
        return False
    # The run is that of get(): what was read before Redis started again counts no more.
    run, _, token = token.partition("\n")
    keys = (_value(key), _token(key), _run(key))
    try:
        stored = redis().eval(STORE_IF_SAME, len(keys), *keys, orjson.dumps(value), token, TTL_SECONDS, run)
    except RedisError:
        return False
    return bool(stored)


def invalidate(service: str, key: str) -> None:
    """Forget this key; inside transaction(), nobody may store it until it has committed.

    A reader that loads the old row while the writer is about to commit finds the key blocked and stores nothing. If
    the writer dies in between, the block ends by itself and the committed row is read.
    service: in whose database the change is, and is remembered what Redis could not be told.
    """
    if not db.in_transaction():
        _drop_or_leave(service, key)
        return
    if _drop([key], BLOCKED, BLOCK_SECONDS):
        db.after_commit(f"cache:{key}", lambda: _drop_or_leave(service, key))
        return
    _leave(service, key)
    db.after_commit(f"cache:{key}", lambda: _drop([key], db.new_id(), TTL_SECONDS * 2))


def drop_left(service: str) -> None:
    """Drop what writers of this service had to leave, as far as Redis answers. Relay only."""
    if service not in _tables:
        return
    table = _tables[service]
    while left := db.db.session.execute(
        select(table.id, table.key).order_by(table.id).limit(DROP_BATCH)
    ).all():
        if not _drop([row.key for row in left], db.new_id(), TTL_SECONDS * 2):
            return
        with db.transaction() as session:
            session.execute(delete(table).where(table.id.in_([row.id for row in left])))


def _drop(keys: Sequence[str], token: str, seconds: int) -> bool:
    """Whether Redis has forgotten these keys; who holds an older token for them can store nothing."""
    try:
        with redis().pipeline() as pipe:
            for key in keys:
                pipe.set(_token(key), token, ex=seconds)
                pipe.delete(_value(key))
            pipe.execute()
    except RedisError as error:
        log.warning("cache not invalidated", error=type(error).__name__)
        return False
    return True


def _leave(service: str, key: str) -> None:
    db.db.session.execute(insert(_tables[service]).values(id=db.new_id(), key=key))


def _drop_or_leave(service: str, key: str) -> None:
    """After a commit: the block may be lost with Redis's memory, so that a failure here counts, too."""
    if _drop([key], db.new_id(), TTL_SECONDS * 2):
        return
    try:
        with db.own_context(), db.transaction():
            _leave(service, key)
    except SQLAlchemyError as error:
        # Redis, and then the database, within a moment: now only the block, or the entry's age, ends it.
        log.warning("cache not invalidated", error=type(error).__name__)


def _kind(key: str) -> str:
    """What kind of thing is looked up; keys are like ``lead:ID``."""
    return key.partition(":")[0]


def _value(key: str) -> str:
    return f"embudo:cache:{key}"


def _run(key: str) -> str:
    """In which run of the server the value was stored; beside it, because releases of before read plain values."""
    return f"embudo:cache-run:{key}"


def _token(key: str) -> str:
    return f"embudo:cache-token:{key}"
