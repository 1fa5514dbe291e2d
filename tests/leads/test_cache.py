"""GET /leads/{id} comes from Redis, and never tells what was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from app.kit import cache
from app.kit.auth import SYSTEM
from app.kit.db import engine_of, own_context, transaction
from app.kit.redis_client import connect, redis
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


def test_a_seller_does_not_get_anothers_lead_out_of_the_cache(api: Any, make_user: Any) -> None:
    lead = keep()
    assert api().get(f"/leads/{lead.id}").status_code == 200
    assert cache.get(f"lead:{lead.id}")[0]
    assert redis().ping()
    assert api(user_id=make_user("seller").id).get(f"/leads/{lead.id}").status_code == 404
