"""From an event to a signed request, and what becomes of it when the receiver misbehaves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import orjson
import pytest
from flask import Flask
from sqlalchemy import select

from app.contracts.events import EmailSent, LeadDeleted
from app.kit import db
from app.webhooks import commands, jobs, queries
from app.webhooks.commands import delivery
from app.webhooks.commands.delivery import Parcel, Result
from app.webhooks.models import Attempt, Delivery, Endpoint, Message, WebhooksOutbox
from app.webhooks.providers import Outcome
from tests.fakes.loopback import Answer, Drop
from tests.webhooks.conftest import Receiver, deliveries, due_now, fresh, lead_created, publish, verify

Drain = Callable[[], None]
Add = Callable[..., tuple[Endpoint, str]]


def test_an_event_arrives_signed_with_the_bytes_that_are_stored(
    receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    endpoint, secret = add_endpoint(f"{receiver.url}/hook?key=1")
    event = lead_created()
    publish(event)
    drain()

    (request,) = receiver.requests
    payload = verify(secret, request)
    assert payload["type"] == "lead.created"
    assert payload["data"] == event.data()
    assert set(payload) == {"type", "timestamp", "data"}
    assert (request.path, request.query) == ("/hook", "key=1")
    (row,) = deliveries(endpoint)
    assert row.status == "delivered"
    assert request.headers["webhook-id"] == row.webhook_id
    assert request.body == queries.get_message(row.message_id).body
    (attempt,) = queries.attempts_of(row.id)
    assert (attempt.n, attempt.status, attempt.error) == (1, 200, None)
    assert attempt.answer == '{"ok": true}'
    assert queries.get_endpoint(endpoint.id).last_success_at is not None


def test_only_wanted_events_are_told_and_each_message_is_stored_once(
    receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    leads, _ = add_endpoint(f"{receiver.url}/leads", events=["lead.*"])
    both, _ = add_endpoint(f"{receiver.url}/both", events=["email.sent", "lead.created"])
    off, _ = add_endpoint(f"{receiver.url}/off", enabled=False)
    publish(lead_created())
    publish(EmailSent(message_id=db.new_id()))
    drain()

    assert [row.event_type for row in deliveries(leads)] == ["lead.created"]
    assert sorted(row.event_type for row in deliveries(both)) == ["email.sent", "lead.created"]
    assert deliveries(off) == []
    assert len(db.db.session.scalars(select(Message)).all()) == 2
    ids = [request.headers["webhook-id"] for request in receiver.requests]
    assert len(set(ids)) == 3


def test_an_event_nobody_wants_leaves_no_trace(app: Flask, drain: Drain) -> None:
    publish(lead_created())
    drain()
    fresh()
    assert db.db.session.scalars(select(Message)).all() == []


def test_a_failed_call_is_tried_again_with_the_same_id_and_bytes_and_a_new_timestamp(
    receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    endpoint, secret = add_endpoint(receiver.url)
    receiver.plan(Answer(status=500, body={"error": "down"}), Drop())
    publish(lead_created())
    drain()
    for _ in range(2):
        (row,) = deliveries(endpoint)
        assert row.status == "pending"
        due_now(row)
        drain()

    (row,) = deliveries(endpoint)
    assert (row.status, row.attempts) == ("delivered", 3)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert len({request.body for request in receiver.requests}) == 1
    for request in receiver.requests:
        verify(secret, request)
    last, second, first = queries.attempts_of(row.id)
    assert (first.status, first.error) == (500, "http")
    assert "down" in first.answer
    assert (second.status, second.error) == (None, "no_answer")
    assert last.error is None
    assert queries.get_endpoint(endpoint.id).first_failure_at is None


def test_a_redirect_is_a_failure_and_is_not_followed(
    receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    endpoint, _ = add_endpoint(receiver.url)
    receiver.plan(Answer(status=302, headers={"Location": f"{receiver.url}/elsewhere"}))
    publish(lead_created())
    drain()
    assert len(receiver.requests) == 1
    (row,) = deliveries(endpoint)
    assert (row.status, row.last_error) == ("pending", "redirect")


def test_the_answer_410_disables_the_endpoint_at_once_and_says_so(
    receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    endpoint, _ = add_endpoint(receiver.url)
    receiver.plan(Answer(status=410))
    publish(lead_created())
    drain()
    found = queries.get_endpoint(endpoint.id)
    fresh()
    found = queries.get_endpoint(endpoint.id)
    assert (found.enabled, found.disabled_reason) == (False, "gone")
    assert deliveries(endpoint)[0].status == "failed"
    told = db.db.session.scalars(select(WebhooksOutbox)).one()
    assert (told.name, told.data["endpoint_id"], told.data["reason"]) == (
        "endpoint.disabled",
        endpoint.id,
        "gone",
    )
    publish(lead_created())
    drain()
    assert len(receiver.requests) == 1


def test_an_endpoint_that_is_disabled_is_told_to_the_others(
    receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    ill, _ = add_endpoint(receiver.url, events=["lead.*"])
    add_endpoint(f"{receiver.url}/ops", events=["endpoint.*"])
    receiver.plan(Answer(status=410))
    publish(lead_created())
    drain()
    assert [request.path for request in receiver.requests][-1] == "/ops"
    assert orjson.loads(receiver.requests[-1].body)["data"]["endpoint_id"] == ill.id


def test_retry_after_holds_back_everything_for_that_endpoint(
    receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    endpoint, _ = add_endpoint(receiver.url)
    receiver.plan(Answer(status=429, headers={"Retry-After": "120"}))
    before = db.utcnow()
    publish(lead_created())
    drain()
    (row,) = deliveries(endpoint)
    assert row.next_attempt_at is not None
    assert row.next_attempt_at >= before + timedelta(seconds=120)
    publish(lead_created())
    drain()
    assert len(receiver.requests) == 1
    assert deliveries(endpoint)[0].attempts == 0


def test_a_retry_after_that_nobody_can_read_is_a_failure_like_any_other(
    receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    endpoint, _ = add_endpoint(receiver.url)
    far = "Wed, 21 Oct 2015 07:28:00 +99999999999999999999"
    receiver.plan(Answer(status=503, headers={"Retry-After": far}))
    publish(lead_created())
    drain()
    (row,) = deliveries(endpoint)
    assert (row.attempts, row.last_status, row.last_error) == (1, 503, "http")
    assert row.claimed_until is None
    assert row.next_attempt_at is not None


# What follows gives times as arguments: nobody waits for days.


def claimed(endpoint: Endpoint) -> Parcel:
    """Claim the endpoint's only delivery, whenever it is due."""
    due_now(*[row for row in deliveries(endpoint) if row.status == "pending"])
    with db.transaction():
        (parcel,) = commands.claim_due(lambda _: 10)
    return parcel


def fail(endpoint: Endpoint, now: Any, **outcome: Any) -> None:
    """Record a failed call at a time of our choice."""
    parcel = claimed(endpoint)
    outcome = {"status": 500, "error": "http", **outcome}
    with db.transaction():
        commands.record([Result(parcel=parcel, outcome=Outcome(**outcome), at=now)], now=now)


@pytest.fixture
def lone(app: Flask, add_endpoint: Add) -> Endpoint:
    """An endpoint with one delivery that waits."""
    endpoint, _ = add_endpoint("https://example.com/hook")
    with db.transaction():
        commands.queue_event(lead_created(), event_id=db.new_id(), at=db.utcnow())
    return endpoint


def test_the_schedule_is_the_standards_with_jitter_and_ends_after_ten_tries(lone: Endpoint) -> None:
    expected = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
    now = db.utcnow()
    for seconds in expected:
        fail(lone, now)
        (row,) = deliveries(lone)
        assert row.next_attempt_at is not None
        waited = (row.next_attempt_at - now).total_seconds()
        assert 0.8 * seconds <= waited <= 1.2 * seconds
    fail(lone, now)
    (row,) = deliveries(lone)
    assert (row.status, row.attempts, row.next_attempt_at) == ("failed", 10, None)


def test_what_a_dead_worker_had_claimed_is_sent_by_another_with_the_same_id(lone: Endpoint) -> None:
    first = claimed(lone)
    with db.transaction():
        assert commands.claim_due(lambda _: 10) == []
    later = first.until + timedelta(seconds=1)
    with db.transaction():
        (second,) = commands.claim_due(lambda _: 10, now=later)
    assert second.webhook_id == first.webhook_id
    assert second.body == first.body
    # The first one lives after all: its result counts no more.
    with db.transaction():
        commands.record([Result(parcel=first, outcome=Outcome(status=500, error="http"), at=later)])
    assert deliveries(lone)[0].attempts == 0
    with db.transaction():
        commands.record([Result(parcel=second, outcome=Outcome(status=200), at=later)])
    assert deliveries(lone)[0].status == "delivered"


def test_a_result_of_an_endpoint_that_was_deleted_meanwhile_is_no_error(lone: Endpoint) -> None:
    parcel = claimed(lone)
    with db.transaction():
        commands.delete_endpoint(lone.id)
    with db.transaction():
        commands.record([Result(parcel=parcel, outcome=Outcome(status=200), at=db.utcnow())])
    fresh()
    assert db.db.session.scalars(select(Attempt)).all() == []
    assert db.db.session.scalars(select(Delivery)).all() == []


def test_a_claim_is_fair_between_endpoints(app: Flask, add_endpoint: Add) -> None:
    busy, _ = add_endpoint("https://busy.example.com", events=["lead.*"])
    calm, _ = add_endpoint("https://calm.example.com", events=["email.*"])
    with db.transaction():
        for _ in range(30):
            commands.queue_event(lead_created(), event_id=db.new_id(), at=db.utcnow())
        commands.queue_event(EmailSent(message_id=db.new_id()), event_id=db.new_id(), at=db.utcnow())
    with db.transaction():
        parcels = commands.claim_due(lambda _: 5)
    by_endpoint = [parcel.endpoint_id for parcel in parcels]
    assert (by_endpoint.count(busy.id), by_endpoint.count(calm.id)) == (5, 1)


def test_claims_that_are_given_back_can_be_taken_at_once(lone: Endpoint) -> None:
    parcel = claimed(lone)
    with db.transaction():
        commands.release([parcel])
    with db.transaction():
        assert len(commands.claim_due(lambda _: 10)) == 1


def test_both_secrets_sign_while_a_rotation_lasts_and_only_the_new_one_after(lone: Endpoint) -> None:
    old = lone.secrets["current"]
    now = db.utcnow()
    with db.transaction():
        _, new = commands.rotate_secret(lone.id, now=now)
    assert claimed(lone).keys == (new, old)
    with db.transaction():
        (parcel,) = commands.claim_due(lambda _: 10, now=now + timedelta(hours=25))
    assert parcel.keys == (new,)


def test_a_lead_that_is_deleted_takes_its_personal_data_along(
    receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    endpoint, _ = add_endpoint(receiver.url)
    event, other = lead_created(), lead_created()
    receiver.plan(Answer(status=500))
    publish(event)
    drain()
    publish(other)
    publish(LeadDeleted(lead_id=event.lead_id))
    drain()

    by_type = {
        (row.event_type, queries.get_message(row.message_id).subject): row for row in deliveries(endpoint)
    }
    gone = by_type["lead.created", event.lead_id]
    assert (gone.status, gone.last_error) == ("failed", "erased")
    assert queries.get_message(gone.message_id).body == b""
    assert by_type["lead.deleted", event.lead_id].status == "delivered"
    kept = by_type["lead.created", other.lead_id]
    assert b"ana@example.com" in queries.get_message(kept.message_id).body
    with pytest.raises(Exception, match="erased"), db.transaction():
        commands.replay(gone.id)


def test_old_messages_are_forgotten_with_their_log_and_waiting_ones_are_kept(
    receiver: Receiver, add_endpoint: Add, drain: Drain
) -> None:
    endpoint, _ = add_endpoint(receiver.url)
    publish(lead_created())
    drain()
    receiver.plan(Answer(status=500))
    publish(lead_created())
    drain()
    later = db.utcnow() + commands.KEEP + timedelta(days=2)
    assert not jobs.has_old()
    assert jobs.has_old(later)
    with db.transaction():
        assert commands.purge(later) == 1
    assert [row.status for row in deliveries(endpoint)] == ["pending"]
    assert not jobs.has_old(later)
    assert delivery.ATTEMPTS == 10
