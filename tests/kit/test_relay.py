"""One relay's trouble, or one service's, is nobody else's."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, insert, select, text, update

from app.contracts.events import EmailSent, LeadCreated
from app.kit import db, outbox, relay, rows
from app.kit.redis_client import redis
from app.kit.rest import idempotency
from app.kit.transport import RedisTransport
from tests.kit.test_outbox import a_lead_created, listen, publish


@contextmanager
def broken(service: str) -> Iterator[None]:
    """The service's database does not do what it is asked for."""
    table, _ = outbox.tables_of(service)
    name = table.__tablename__

    def rename(old: str, new: str) -> None:
        with db.transaction() as session:
            session.execute(text(f"ALTER TABLE {old} RENAME TO {new}"), bind_arguments={"mapper": table})

    rename(name, f"{name}_away")
    try:
        yield
    finally:
        rename(f"{name}_away", name)


def due() -> set[str]:
    """The services that have something to hand over now."""
    with db.own_context():
        return {service for service in ("leads", "email") if outbox.due(service)}


@pytest.fixture
def lost(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of two services, handed over to a Redis that lost them."""
    listen(app, monkeypatch, {"webhooks": {LeadCreated: print, EmailSent: print}})
    publish(a_lead_created())
    publish(EmailSent(message_id=db.new_id()))
    relay.pass_once()
    assert due() == set()
    redis().flushdb()


def test_when_redis_lost_its_memory_each_of_several_relays_hands_its_events_over_again(lost: None) -> None:
    relay._sweep(["leads"])
    relay._sweep(["email"])
    assert due() == {"leads", "email"}


def test_they_are_handed_over_again_once(lost: None) -> None:
    relay.pass_once()
    relay._sweep(["leads", "email"])
    assert due() == set()


def test_a_service_whose_database_is_down_keeps_neither_the_relay_nor_other_services_back(lost: None) -> None:
    with broken("leads"):
        relay._sweep(["leads", "email"])
        assert set(relay.heartbeats()) == {"leads", "email"}
        with db.own_context():
            assert outbox.due("email")
    relay._sweep(["leads", "email"])
    assert due() == {"leads", "email"}, "its turn comes when its database is back"


class Observed(RedisTransport):
    """The way through Redis, which tells before each batch whose events it carries."""

    def __init__(self, tell: Callable[[str, int], None]) -> None:
        self._tell = tell

    def send(self, letters: Sequence[tuple[dict[str, Any], Sequence[str]]]) -> list[tuple[str, str]]:
        self._tell(letters[0][0]["source"], len(letters))
        return super().send(letters)


@pytest.fixture
def crowded(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str, int], None]], None]:
    """Many events of two services wait, and a batch is small; gives what observes how they leave."""
    monkeypatch.setattr(outbox, "HAND_OVER_BATCH", 2)
    listen(app, monkeypatch, {"webhooks": {LeadCreated: print, EmailSent: print}})
    for _ in range(5):
        publish(a_lead_created())
    for _ in range(3):
        publish(EmailSent(message_id=db.new_id()))

    def observe(tell: Callable[[str, int], None]) -> None:
        monkeypatch.setitem(app.extensions, "embudo_transport", Observed(tell))

    return observe


@pytest.fixture
def own_signals() -> Iterator[None]:
    """The signals are the test runner's again afterwards."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def end_the_relay() -> None:
    """As the platform does."""
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.usefixtures("own_signals")
def test_services_take_turns_however_much_waits(app: Flask, crowded: Any) -> None:
    turns: list[tuple[str, int]] = []

    def tell(source: str, count: int) -> None:
        turns.append((source.rpartition("/")[2], count))
        if sum(count for _, count in turns) == 8:
            end_the_relay()

    crowded(tell)
    relay.run(app)
    assert turns == [("email", 2), ("leads", 2), ("email", 1), ("leads", 2), ("leads", 1)]


@pytest.mark.usefixtures("own_signals")
def test_a_relay_that_is_told_to_end_does_not_hand_over_all_the_rest_before(app: Flask, crowded: Any) -> None:
    turns: list[int] = []

    def tell(_source: str, count: int) -> None:
        turns.append(count)
        end_the_relay()

    crowded(tell)
    relay.run(app)
    assert turns == [2]


def count(table: Any) -> int:
    """Rows of a table, as they are now."""
    with db.own_context():
        return db.db.session.scalar(select(func.count()).select_from(table)) or 0


def test_what_is_old_is_forgotten_in_batches_and_what_is_not_confirmed_stays(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "DELETE_BATCH", 2)
    sent, heard = outbox.tables_of("leads")
    old = db.utcnow() - timedelta(days=outbox.KEEP_DAYS, hours=1)
    with db.transaction() as session:
        for confirmed in (old, old, old, None, db.utcnow()):
            made = {"id": f"{db.first_id_at(old)[:24]}{db.new_id()[24:]}", "created_at": old}
            session.execute(
                insert(sent).values(
                    name="lead.merged",
                    version=1,
                    subject="x",
                    data={},
                    pending=[],
                    delivered_at=confirmed,
                    **made,
                )
            )
        for state in ("done", "done", "done", "dead"):
            session.execute(
                insert(heard).values(
                    event_id=db.new_id(), handler="leads.x", name="x", state=state, handled_at=old
                )
            )
    assert outbox.purge("leads") is True
    assert (count(sent), count(heard)) == (3, 2)
    assert outbox.purge("leads") is False
    assert (count(sent), count(heard)) == (2, 1)


def test_old_answers_are_forgotten_in_batches(app: Flask, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "DELETE_BATCH", 2)
    client = api()
    for number in range(3):
        name = {"name": f"Ana {number}"}
        client.post("/leads", json=name, headers={"Idempotency-Key": f"key-{number}"})
    answers = idempotency._tables["leads"]
    with db.own_context(), db.transaction() as session:
        session.execute(update(answers).values(created_at=db.utcnow() - idempotency.KEEP * 2))
    assert [idempotency.purge("leads") for _ in range(2)] == [True, False]
    assert count(answers) == 0
