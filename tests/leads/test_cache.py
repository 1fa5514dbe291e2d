"""GET /leads/{id} comes from Redis, and never tells what was."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from prometheus_client import REGISTRY
from sqlalchemy import event

from app.kit import cache, relay
from app.kit.auth import SYSTEM
from app.kit.db import engine_of, own_context, transaction
from app.kit.redis_client import connect, redis
from app.kit.redis_server import ensure
from app.leads import commands
from tests.leads.people import keep


def name_seen(client: Any, lead_id: str) -> str:
    return str(client.get(f"/leads/{lead_id}").get_json()["name"])


def statements_on_leads(app: Flask, work: Callable[[], Any]) -> list[str]:
    seen: list[str] = []

    def note(_connection, _cursor, statement, *_rest) -> None:  # type: ignore[no-untyped-def]
        if "leads_lead" in statement:
            seen.append(statement)

    engine = engine_of("leads")
    event.listen(engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return seen


def test_the_second_read_asks_no_database(app: Flask, api: Any) -> None:
    client, lead_id = api("leads:read"), keep().id
    assert statements_on_leads(app, lambda: name_seen(client, lead_id))
    assert statements_on_leads(app, lambda: name_seen(client, lead_id)) == []


@pytest.mark.parametrize("what", ["change", "fill", "delete"])
def test_every_write_is_seen_by_the_next_read(api: Any, what: str) -> None:
    client, lead = api(), keep(phone="+34600000012")
    assert name_seen(client, lead.id) == ""
    with own_context(), transaction():
        if what == "change":
            commands.change_lead(lead.id, {"name": "Now"}, by=SYSTEM)
        elif what == "fill":
            commands.create_lead({"phone": "+34600000012", "name": "Now"}, by=SYSTEM)
        else:
            commands.delete_lead(lead.id, by=SYSTEM)
    if what == "delete":
        assert client.get(f"/leads/{lead.id}").status_code == 404
    else:
        assert name_seen(client, lead.id) == "Now"


def test_a_reader_that_was_overtaken_by_a_writer_stores_nothing(app: Flask, api: Any) -> None:
    """The race: read the old row, let a writer change it and invalidate, then store what was read."""
    client, lead = api("leads:read"), keep(name="Old")
    overtaken = False

    def write() -> None:
        with app.app_context(), transaction():
            commands.change_lead(lead.id, {"name": "New"}, by=SYSTEM)

    def overtake(_connection, _cursor, statement, *_rest) -> None:  # type: ignore[no-untyped-def]
        nonlocal overtaken
        if "FROM leads_lead" in statement and not overtaken:
            overtaken = True
            writer = threading.Thread(target=write)
            writer.start()
            writer.join(20)

    engine = engine_of("leads")
    event.listen(engine, "after_cursor_execute", overtake)
    try:
        assert name_seen(client, lead.id) == "Old"  # it began before the write ended
    finally:
        event.remove(engine, "after_cursor_execute", overtake)
    assert overtaken
    assert name_seen(client, lead.id) == "New"


def test_a_reader_during_a_write_stores_nothing(app: Flask, api: Any) -> None:
    client, lead = api("leads:read"), keep(name="Old")

    def read() -> None:
        with app.app_context():
            assert name_seen(client, lead.id) == "Old"

    with transaction():
        commands.change_lead(lead.id, {"name": "New"}, by=SYSTEM)
        reader = threading.Thread(target=read)
        reader.start()
        reader.join(20)
    assert name_seen(client, lead.id) == "New"


def test_a_write_that_is_rolled_back_leaves_the_truth(api: Any) -> None:
    client, lead = api("leads:read"), keep(name="Old")
    with pytest.raises(RuntimeError), own_context(), transaction():
        commands.change_lead(lead.id, {"name": "New"}, by=SYSTEM)
        raise RuntimeError("no")
    assert name_seen(client, lead.id) == "Old"


def test_without_redis_reads_and_writes_go_on(app: Flask, api: Any, tmp_path: Any) -> None:
    client, lead = api(), keep(name="Old")
    real = app.extensions["embudo_redis"]
    app.extensions["embudo_redis"] = connect(f"unix://{tmp_path}/nobody-listens.sock")
    try:
        assert name_seen(client, lead.id) == "Old"
        answer = client.patch(f"/leads/{lead.id}", json={"name": "New"}, headers={"If-Match": '"1"'})
        assert answer.status_code == 200
        assert name_seen(client, lead.id) == "New"
    finally:
        app.extensions["embudo_redis"] = real
    assert name_seen(client, lead.id) == "New"


@pytest.fixture
def lose_redis(
    app: Flask, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Callable[[], None]]:
    """Has this process reach Redis no more, while others do, until what it returns is called."""

    def lose() -> Callable[[], None]:
        real = redis()
        monkeypatch.setitem(app.extensions, "embudo_redis", connect(f"unix://{tmp_path}/nobody-listens.sock"))
        return lambda: monkeypatch.setitem(app.extensions, "embudo_redis", real)

    return lose


def test_what_a_writer_without_redis_could_not_drop_is_dropped_by_the_next_sweep(
    api: Any, lose_redis: Callable[[], Callable[[], None]]
) -> None:
    client, lead = api(), keep(name="Old")
    assert name_seen(client, lead.id) == "Old"
    find_again = lose_redis()
    answer = client.patch(f"/leads/{lead.id}", json={"name": "New"}, headers={"If-Match": '"1"'})
    assert answer.status_code == 200
    cache.drop_left("leads")  # a sweep that has no Redis, either
    find_again()  # the others' view; who wrote does no more, and may have died
    relay.pass_once()
    seen = client.get(f"/leads/{lead.id}")
    assert (seen.get_json()["name"], seen.headers["ETag"]) == ("New", '"2"')
    answer = client.patch(f"/leads/{lead.id}", json={"name": "Newer"}, headers={"If-Match": '"2"'})
    assert answer.status_code == 200


def test_a_redis_that_forgot_the_write_and_is_gone_at_its_commit_is_told_by_the_next_sweep(
    app: Flask, api: Any, lose_redis: Callable[[], Callable[[], None]]
) -> None:
    client, lead = api("leads:read"), keep(name="Old")

    def read() -> None:
        with app.app_context():
            assert name_seen(client, lead.id) == "Old"

    with transaction():
        commands.change_lead(lead.id, {"name": "New"}, by=SYSTEM)
        redis().flushdb()  # nobody knows any more that the lead is being written
        reader = threading.Thread(target=read)
        reader.start()
        reader.join(20)
        find_again = lose_redis()
    find_again()
    relay.pass_once()
    assert name_seen(client, lead.id) == "New"


def test_a_redis_that_was_started_again_with_old_memories_tells_none_of_them(
    app: Flask, api: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, lead, folder = api("leads:read"), keep(name="Old"), tmp_path / "redis"
    server = ensure(folder, environ={"PATH": os.environ["PATH"]})
    monkeypatch.setitem(app.extensions, "embudo_redis", connect(server.url))
    assert name_seen(client, lead.id) == "Old"
    server.stop()  # it writes its memory
    shutil.copytree(folder, tmp_path / "old", ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    server = ensure(folder, environ={"PATH": os.environ["PATH"]})
    with own_context(), transaction():
        commands.change_lead(lead.id, {"name": "New"}, by=SYSTEM)
    server.stop()
    shutil.copytree(tmp_path / "old", folder, dirs_exist_ok=True)
    server = ensure(folder, environ={"PATH": os.environ["PATH"]})
    try:
        assert redis().keys("embudo:cache:lead:*"), "it remembers the old one"
        assert name_seen(client, lead.id) == "New"
        assert name_seen(client, lead.id) == "New", "and takes the new one"
    finally:
        server.stop()


def test_a_seller_does_not_get_anothers_lead_out_of_the_cache(api: Any, make_user: Any) -> None:
    lead = keep()
    assert api().get(f"/leads/{lead.id}").status_code == 200
    assert cache.get(f"lead:{lead.id}")[0]
    assert redis().ping()
    assert api(user_id=make_user("seller").id).get(f"/leads/{lead.id}").status_code == 404


# --- by telephone number and e-mail address ------------------------------------------------------------------------------


def named(client: Any, **asked: str) -> list[str]:
    return [item["name"] for item in client.get("/leads", query_string=asked).get_json()["items"]]


@pytest.mark.parametrize(
    "asked",
    [
        {"phone": "+34 600 000 012"}, {"phone": "600000012"}, {"phone": "34600000012"},
        {"email": "Ann@Example.com"}, {"email": " ann@example.com", "limit": "1"},
    ],
)  # fmt: skip
def test_somebody_is_found_by_any_spelling_and_the_second_time_without_the_database(
    app: Flask, api: Any, asked: dict[str, str]
) -> None:
    client = api("leads:read")
    keep(name="Ann", phone="+34600000012", email="ann@example.com")
    keep(name="Bea", phone="+34600000013", email="bea@example.com")
    assert statements_on_leads(app, lambda: named(client, **asked))
    assert named(client, **asked) == ["Ann"]
    assert statements_on_leads(app, lambda: named(client, **asked)) == []


@pytest.mark.parametrize(
    "asked", [{"phone": "600000099"}, {"phone": "none"}, {"email": "nobody@example.com"}]
)
def test_who_is_not_there_is_found_once_there_is_somebody(api: Any, asked: dict[str, str]) -> None:
    client = api("leads:read")
    assert named(client, **asked) == []
    if asked != {"phone": "none"}:
        keep(name="Now", phone="+34600000099", email="nobody@example.com")
        assert named(client, **asked) == ["Now"]


def test_a_number_that_goes_to_somebody_else_leads_to_them(api: Any) -> None:
    client, old = api("leads:read"), keep(name="Old", phone="+34600000012")
    assert named(client, phone="600000012") == ["Old"]
    with own_context(), transaction():
        commands.change_lead(old.id, {"phone": "+34600000013"}, by=SYSTEM)
    assert named(client, phone="600000012") == []
    keep(name="New", phone="+34600000012")
    assert named(client, phone="600000012") == ["New"]
    assert named(client, phone="600000013") == ["Old"]
    with own_context(), transaction():
        commands.delete_lead(old.id, by=SYSTEM)
    assert named(client, phone="600000013") == []


def test_by_number_without_redis_and_for_whom_it_is_hidden(
    app: Flask, api: Any, make_user: Any, tmp_path: Any
) -> None:
    keep(name="Ann", phone="+34600000012")
    client, seller = api(), api(user_id=make_user("seller").id)
    assert named(client, phone="600000012") == ["Ann"]
    assert named(seller, phone="600000012") == []
    real = app.extensions["embudo_redis"]
    app.extensions["embudo_redis"] = connect(f"unix://{tmp_path}/nobody-listens.sock")
    try:
        assert named(client, phone="600000012") == ["Ann"]
    finally:
        app.extensions["embudo_redis"] = real


def test_a_number_is_a_filter_among_others(api: Any) -> None:
    keep(name="Ann", phone="+34600000012", email="ann@example.com")
    client = api("leads:read")
    assert named(client, phone="600000012", stage="new") == ["Ann"]
    assert named(client, phone="600000012", stage="won") == []
    assert named(client, phone="600000012", email="bea@example.com") == []
    assert named(client, phone="nonsense", stage="new") == []


def test_hits_and_misses_are_counted_by_what_was_asked(api: Any) -> None:
    def count(name: str, result: str) -> float:
        return float(REGISTRY.get_sample_value(
            "embudo_cache_lookups_total", {"cache": name, "result": result}
        ) or 0)  # fmt: skip

    client = api("leads:read")
    keep(name="Ann", phone="+34600000012")
    before = {
        (name, result): count(name, result) for name in ("lead", "lead-phone") for result in ("hit", "miss")
    }
    for _ in range(3):
        named(client, phone="600000012")
    seen = {key: count(*key) - old for key, old in before.items()}
    assert seen == {
        ("lead-phone", "miss"): 1,
        ("lead-phone", "hit"): 2,
        ("lead", "miss"): 1,
        ("lead", "hit"): 2,
    }
