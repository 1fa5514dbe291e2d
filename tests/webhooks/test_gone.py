"""What is said of a lead before its end and arrives after it is neither stored nor told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from app.contracts.events import Event, LeadDeleted, LeadUpdated
from app.kit import db, dead_letters, gone, inbox
from app.webhooks import commands, subscribers
from app.webhooks.models import Message, WebhooksInbox
from tests.webhooks.conftest import Receiver

LEAD = "0198f000-0000-7000-8000-00000000aaaa"
DELETED_AT = datetime.fromisoformat("2026-01-31T08:00:00+00:00")
BEFORE, AFTER = DELETED_AT - timedelta(seconds=1), DELETED_AT + timedelta(seconds=1)

UPDATED = LeadUpdated(lead_id=LEAD, version_number=2, changes={"phone": "+34600000012"})


@pytest.fixture(autouse=True)
def endpoint(receiver: Receiver, add_endpoint: Callable[..., Any]) -> None:
    """Somebody wants to hear everything."""
    add_endpoint(receiver.url)


def letter(event: Event, at: datetime) -> dict[str, Any]:
    """The event as it comes."""
    return {
        "id": db.new_id(),
        "type": f"embudo.{event.name}.v{event.version}",
        "time": at.isoformat(),
        "requestid": None,
        "data": event.data(),
    }


def hear(event: Event, at: datetime) -> None:
    assert inbox.receive("webhooks", letter(event, at)) is None


def told() -> list[str]:
    """Types of the messages about the lead whose content is there."""
    with db.own_context():
        rows = db.db.session.scalars(select(Message).where(Message.subject == LEAD).order_by(Message.type))
        return [row.type for row in rows if row.body]


def test_what_happened_before_the_end_is_not_told_after_it() -> None:
    hear(LeadDeleted(lead_id=LEAD), DELETED_AT)
    hear(UPDATED, BEFORE)
    assert told() == ["lead.deleted"]


def test_a_lead_that_is_brought_back_is_told_of_again() -> None:
    hear(LeadDeleted(lead_id=LEAD), DELETED_AT)
    hear(UPDATED, AFTER)
    assert told() == ["lead.deleted", "lead.updated"]


def test_an_older_end_that_arrives_late_does_not_hide_a_newer_one() -> None:
    hear(LeadDeleted(lead_id=LEAD), DELETED_AT)
    hear(LeadDeleted(lead_id=LEAD), BEFORE - timedelta(days=1))
    hear(UPDATED, BEFORE)
    assert "lead.updated" not in told()


@pytest.mark.parametrize("attempts", [1, inbox.HANDLER_ATTEMPTS])
def test_what_could_not_be_handled_before_the_end_is_not_kept_for_another_try(
    app: Flask, monkeypatch: pytest.MonkeyPatch, attempts: int
) -> None:
    def tell(_event: Event) -> None:
        raise RuntimeError("a bug")

    about, newer = letter(UPDATED, BEFORE), letter(UPDATED, AFTER)
    with monkeypatch.context() as broken:
        broken.setitem(app.extensions["embudo_handlers"]["webhooks"], LeadUpdated, tell)
        for _ in range(attempts):
            inbox.receive("webhooks", about)
            inbox.receive("webhooks", newer)
    hear(LeadDeleted(lead_id=LEAD), DELETED_AT)
    db.db.session.expire_all()
    rows = {row.event_id: row for row in db.db.session.scalars(select(WebhooksInbox))}
    assert (rows[about["id"]].state, rows[about["id"]].event) == ("done", None)
    assert rows[newer["id"]].event == newer
    dead_letters.retry_due("webhooks", 0)
    assert "lead.updated" not in told()


def test_an_end_waits_for_who_is_telling_what_happened_before(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    def end() -> None:
        with app.app_context():
            hear(LeadDeleted(lead_id=LEAD), DELETED_AT)
        ended.set()

    queue_event = commands.queue_event
    thread = threading.Thread(target=end)

    def slow(event: Event, **envelope: Any) -> int:
        count = queue_event(event, **envelope)
        if isinstance(event, LeadUpdated):
            thread.start()
            assert not ended.wait(0.5)
        return count

    monkeypatch.setattr(subscribers.commands, "queue_event", slow)
    hear(UPDATED, BEFORE)
    thread.join(30)
    assert told() == ["lead.deleted"]


def test_what_is_gone_is_forgotten_when_nothing_said_before_can_be_on_its_way() -> None:
    hear(LeadDeleted(lead_id=LEAD), DELETED_AT)
    table = gone._tables["webhooks"]
    assert gone.purge("webhooks") is False
    with db.own_context():
        assert db.db.session.get(table, LEAD) is not None
    with db.own_context(), db.transaction() as session:
        session.get(table, LEAD).noted_at = db.utcnow() - gone.KEEP - timedelta(hours=1)
    gone.purge("webhooks")
    with db.own_context():
        assert db.db.session.get(table, LEAD) is None
