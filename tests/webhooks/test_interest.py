"""The relay carries to the webhooks service only what an endpoint wants, and all of that."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask
from sqlalchemy import select

from app.contracts.events import LeadDeleted, LeadUpdated
from app.kit import db, interest, outbox, relay
from app.kit.redis_client import redis
from app.webhooks import commands
from app.webhooks.models import Delivery

LETTERS = "embudo:events:webhooks"


def publish_update() -> None:
    """Something happens to a lead."""
    with db.transaction():
        outbox.publish(LeadUpdated(lead_id=db.new_id(), version_number=2))


def test_without_endpoints_no_event_is_carried_but_deletions(app: Flask) -> None:
    relay.pass_once()
    publish_update()
    with db.transaction():
        outbox.publish(LeadDeleted(lead_id=db.new_id()))
    relay.pass_once()
    assert redis().zcard(LETTERS) == 1


def test_an_endpoint_is_told_what_happens_from_the_moment_it_exists(
    app: Flask, drain: Callable[[], None]
) -> None:
    relay.pass_once()
    assert interest.names("webhooks") == {"lead.deleted"}
    with db.transaction():
        endpoint, _ = commands.create_endpoint(
            {"url": "https://example.com/hook", "events": ["lead.updated"]}, by="test"
        )
        endpoint_id = endpoint.id
    publish_update()
    outbox.hand_over("leads")
    assert redis().zcard(LETTERS) == 1
    drain()
    assert [row.endpoint_id for row in db.db.session.scalars(select(Delivery))] == [endpoint_id]


def test_an_endpoint_that_is_switched_off_wants_nothing_any_more(app: Flask) -> None:
    with db.transaction():
        endpoint, _ = commands.create_endpoint(
            {"url": "https://example.com/hook", "events": ["*"]}, by="test"
        )
        endpoint_id = endpoint.id
    relay.pass_once()
    assert "lead.updated" in (interest.names("webhooks") or ())
    with db.transaction():
        commands.disable_endpoint(endpoint_id)
    relay.pass_once()
    assert interest.names("webhooks") == {"lead.deleted"}
