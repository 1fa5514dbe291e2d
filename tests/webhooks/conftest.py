"""Endpoints, receivers that can be told to misbehave, and a way to let messages leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from standardwebhooks import Webhook

from app.contracts.events import LeadCreated
from app.kit import db, outbox
from app.webhooks import commands, jobs, queries
from app.webhooks.models import Delivery, Endpoint
from tests.fakes.loopback import Answer, LoopbackServer, Received


class Receiver(LoopbackServer):
    """A customer's server that takes everything."""

    def handle(self, request: Received) -> Answer:
        return Answer(status=200, body={"ok": True})


@pytest.fixture
def receiver(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver on loopback, which the app is allowed to call."""
    monkeypatch.setitem(app.config, "WEBHOOKS_ALLOW_PRIVATE", ("127.0.0.1",))
    with Receiver() as server:
        yield server


@pytest.fixture
def add_endpoint(app: Flask) -> Callable[..., tuple[Endpoint, str]]:
    """Add an endpoint: ``add_endpoint(url, events=["lead.*"])`` gives it and its secret."""

    def add(url: str, **changes: Any) -> tuple[Endpoint, str]:
        with db.transaction():
            return commands.create_endpoint({"url": url, "events": ["*"], **changes}, by="test")

    return add


def lead_created(**fields: Any) -> LeadCreated:
    base = {
        "lead_id": db.new_id(), "lead_name": "Ana Ñ 😊", "email": "ana@example.com", "phone": None, "company": None,
        "source": "api", "language": "es", "stage": "new",
    }  # fmt: skip
    return LeadCreated(**{**base, **fields})


def publish(event: Any) -> None:
    with db.transaction():
        outbox.publish(event)


def fresh() -> None:
    """Read anew: neither an old snapshot nor remembered rows."""
    db.db.session.rollback()
    db.db.session.expire_all()


def deliveries(endpoint: Endpoint) -> list[Delivery]:
    """The endpoint's deliveries as they are stored now, newest first."""
    fresh()
    return list(queries.list_deliveries(endpoint.id))


def due_now(*rows: Delivery) -> None:
    """Let the time of the next try come."""
    with db.transaction() as session:
        for row in rows:
            session.get(Delivery, row.id).next_attempt_at = db.utcnow()


def verify(secret: str, request: Received) -> Any:
    """The payload, if the receiver's library finds the signature good."""
    return Webhook(secret).verify(request.body, dict(request.headers))


@pytest.fixture(autouse=True)
def nothing_left_under_way() -> Iterator[None]:
    """No call of one test ends in the next."""
    yield
    assert jobs.courier().settle(30)
