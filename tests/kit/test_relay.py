"""One relay's trouble, or one service's, is nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from sqlalchemy import text

from app.contracts.events import EmailSent, LeadCreated
from app.kit import db, outbox, relay
from app.kit.redis_client import redis
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
