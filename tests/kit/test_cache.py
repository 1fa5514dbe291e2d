"""The cache: never stale after a write, never in the way without Redis."""

from __future__ import annotations

import orjson
import pytest
from flask import Flask
from redis.exceptions import NoPermissionError

from app.kit import cache, db, relay
from app.kit.redis_client import connect, redis


def test_what_was_put_is_found(app: Flask) -> None:
    value, token = cache.get("lead:1")
    assert value is None
    assert cache.put("lead:1", {"name": "Ana"}, token)
    assert cache.get("lead:1")[0] == {"name": "Ana"}


def test_a_reader_who_loaded_the_old_row_cannot_store_it_after_the_write(app: Flask) -> None:
    _, token = cache.get("lead:1")  # the reader asks, and goes to the database
    with db.transaction():
        cache.invalidate("leads", "lead:1")  # meanwhile a writer changes the row
    assert not cache.put("lead:1", "old", token)
    assert cache.get("lead:1")[0] is None


def test_a_reader_who_comes_between_the_write_and_its_commit_cannot_store_the_old_row(app: Flask) -> None:
    with db.transaction():
        cache.invalidate("leads", "lead:1")
        _, token = cache.get("lead:1")
        stored_before = cache.put("lead:1", "old", token)
    assert not stored_before
    assert not cache.put("lead:1", "old", token)
    assert cache.get("lead:1")[0] is None


def test_after_the_commit_the_new_row_can_be_stored(app: Flask) -> None:
    with db.transaction():
        cache.invalidate("leads", "lead:1")
    _, token = cache.get("lead:1")
    assert cache.put("lead:1", "new", token)
    assert cache.get("lead:1")[0] == "new"


def test_a_write_that_is_rolled_back_leaves_the_cache_usable(app: Flask) -> None:
    try:
        with db.transaction():
            cache.invalidate("leads", "lead:1")
            raise RuntimeError
    except RuntimeError:
        pass
    assert cache.get("lead:1")[0] is None


def test_who_may_not_ask_redis_which_run_it_is_has_a_cache_all_the_same(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hoster's user without the dangerous commands, to which INFO belongs."""
    redis().execute_command("ACL", "SETUSER", "tenant", "on", "nopass", "~*", "&*", "+@all", "-@dangerous")
    url = app.config["REDIS_URL"].replace("unix://", "unix://tenant:any@")
    monkeypatch.setitem(app.extensions, "embudo_redis", connect(url))
    with pytest.raises(NoPermissionError):
        redis().info()
    _, token = cache.get("lead:1")
    assert cache.put("lead:1", "new", token)
    assert cache.get("lead:1")[0] == "new"


def test_what_a_release_of_before_reads_is_plain(app: Flask) -> None:
    _, token = cache.get("lead:1")
    cache.put("lead:1", {"name": "Ana"}, token)
    assert orjson.loads(redis().get("embudo:cache:lead:1")) == {"name": "Ana"}


def test_without_redis_every_look_up_is_a_miss(app: Flask, monkeypatch) -> None:
    monkeypatch.setitem(app.extensions, "embudo_redis", connect("unix:///nowhere/redis.sock"))
    value, token = cache.get("lead:1")
    assert value is None
    assert not cache.put("lead:1", "x", token)
    cache.invalidate("leads", "lead:1")


def test_a_write_that_is_rolled_back_without_redis_leaves_nothing_to_drop(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = cache.get("lead:1")
    assert cache.put("lead:1", "old", token)
    with monkeypatch.context() as change:
        change.setitem(app.extensions, "embudo_redis", connect("unix:///nowhere/redis.sock"))
        with pytest.raises(RuntimeError), db.transaction():
            cache.invalidate("leads", "lead:1")
            raise RuntimeError
    relay.pass_once()
    assert cache.get("lead:1")[0] == "old"


def test_what_is_invalidated_outside_a_transaction_is_dropped_by_a_later_sweep_as_well(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = cache.get("lead:1")
    assert cache.put("lead:1", "old", token)
    with monkeypatch.context() as change:
        change.setitem(app.extensions, "embudo_redis", connect("unix:///nowhere/redis.sock"))
        cache.invalidate("leads", "lead:1")
    relay.pass_once()
    assert cache.get("lead:1")[0] is None
    assert not cache.put("lead:1", "old", token), "nor may one who read before store it now"


def test_more_than_a_batch_is_dropped_by_one_sweep(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "DROP_BATCH", 2)
    keys = [f"lead:{number}" for number in range(5)]
    for key in keys:
        assert cache.put(key, "old", cache.get(key)[1])
    with monkeypatch.context() as change:
        change.setitem(app.extensions, "embudo_redis", connect("unix:///nowhere/redis.sock"))
        with db.transaction():
            for key in keys:
                cache.invalidate("leads", key)
    relay.pass_once()
    assert [cache.get(key)[0] for key in keys] == [None] * 5
