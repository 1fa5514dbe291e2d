"""An endpoint is switched off for days of failures that were really seen, never for a moment after a long silence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from app.kit import db
from app.webhooks import commands, queries
from app.webhooks.commands.delivery import Result
from app.webhooks.models import Endpoint, WebhooksOutbox
from app.webhooks.providers import Outcome
from tests.webhooks.conftest import deliveries, fresh, lead_created
from tests.webhooks.test_delivery import claimed, fail

# Times are given as arguments: nobody waits for days.

SECONDS, HOURS, DAYS = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def endpoint(app: Flask, add_endpoint: Callable[..., tuple[Endpoint, str]]) -> Endpoint:
    """One that wants all events and got none yet."""
    return add_endpoint("https://example.com/hook")[0]


def queue() -> None:
    """An event for everybody."""
    with db.transaction():
        commands.queue_event(lead_created(), event_id=db.new_id(), at=db.utcnow())


def queue_test(endpoint: Endpoint) -> None:
    with db.transaction():
        commands.send_test(endpoint.id)


def succeed(endpoint: Endpoint, now: datetime) -> None:
    parcel = claimed(endpoint)
    with db.transaction():
        commands.record([Result(parcel=parcel, outcome=Outcome(status=204), at=now)], now=now)


def state(endpoint: Endpoint) -> tuple[bool, str | None]:
    """Whether it is on, and why not."""
    fresh()
    found = queries.get_endpoint(endpoint.id)
    return found.enabled, found.disabled_reason


def failing_since(endpoint: Endpoint) -> datetime | None:
    fresh()
    return queries.get_endpoint(endpoint.id).first_failure_at


def test_five_days_of_failures_switch_an_endpoint_off_and_say_since_when(endpoint: Endpoint) -> None:
    start = db.utcnow()
    queue()
    for hours in range(0, 120, 14):  # 0 to 112
        fail(endpoint, start + hours * HOURS)
        assert state(endpoint) == (True, None)
    fail(endpoint, start + 5 * DAYS)

    assert state(endpoint) == (False, "failing")
    (told,) = db.db.session.scalars(select(WebhooksOutbox)).all()
    assert told.data["failing_since"].startswith(start.isoformat()[:19])


def test_a_success_begins_the_five_days_anew(endpoint: Endpoint) -> None:
    start = db.utcnow()
    queue()
    fail(endpoint, start)
    fail(endpoint, start + 4 * DAYS)
    succeed(endpoint, start + 4 * DAYS + HOURS)
    assert failing_since(endpoint) is None

    queue()
    for hours in range(96 + 2, 96 + 2 + 120, 14):
        fail(endpoint, start + hours * HOURS)
        assert state(endpoint) == (True, None)
    assert failing_since(endpoint) == start + 98 * HOURS


def test_a_test_that_fails_starts_no_clock(endpoint: Endpoint) -> None:
    start = db.utcnow()
    queue_test(endpoint)
    fail(endpoint, start)
    assert failing_since(endpoint) is None

    queue()
    fail(endpoint, start + 6 * DAYS)
    fail(endpoint, start + 6 * DAYS + 5 * SECONDS)
    assert state(endpoint) == (True, None)
    assert failing_since(endpoint) == start + 6 * DAYS


def test_a_test_that_fails_switches_nothing_off_and_one_that_succeeds_ends_the_failing(
    endpoint: Endpoint,
) -> None:
    start = db.utcnow()
    queue()
    for _ in range(10):
        fail(endpoint, start)
    assert failing_since(endpoint) == start

    queue_test(endpoint)
    fail(endpoint, start + 6 * DAYS)
    assert state(endpoint) == (True, None)
    assert failing_since(endpoint) == start

    queue_test(endpoint)
    succeed(endpoint, start + 6 * DAYS)
    assert failing_since(endpoint) is None


def test_after_quiet_days_two_failures_in_a_row_switch_nothing_off_but_a_lasting_series_does(
    endpoint: Endpoint,
) -> None:
    start = db.utcnow()
    queue()
    for hours in range(10):
        fail(endpoint, start + hours * HOURS)

    later = start + 20 * DAYS
    queue()
    for wait in (0 * SECONDS, 5 * SECONDS, 12 * HOURS, 23 * HOURS):
        fail(endpoint, later + wait)
        assert state(endpoint) == (True, None)
    assert failing_since(endpoint) == start

    fail(endpoint, later + 25 * HOURS)
    assert state(endpoint) == (False, "failing")


def test_days_in_which_we_did_not_call_count_for_nothing(endpoint: Endpoint) -> None:
    """Our worker was off: what it had tried before and tries after is no series."""
    start = db.utcnow()
    queue()
    fail(endpoint, start)
    fail(endpoint, start + HOURS)
    for wait in (0 * SECONDS, 5 * SECONDS):
        fail(endpoint, start + 6 * DAYS + wait)
        assert state(endpoint) == (True, None)


def test_a_replay_begins_its_series_anew(endpoint: Endpoint) -> None:
    start = db.utcnow()
    queue()
    for hours in range(0, 108, 12):
        fail(endpoint, start + hours * HOURS)
    with db.transaction():
        commands.replay(deliveries(endpoint)[0].id)
    fail(endpoint, start + 5 * DAYS)
    fail(endpoint, start + 5 * DAYS + 5 * SECONDS)
    assert state(endpoint) == (True, None)
