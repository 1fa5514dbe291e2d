"""Events: never lost, never handled twice, never blocking others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from app.contracts.events import LeadAssigned, LeadCaptured, LeadCreated, LeadUpdated
from app.kit import db, dead_letters, inbox, interest, jobs, outbox, relay
from app.kit.errors import Temporary
from app.kit.redis_client import redis

LeadsOutbox, LeadsInbox = outbox.tables_of("leads")
EmailOutbox, EmailInbox = outbox.tables_of("email")


def a_lead_created(**fields: Any) -> LeadCreated:
    """An event two services listen to."""
    base = {
        "lead_id": db.new_id(), "lead_name": "Ana", "email": None, "phone": None, "company": None, "source": "api",
        "language": "es", "stage": "new",
    }  # fmt: skip
    return LeadCreated(**{**base, **fields})


@pytest.fixture
def handled(app: Flask, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Replaces what listeners do on lead.created by noting it: (service, lead id)."""
    seen: list[tuple[str, str]] = []

    def noting(service: str) -> Callable[[LeadCreated], None]:
        def note(event: LeadCreated) -> None:
            seen.append((service, event.lead_id))

        return note

    handlers = {service: {LeadCreated: noting(service)} for service in app.extensions["embudo_services"]}
    monkeypatch.setitem(app.extensions, "embudo_handlers", handlers)
    return seen


def listen(app: Flask, monkeypatch: pytest.MonkeyPatch, handlers: dict[str, Any]) -> None:
    """These services listen to these events, the others to none."""
    nobody: dict[str, Any] = {service: {} for service in app.extensions["embudo_services"]}
    monkeypatch.setitem(app.extensions, "embudo_handlers", nobody | handlers)


def publish(event: Any) -> None:
    """As a command does."""
    with db.transaction():
        outbox.publish(event)


@pytest.mark.parametrize("odd", [2**70, "half an emoji \ud83d"])
def test_what_could_never_leave_is_refused_when_it_is_published(
    handled: list[Any], drain: Callable[[], None], odd: Any
) -> None:
    with pytest.raises(TypeError):
        publish(a_lead_created(company=odd))
    drain()
    assert handled == []


def test_an_event_reaches_every_listener_once(handled: list[Any], drain: Callable[[], None]) -> None:
    event = a_lead_created()
    publish(event)
    drain()
    assert sorted(handled) == [(name, event.lead_id) for name in ("email", "webhooks", "whatsapp")]


def test_an_event_that_was_rolled_back_never_leaves(handled: list[Any], drain: Callable[[], None]) -> None:
    with pytest.raises(RuntimeError), db.transaction():
        outbox.publish(a_lead_created())
        raise RuntimeError
    drain()
    assert handled == []


def test_a_confirmed_event_is_not_handed_over_again(handled: list[Any], drain: Callable[[], None]) -> None:
    publish(a_lead_created())
    drain()
    row = db.db.session.scalars(select(LeadsOutbox)).one()
    assert row.pending == []
    assert row.delivered_at is not None
    assert not outbox.due("leads")


def test_when_redis_forgets_everything_nothing_is_lost_or_doubled(
    handled: list[Any], drain: Callable[[], None]
) -> None:
    first, second = a_lead_created(), a_lead_created()
    publish(first)
    drain()
    publish(second)
    relay.pass_once()  # handed over to Redis …
    redis().flushdb()  # … which loses it before anybody looked
    drain()
    expected = [
        (service, event.lead_id) for event in (first, second) for service in ("email", "webhooks", "whatsapp")
    ]
    assert sorted(handled) == sorted(expected)


def test_a_lost_nudge_costs_only_the_time_to_the_next_sweep(
    handled: list[Any], drain: Callable[[], None]
) -> None:
    event = a_lead_created()
    publish(event)
    redis().delete(jobs.nudge_key("leads"))
    drain()
    assert ("email", event.lead_id) in handled


def test_a_repeated_letter_is_a_no_op(app: Flask, handled: list[Any]) -> None:
    publish(a_lead_created())
    letter = outbox.as_cloud_event(db.db.session.scalars(select(LeadsOutbox)).one())
    inbox.receive("email", letter)
    inbox.receive("email", letter)
    assert [service for service, _ in handled] == ["email"]


def test_a_failing_handler_leaves_nothing_behind_and_is_tried_again(app: Flask, monkeypatch: Any) -> None:
    calls: list[int] = []

    def fails_once(event: LeadCreated) -> None:
        calls.append(1)
        db.db.session.add(
            EmailOutbox(name="email.sent", version=1, subject=event.lead_id, data={}, pending=[])
        )
        if len(calls) == 1:
            raise RuntimeError("the neighbour ana@example.com is ill")

    listen(app, monkeypatch, {"email": {LeadCreated: fails_once}})
    publish(a_lead_created())
    letter = outbox.as_cloud_event(db.db.session.scalars(select(LeadsOutbox)).one())
    again = inbox.receive("email", letter)
    assert again is not None
    assert db.db.session.scalar(select(EmailOutbox.id)) is None
    row = db.db.session.scalars(select(EmailInbox)).one()
    assert (row.state, row.attempts) == ("failing", 1)
    assert "ana@example.com" not in row.error
    assert inbox.receive("email", letter) is None
    db.db.session.expire_all()
    assert db.db.session.scalars(select(EmailInbox)).one().state == "done"
    assert db.db.session.scalar(select(EmailOutbox.subject)) == letter["data"]["lead_id"]


def test_a_handler_that_always_fails_becomes_a_dead_letter_that_can_be_replayed(
    app: Flask, monkeypatch: Any, drain: Callable[[], None]
) -> None:
    broken = True
    handled: list[str] = []

    def sometimes(event: LeadCreated) -> None:
        if broken:
            raise RuntimeError("no")
        handled.append(event.lead_id)

    listen(app, monkeypatch, {"email": {LeadCreated: sometimes}, "whatsapp": {}, "webhooks": {}})
    publish(a_lead_created())
    letter = outbox.as_cloud_event(db.db.session.scalars(select(LeadsOutbox)).one())
    results = [inbox.receive("email", letter) for _ in range(inbox.HANDLER_ATTEMPTS)]
    assert results[-1] is None
    assert all(results[:-1])
    row = db.db.session.scalars(select(EmailInbox)).one()
    assert row.state == "dead"
    broken = False
    with db.transaction():
        dead_letters.replay("email", row.event_id, row.handler)
    drain()
    assert handled == [letter["data"]["lead_id"]]


def test_one_failing_listener_does_not_stop_the_other(
    app: Flask, monkeypatch: Any, drain: Callable[[], None]
) -> None:
    handled: list[str] = []

    def fails(_event: LeadCreated) -> None:
        raise RuntimeError

    def works(event: LeadCreated) -> None:
        handled.append(event.lead_id)

    handlers = {"email": {LeadCreated: fails}, "whatsapp": {LeadCreated: works}, "webhooks": {}}
    monkeypatch.setitem(app.extensions, "embudo_handlers", handlers)
    event = a_lead_created()
    publish(event)
    drain()
    assert handled == [event.lead_id]
    assert db.db.session.scalars(select(EmailInbox)).one().state == "failing"


def test_a_failed_event_is_safe_with_its_listener_and_tried_again_by_its_own_schedule(
    app: Flask, monkeypatch: Any, drain: Callable[[], None]
) -> None:
    handled: list[str] = []

    def fails_once(event: LeadCreated) -> None:
        handled.append(event.lead_id)
        if len(handled) == 1:
            raise RuntimeError

    listen(app, monkeypatch, {"email": {LeadCreated: fails_once}})
    event = a_lead_created()
    publish(event)
    drain()
    redis().flushdb()
    assert handled == [event.lead_id], "it is not tried again at once"
    assert db.db.session.scalars(select(LeadsOutbox)).one().delivered_at is not None, (
        "the producer may forget it"
    )
    row = db.db.session.scalars(select(EmailInbox).where(EmailInbox.state == "failing")).one()
    row.handled_at -= timedelta(seconds=inbox.retry_wait(1))
    db.db.session.commit()
    drain()
    assert handled == [event.lead_id] * 2
    assert db.db.session.scalars(select(EmailInbox)).one().state == "done"


def test_a_failed_event_that_nobody_wants_any_more_is_done(
    app: Flask, monkeypatch: Any, drain: Callable[[], None]
) -> None:
    def fails(_event: LeadCreated) -> None:
        raise RuntimeError

    listen(app, monkeypatch, {"email": {LeadCreated: fails}})
    publish(a_lead_created())
    drain()
    listen(app, monkeypatch, {"email": {}})
    row = db.db.session.scalars(select(EmailInbox)).one()
    row.handled_at -= timedelta(seconds=inbox.retry_wait(1))
    db.db.session.commit()
    dead_letters.retry_due("email", jobs.drain_until())
    db.db.session.expire_all()
    assert db.db.session.scalars(select(EmailInbox)).one().state == "done"


def test_an_event_that_lacks_a_field_is_kept_and_blocks_nobody(app: Flask) -> None:
    publish(a_lead_created())
    letter = outbox.as_cloud_event(db.db.session.scalars(select(LeadsOutbox)).one())
    assert inbox.receive("email", {**letter, "data": {"lead_id": "1"}}) is not None
    assert db.db.session.scalars(select(EmailInbox)).one().handler == "email.parse"


def test_what_a_transport_that_is_down_did_not_take_is_due_again_in_a_moment(
    app: Flask, monkeypatch: Any
) -> None:
    class Down:
        def send(self, _letters: Any) -> None:
            raise Temporary("down")

    monkeypatch.setitem(app.extensions, "embudo_transport", Down())
    publish(a_lead_created())
    for _ in range(3):
        db.db.session.execute(update(LeadsOutbox).values(next_attempt_at=db.utcnow()))
        db.db.session.commit()
        with pytest.raises(Temporary):
            outbox.hand_over("leads")
    db.db.session.expire_all()
    row = db.db.session.scalars(select(LeadsOutbox)).one()
    assert row.attempts == 0
    assert row.next_attempt_at <= db.utcnow() + timedelta(seconds=outbox.DOWN_SECONDS)


def test_an_event_of_a_newer_release_is_tolerated(app: Flask) -> None:
    publish(a_lead_created())
    letter = outbox.as_cloud_event(db.db.session.scalars(select(LeadsOutbox)).one())
    newer = {**letter, "data": {**letter["data"], "colour": "blue"}}
    assert inbox.receive("email", newer) is None
    assert inbox.receive("email", {**letter, "type": "embudo.lead.sang.v1"}) is None


def test_an_event_without_listeners_is_kept_for_the_record_only(app: Flask, monkeypatch: Any) -> None:
    monkeypatch.delitem(outbox.LISTENERS, LeadUpdated)
    publish(LeadUpdated(lead_id=db.new_id(), version_number=2))
    assert db.db.session.scalars(select(LeadsOutbox)).one().delivered_at is not None


def test_the_age_of_the_oldest_event_is_reported(app: Flask) -> None:
    publish(a_lead_created())
    report = {item.service: item for item in outbox.health()}
    assert report["leads"].waiting == 1
    assert report["leads"].oldest_seconds is not None
    assert report["email"].waiting == 0


def test_a_letter_looks_like_a_cloud_event(app: Flask) -> None:
    publish(a_lead_created())
    letter = outbox.as_cloud_event(db.db.session.scalars(select(LeadsOutbox)).one())
    assert letter["specversion"] == "1.0"
    assert letter["type"] == "embudo.lead.created.v1"
    assert letter["source"] == "/embudo/leads"
    assert outbox.dumps(letter) == outbox.dumps(dict(reversed(letter.items())))


def test_captured_leads_go_to_the_leads_service(app: Flask, drain: Callable[[], None]) -> None:
    with db.transaction():
        outbox.publish(
            LeadCaptured(
                capture_id="c1",
                conversation_id=db.new_id(),
                contact_id=db.new_id(),
                channel="simulator",
                language="es",
                fields={"name": "Ana"},
            )
        )
    drain()
    assert db.db.session.scalars(select(LeadsInbox)).one().state == "done"


def test_a_handler_is_asked_first_whether_it_wants_an_event_and_can_read_its_envelope(
    app: Flask, monkeypatch: Any
) -> None:
    seen: list[inbox.Received] = []

    def picky(event: LeadCreated) -> None:
        seen.append(inbox.received())

    picky.wanted = lambda event: event.source == "api"  # type: ignore[attr-defined]
    listen(app, monkeypatch, {"email": {LeadCreated: picky}})
    publish(a_lead_created(source="import"))
    publish(a_lead_created(source="api"))
    rows = db.db.session.scalars(select(LeadsOutbox).order_by(LeadsOutbox.id)).all()
    for row in rows:
        assert inbox.receive("email", outbox.as_cloud_event(row)) is None
    assert [(item.event_id, item.at) for item in seen] == [(rows[1].id, rows[1].created_at)]
    db.db.session.expire_all()
    assert [row.event_id for row in db.db.session.scalars(select(EmailInbox))] == [rows[1].id]
    with pytest.raises(LookupError):
        inbox.received()


def letters_of(*events: Any) -> list[dict[str, Any]]:
    """The events, published, as their listeners get them."""
    for event in events:
        publish(event)
    rows = db.db.session.scalars(select(LeadsOutbox).order_by(LeadsOutbox.id)).all()
    return [outbox.as_cloud_event(row) for row in rows]


def test_letters_that_come_together_are_handled_once_each_and_in_order(handled: list[Any]) -> None:
    events = [a_lead_created() for _ in range(3)]
    letters = letters_of(*events)
    inbox.receive("email", letters[1])
    inbox.receive_many("email", [*letters, letters[2]])
    inbox.receive_many("email", letters)
    assert [lead_id for _, lead_id in handled] == [events[n].lead_id for n in (1, 0, 2)]


def test_events_that_leave_together_arrive_in_the_order_in_which_they_happened(
    app: Flask, monkeypatch: Any, drain: Callable[[], None]
) -> None:
    heard: list[int | None] = []

    def note(event: LeadAssigned) -> None:
        heard.append(event.owner_id)

    listen(app, monkeypatch, {"whatsapp": {LeadAssigned: note}})
    lead_id, owners = db.new_id(), [5, 12, 3, None, 40]
    for owner_id in owners:
        publish(LeadAssigned(lead_id=lead_id, owner_id=owner_id, owner_name="", contact_id=None))
    assert outbox.hand_over("leads") == len(owners)
    drain()
    assert heard == owners


def test_one_bad_letter_does_not_spoil_those_that_came_with_it(app: Flask, monkeypatch: Any) -> None:
    events = [a_lead_created() for _ in range(4)]

    def picky(event: LeadCreated) -> None:
        db.db.session.add(
            EmailOutbox(name="email.sent", version=1, subject=event.lead_id, data={}, pending=[])
        )
        db.db.session.flush()
        if event.lead_id == events[1].lead_id:
            raise RuntimeError

    listen(app, monkeypatch, {"email": {LeadCreated: picky}})
    letters = letters_of(*events)
    letters[3] = {**letters[3], "data": {"lead_id": "1"}}
    inbox.receive_many("email", letters)
    subjects = db.db.session.scalars(select(EmailOutbox.subject).order_by(EmailOutbox.id)).all()
    assert subjects == [events[0].lead_id, events[2].lead_id]
    states = {row.event_id: row.state for row in db.db.session.scalars(select(EmailInbox))}
    assert [states[letter["id"]] for letter in letters] == ["done", "failing", "done", "failing"]


def test_a_letter_that_failed_before_is_tried_again_with_the_others(app: Flask, monkeypatch: Any) -> None:
    calls: list[str] = []

    def fails_once(event: LeadCreated) -> None:
        calls.append(event.lead_id)
        if len(calls) == 1:
            raise RuntimeError

    listen(app, monkeypatch, {"email": {LeadCreated: fails_once}})
    letters = letters_of(a_lead_created(), a_lead_created())
    inbox.receive("email", letters[0])
    inbox.receive_many("email", letters)
    assert len(calls) == 3
    db.db.session.expire_all()
    assert {row.state for row in db.db.session.scalars(select(EmailInbox))} == {"done"}


def test_confirmations_of_many_events_count_for_each_of_them(app: Flask) -> None:
    first, second = letters_of(a_lead_created(), a_lead_created())
    told = [(first["id"], name) for name in ("email", "whatsapp", "webhooks")]
    outbox.confirm("leads", [*told, (second["id"], "email")])
    rows = db.db.session.scalars(select(LeadsOutbox).order_by(LeadsOutbox.id)).all()
    assert [sorted(row.pending) for row in rows] == [[], ["webhooks", "whatsapp"]]
    assert [row.delivered_at is not None for row in rows] == [True, False]


def choosy(app: Flask, monkeypatch: Any, wanted: set[str]) -> list[str]:
    """Let the webhooks service want only what is in `wanted`; gives what it is told."""
    told: list[str] = []

    def tell(event: Any) -> None:
        told.append(event.name)

    tell.interest = lambda: wanted  # type: ignore[attr-defined]
    listen(app, monkeypatch, {"webhooks": {LeadCreated: tell, LeadUpdated: tell}})
    interest.refresh("webhooks")
    return told


def test_what_a_listener_does_not_want_is_settled_without_being_carried(app: Flask, monkeypatch: Any) -> None:
    told = choosy(app, monkeypatch, {"lead.updated"})
    publish(a_lead_created())
    publish(LeadUpdated(lead_id=db.new_id(), version_number=2))
    for _ in range(2):
        outbox.hand_over("leads")
    assert redis().zcard("embudo:events:webhooks") == 1
    assert redis().zcard("embudo:events:email") == 1
    rows = {row.name: row for row in db.db.session.scalars(select(LeadsOutbox))}
    assert sorted(rows["lead.created"].pending) == ["email", "whatsapp"]
    assert rows["lead.updated"].pending == ["webhooks"]
    assert told == []


def test_an_event_that_nobody_wants_is_done(app: Flask, monkeypatch: Any) -> None:
    choosy(app, monkeypatch, set())
    publish(LeadUpdated(lead_id=db.new_id(), version_number=2))
    assert outbox.hand_over("leads") == 1
    row = db.db.session.scalars(select(LeadsOutbox)).one()
    assert (row.pending, row.attempts) == ([], 0)
    assert row.delivered_at is not None


@pytest.mark.parametrize("lost", ["all of redis", "only its time"])
def test_an_interest_that_is_not_known_is_an_interest_in_everything(
    app: Flask, monkeypatch: Any, lost: str
) -> None:
    choosy(app, monkeypatch, set())
    if lost == "all of redis":
        redis().flushdb()
    else:
        now = interest.time.time()
        monkeypatch.setattr(interest.time, "time", lambda: now + interest.FRESH_SECONDS + 1)
    publish(LeadUpdated(lead_id=db.new_id(), version_number=2))
    outbox.hand_over("leads")
    assert redis().zcard("embudo:events:webhooks") == 1


def test_while_an_interest_changes_nothing_is_left_out_and_nobody_writes_the_old_one(
    app: Flask, monkeypatch: Any
) -> None:
    wanted: set[str] = set()
    choosy(app, monkeypatch, wanted)
    with db.transaction():
        interest.changed("webhooks")
        assert interest.names("webhooks") is None
        with db.own_context():
            interest.refresh("webhooks")  # a relay that still sees what was before
        assert interest.names("webhooks") is None
        wanted.add("lead.updated")
    interest.refresh("webhooks")
    assert interest.names("webhooks") == {"lead.updated"}
