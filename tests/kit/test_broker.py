"""Events through a real RabbitMQ: nothing lost, nothing handled twice, nobody waits for a broker that is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from kombu import Connection
from sqlalchemy import select

from app.contracts.events import LeadCreated
from app.kit import broker, db, dead_letters, inbox, jobs, outbox
from app.kit.broker import publisher, topology
from app.kit.ending import Ending
from app.kit.errors import Temporary
from app.kit.redis_client import redis
from app.services import DEAD_LETTERS
from tests.fakes.rabbitmq import RabbitMQ
from tests.ops.waiting import wait_for

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(240)]

LeadsOutbox, LeadsInbox = outbox.tables_of("leads")
EmailOutbox, EmailInbox = outbox.tables_of("email")
LISTENERS = ("email", "webhooks", "whatsapp")


@pytest.fixture(scope="session")
def node() -> Iterator[RabbitMQ]:
    """A broker that a test may kill; whoever does starts it again."""
    made = RabbitMQ()
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture
def url(node: RabbitMQ) -> str:
    """The broker, with empty queues."""
    with broker.opened(node.url) as connection:
        channel = connection.default_channel
        broker.declare(channel)
        for service in (*LISTENERS, "leads"):
            channel.queue_purge(broker.queue_of(service).name)
            channel.queue_purge(broker.dead_queue_of(service).name)
    return node.url


@pytest.fixture
def handled(app: Flask, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What listeners were told: (service, lead id)."""
    seen: list[tuple[str, str]] = []

    def noting(service: str) -> Callable[[LeadCreated], None]:
        return lambda event: seen.append((service, event.lead_id))

    def named(service: str) -> Callable[[LeadCreated], None]:
        note = noting(service)
        note.__name__ = "note"
        return note

    handlers = {service: {LeadCreated: named(service)} for service in LISTENERS}
    monkeypatch.setitem(app.extensions, "embudo_handlers", handlers)
    return seen


@pytest.fixture
def transport(app: Flask, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[broker.BrokerTransport]:
    """The app publishes through the broker."""
    made = broker.BrokerTransport(url)
    monkeypatch.setitem(app.extensions, "embudo_transport", made)
    yield made
    made.close()


def lead_created() -> str:
    """Publish; the lead's id."""
    lead_id = db.new_id()
    with db.transaction():
        outbox.publish(
            LeadCreated(lead_id=lead_id, lead_name="Ana", email="ana@example.com", phone=None, company=None,
                        source="api", language="es", stage="new")
        )  # fmt: skip
    return lead_id


def listen(app: Flask, url: str, *services: str) -> None:
    """What the consumers do with all that is there."""
    for service in services or LISTENERS:
        with broker.opened(url) as connection:
            listener = broker.Listener(app, connection, service, Ending())
            while listener.wait(0.5):
                pass
    db.db.session.expire_all()


def waiting(url: str, service: str) -> broker.QueueState:
    """The state of a service's queue."""
    (state,) = broker.states(url, [service])
    return state


def test_an_event_is_safe_once_the_broker_confirmed_it_and_reaches_every_listener_once(
    app: Flask, url: str, transport: Any, handled: list[Any]
) -> None:
    lead_id = lead_created()
    outbox.hand_over("leads")
    db.db.session.expire_all()
    row = db.db.session.scalars(select(LeadsOutbox)).one()
    assert (row.pending, row.delivered_at is not None) == ([], True)
    assert handled == []
    listen(app, url)
    assert sorted(handled) == [(name, lead_id) for name in LISTENERS]


def test_a_quiet_hour_does_not_cost_the_next_event_its_connection(
    app: Flask, url: str, monkeypatch: pytest.MonkeyPatch, transport: Any
) -> None:
    monkeypatch.setattr(topology, "HEARTBEAT_SECONDS", 1)  # the broker hangs up after two or three of silence
    lead_created()
    outbox.hand_over("leads")
    first = transport._publisher
    quiet_until = time.monotonic() + 5
    wait_for(lambda: transport.confirmations("leads") or time.monotonic() > quiet_until, "a quiet while")
    lead_created()
    outbox.hand_over("leads")
    assert transport._publisher is first
    db.db.session.expire_all()
    assert [row.pending for row in db.db.session.scalars(select(LeadsOutbox))] == [[], []]


def test_what_travels_is_a_cloud_event(app: Flask, url: str, transport: Any) -> None:
    lead_id = lead_created()
    outbox.hand_over("leads")
    with broker.opened(url) as connection:
        message = connection.default_channel.basic_get("embudo.email", no_ack=True)
    event = orjson.loads(message.body)
    assert message.content_type == "application/cloudevents+json"
    assert (event["specversion"], event["type"], event["source"]) == (
        "1.0",
        "embudo.lead.created.v1",
        "/embudo/leads",
    )
    assert (event["subject"], event["data"]["lead_id"]) == (lead_id, lead_id)
    assert message.properties["message_id"] == event["id"]
    assert message.properties["delivery_mode"] == 2


def test_an_event_published_twice_is_handled_once(
    app: Flask, url: str, transport: Any, handled: list[Any]
) -> None:
    lead_id = lead_created()
    letter = outbox.as_cloud_event(db.db.session.scalars(select(LeadsOutbox)).one())
    for _ in range(3):
        transport.send([(letter, ["email"])])
    listen(app, url, "email")
    assert handled == [("email", lead_id)]
    assert waiting(url, "email").waiting == 0


def test_an_event_stays_in_the_outbox_for_the_listener_whose_queue_is_missing(
    app: Flask, url: str, transport: Any, handled: list[Any]
) -> None:
    transport.send([])  # connected, and everything declared
    with broker.opened(url) as connection:
        connection.default_channel.queue_delete(broker.queue_of("email").name)
    lead_id = lead_created()
    outbox.hand_over("leads")
    db.db.session.expire_all()
    row = db.db.session.scalars(select(LeadsOutbox)).one()
    assert (row.pending, row.delivered_at) == (["email"], None)
    row.next_attempt_at = db.utcnow()
    db.db.session.commit()
    outbox.hand_over("leads")
    db.db.session.expire_all()
    assert db.db.session.scalars(select(LeadsOutbox)).one().delivered_at is not None
    assert [waiting(url, name).waiting for name in LISTENERS] == [1, 1, 1], "each has it once"
    listen(app, url)
    assert sorted(handled) == [(name, lead_id) for name in LISTENERS]


def test_somebody_else_hears_of_leads_in_a_queue_of_their_own_and_holds_nobody_up(
    app: Flask, url: str, transport: Any, handled: list[Any]
) -> None:
    """Their queue is full after the first event, and refuses the second."""
    limits = {"x-max-length": 1, "x-overflow": "reject-publish"}
    with broker.opened(url) as connection:
        channel = connection.default_channel
        channel.queue_declare("theirs", durable=True, auto_delete=False, arguments=limits)
        channel.queue_bind("theirs", "embudo.events", "lead.*")
        lead_ids = [lead_created(), lead_created()]
        outbox.hand_over("leads")
        heard = channel.basic_get("theirs", no_ack=True)
        channel.queue_delete("theirs")
    assert orjson.loads(heard.body)["subject"] == lead_ids[0]
    assert not db.db.session.scalars(select(LeadsOutbox).where(LeadsOutbox.delivered_at.is_(None))).all()
    listen(app, url, "email")
    assert handled == [("email", lead_id) for lead_id in lead_ids]


def test_a_thousand_events_are_confirmed_in_batches_and_in_order(
    app: Flask, url: str, transport: Any, handled: list[Any]
) -> None:
    ids = [lead_created() for _ in range(300)]
    while outbox.hand_over("leads"):
        pass
    assert not outbox.due("leads")
    listen(app, url, "email")
    assert handled == [("email", lead_id) for lead_id in ids]


def test_without_a_broker_events_wait_and_the_relay_asks_less_often(app: Flask, monkeypatch: Any) -> None:
    down = broker.BrokerTransport("amqp://guest:guest@127.0.0.1:1//")
    monkeypatch.setitem(app.extensions, "embudo_transport", down)
    lead_created()
    tries: list[int] = []
    monkeypatch.setattr(publisher, "connect", _counting(publisher.connect, tries))
    for _ in range(6):
        db.db.session.execute(LeadsOutbox.__table__.update().values(next_attempt_at=db.utcnow()))
        db.db.session.commit()
        with pytest.raises(Temporary):
            outbox.hand_over("leads")
    assert len(tries) == 3, "the breaker opened"
    db.db.session.expire_all()
    row = db.db.session.scalars(select(LeadsOutbox)).one()
    assert (row.delivered_at, row.attempts) == (None, 0)


def _counting(work: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    def counted(*args: Any) -> Any:
        calls.append(1)
        return work(*args)

    return counted


def test_a_failing_handler_leaves_the_queue_empty_and_is_tried_again_from_the_inbox(
    app: Flask, url: str, transport: Any, monkeypatch: Any
) -> None:
    calls: list[str] = []

    def fails_twice(event: LeadCreated) -> None:
        calls.append(event.lead_id)
        if len(calls) < 3:
            raise RuntimeError("the neighbour ana@example.com is ill")

    monkeypatch.setitem(app.extensions, "embudo_handlers", {"email": {LeadCreated: fails_twice}})
    lead_created()
    outbox.hand_over("leads")
    listen(app, url, "email")
    assert len(calls) == 1
    state = waiting(url, "email")
    assert (state.waiting, state.dead) == (0, 0)
    for attempt in (1, 2):
        assert not dead_letters.due("email")
        db.db.session.scalars(select(EmailInbox)).one().handled_at -= timedelta(
            seconds=inbox.retry_wait(attempt)
        )
        db.db.session.commit()
        dead_letters.retry_due("email", jobs.drain_until())
        db.db.session.expire_all()
    assert len(calls) == 3
    assert db.db.session.scalars(select(EmailInbox)).one().state == "done"


def test_what_is_no_cloud_event_is_set_aside_and_can_be_brought_back(
    app: Flask, url: str, transport: Any, handled: list[Any]
) -> None:
    transport.send([])
    lead_id = lead_created()
    letter = outbox.as_cloud_event(db.db.session.scalars(select(LeadsOutbox)).one())
    with broker.opened(url) as connection:
        producer = connection.Producer()
        for body in (b"\xff not JSON", b"[]", b"{}", orjson.dumps({**letter, "time": "yesterday"})):
            producer.publish(
                body, routing_key="embudo.email", content_type="text/plain", content_encoding="binary"
            )
    outbox.hand_over("leads")
    listen(app, url, "email")
    assert handled == [("email", lead_id)], "the others behind them are handled"
    wait_for(lambda: waiting(url, "email").dead == 4, "four letters are set aside")
    assert broker.bring_back(url, "email") == 4
    wait_for(lambda: (waiting(url, "email").waiting, waiting(url, "email").dead) == (4, 0), "they are back")


def test_the_page_of_failed_events_brings_back_what_the_broker_set_aside(
    app: Flask, url: str, admin: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "EVENTS_BROKER_URL", url)
    with broker.opened(url) as connection:
        connection.Producer().publish(b"[]", routing_key=broker.dead_queue_of("email").name)
    wait_for(lambda: waiting(url, "email").dead == 1, "a letter is set aside")
    page = admin.get(f"{DEAD_LETTERS}/email/").text
    assert "bring-back" in page, "what was set aside has its button"
    token = page.partition('name="csrf_token"')[2].partition('value="')[2].partition('"')[0]
    admin.post(f"{DEAD_LETTERS}/email/bring-back", data={"csrf_token": token})
    wait_for(lambda: (waiting(url, "email").waiting, waiting(url, "email").dead) == (1, 0), "it is back")


def test_a_letter_is_not_acknowledged_before_its_inbox_has_it(
    app: Flask, url: str, transport: Any, handled: list[Any]
) -> None:
    lead_id = lead_created()
    outbox.hand_over("leads")
    stop = Ending()
    db.db.session.remove()
    with db.engine_of("email").begin() as connection:
        connection.exec_driver_sql("ALTER TABLE email_inbox RENAME TO away")
    stop.tell()  # the consumer is told to stop while the database fails
    with broker.opened(url) as link:
        broker.Listener(app, link, "email", stop).wait(2)
    assert handled == []
    with db.engine_of("email").begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO email_inbox")
    wait_for(lambda: waiting(url, "email").waiting == 1, "the letter is in the queue again")
    listen(app, url, "email")
    assert handled == [("email", lead_id)]


def test_a_broker_killed_under_load_loses_and_doubles_nothing(
    app: Flask, node: RabbitMQ, url: str, transport: Any, handled: list[Any]
) -> None:
    stop = Ending()
    app.config["EVENTS_BROKER_URL"] = url
    from app.kit.broker import listener

    threads = [
        threading.Thread(target=listener._listen, args=(app, url, service, stop))
        for service in ("email", "webhooks")
    ]
    for thread in threads:
        thread.start()
    ids: list[str] = []
    try:
        for number in range(120):
            ids.append(lead_created())
            if number % 10 == 9:
                _hand_over_if_it_goes()
            if number == 59:
                wait_for(lambda: len(handled) > 20, "some were handled before the broker dies")
                node.kill()
        node.start()
        redis().flushdb()  # the breaker's pause, so that the test does not wait for it

        def all_out() -> bool:
            with db.transaction() as session:
                session.execute(
                    LeadsOutbox.__table__.update()
                    .where(LeadsOutbox.delivered_at.is_(None))
                    .values(next_attempt_at=db.utcnow())
                )
            _hand_over_if_it_goes()
            return not outbox.health()[1].waiting

        assert outbox.health()[1].service == "leads"
        wait_for(all_out, "the outbox is empty")
        expected = sorted((service, lead_id) for service in ("email", "webhooks") for lead_id in ids)
        wait_for(lambda: len(handled) >= len(expected), "everything is handled")
        wait_for(lambda: waiting(url, "email").waiting == 0, "nothing waits")
    finally:
        stop.tell()
        for thread in threads:
            thread.join()
        app.config["EVENTS_BROKER_URL"] = None
    assert sorted(handled) == expected


def _hand_over_if_it_goes() -> None:
    try:
        while outbox.hand_over("leads"):
            pass
    except Temporary:
        db.db.session.rollback()


def test_the_consumers_of_a_service_are_counted(app: Flask, url: str) -> None:
    assert waiting(url, "leads").consumers == 0
    with broker.opened(url) as connection:
        broker.Listener(app, connection, "leads", Ending())
        assert waiting(url, "leads").consumers == 1


def test_a_broker_that_answers_no_question_is_not_waited_for_for_ever(
    app: Flask, node: RabbitMQ, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topology, "ANSWER_SECONDS", 0.5)
    with (
        pytest.raises(TimeoutError),
        broker.opened(url) as connection,
    ):  # closing does not wait for ever, either
        node.freeze()
        try:
            broker.Listener(app, connection, "leads", Ending())
        finally:
            node.thaw()
    assert waiting(url, "leads").waiting == 0, "and afterwards all is as before"


def test_a_consumer_needs_no_queue_but_its_own(app: Flask, url: str) -> None:
    sick = broker.queue_of("whatsapp").name
    with broker.opened(url) as connection:
        connection.default_channel.queue_delete(sick)
        broker.Listener(app, connection, "leads", Ending())
        assert broker.inspect(url, ["whatsapp"])[1][0].state == "missing"
        assert broker.inspect(url, ["leads"])[1][0].consumers == 1
        broker.declare(connection.channel())


def test_a_password_is_not_told_when_the_broker_is_down() -> None:
    with pytest.raises(Temporary) as told:
        broker.states("amqp://guest:geheim@127.0.0.1:1//", ["leads"])
    assert "geheim" not in str(told.value)


def test_a_connection_over_tls_checks_the_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(Connection, "connect", lambda self: seen.append(self.ssl))
    broker.connect("amqps://guest:guest@broker.example:5671//")
    assert seen[0]["server_hostname"] == "broker.example"
    assert seen[0]["cert_reqs"].name == "CERT_REQUIRED"


@pytest.mark.rabbitmq
def test_inspecting_makes_nothing_and_tells_a_queue_of_another_kind(url: str) -> None:
    from kombu import Queue

    from app.kit import broker

    with broker.opened(url) as connection:
        for name in ("leads", "email"):
            for queue in (broker.queue_of(name), broker.dead_queue_of(name)):
                connection.channel().queue_delete(queue.name)
    version, found = broker.inspect(url, ["leads"])
    assert version[:1].isdigit()
    assert (
        [queue.state for queue in found]
        == ["missing"]
        == [queue.state for queue in broker.inspect(url, ["leads"])[1]]
    )
    with broker.opened(url) as connection:
        Queue(broker.queue_of("email").name, durable=True).bind(connection.channel()).queue_declare()
    assert [queue.state for queue in broker.inspect(url, ["email"])[1]] == ["different"]
    with broker.opened(url) as connection:
        connection.channel().queue_delete(broker.queue_of("email").name)
        broker.declare(connection.channel())
    assert [queue.state for queue in broker.inspect(url, ["leads", "email"])[1]] == ["ours", "ours"]
