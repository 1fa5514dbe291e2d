"""The product as independent services: a gateway before them, RabbitMQ between them, a database for each.

The main journey passes as it does in one process; and whichever service stops in the middle, the others answer, nothing
is lost, and it catches up.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator

import pytest

from app.kit import broker
from tests.conftest import LOCAL_POSTGRESQL, postgresql_url
from tests.fakes.gateway import Gateway
from tests.fakes.meta_server import MetaServer
from tests.fakes.rabbitmq import RabbitMQ
from tests.fakes.smtp_server import smtp_server
from tests.fakes.twilio_server import TwilioServer
from tests.journeys.installation import SERVICES, Installation, installation
from tests.journeys.processes import free_port
from tests.journeys.talk import FLOW, NAME, REPLIES, WISH, Person
from tests.ops.waiting import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.rabbitmq,
    pytest.mark.gateway,
    pytest.mark.postgresql,
    pytest.mark.timeout(400),
]

REPLIES_AFTER = (2, 3, 4, 5, 6, 7, 8, 9)
"""How many replies there are after each of the eight turns."""


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitMQ]:
    """The broker."""
    made = RabbitMQ()
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def split(
    node: RabbitMQ, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Installation]:
    """Four services, the gateway, RabbitMQ, Redis and five databases; the flow is published."""
    folder, port = tmp_path_factory.mktemp("split"), free_port()
    with (
        MetaServer() as meta,
        TwilioServer() as twilio,
        smtp_server() as mail,
        installation(
            "services",
            folder,
            postgresql=postgresql_url(request.config) or LOCAL_POSTGRESQL,
            meta=meta,
            twilio=twilio,
            mail=mail,
            EVENTS_BROKER_URL=node.url,
            TRUSTED_PROXIES="1",
            PUBLIC_URL=f"http://127.0.0.1:{port}",
        ) as made,
        Gateway({name: [f"127.0.0.1:{made.of(name).port}"] for name in SERVICES}, port=port) as gateway,
    ):
        made.door = gateway.url
        flow = made.api("whatsapp", "/flows", {"name": "Azulejos", "document": FLOW})
        made.api("whatsapp", f"/flows/{flow['id']}/publish", {}, method="POST")
        yield made


@pytest.fixture
def made(split: Installation) -> Iterator[Installation]:
    """The installation with all of its processes running."""
    split.start()
    yield split
    split.meta.free()
    split.mail.free()


@pytest.fixture
def person(made: Installation) -> Callable[..., Person]:
    """Somebody new."""
    return lambda provider="meta": Person(made, provider)


def talk(somebody: Person) -> None:
    """All eight turns."""
    for turn, replies in zip(somebody.turns(), REPLIES_AFTER, strict=True):
        assert turn().status == 200
        somebody.await_replies(replies)


def await_lead(somebody: Person) -> None:
    """Wait until the leads have them."""
    wait_for(somebody.leads, f"a lead of {somebody.phone}")


@pytest.mark.parametrize("provider", ["meta", "twilio"])
def test_the_main_journey_passes_through_the_gateway_and_the_broker(
    made: Installation, node: RabbitMQ, person: Callable[..., Person], provider: str
) -> None:
    somebody = person(provider)
    talk(somebody)
    somebody.await_mail()
    made.settle()
    assert somebody.heard == list(REPLIES)
    (lead,) = somebody.leads()
    assert (lead["name"], lead["email"], lead["notes"]) == (NAME, somebody.email, WISH)
    (mail,) = somebody.mails()
    assert mail["subject"] == f"Te damos la bienvenida, {NAME}"
    assert somebody.run()["status"] == "completed"
    states = broker.states(node.url, SERVICES)
    assert [(state.consumers, state.dead) for state in states] == [(1, 0)] * 4
    assert not made.redis_client().keys("embudo:events:*"), "no event went through Redis"


def test_a_forged_signature_is_refused_behind_the_gateway_too(
    made: Installation, person: Callable[..., Person]
) -> None:
    body, headers = person().webhook("Azulejos")
    assert made.request("whatsapp", "/message", body=body + b" ", headers=headers).status == 403


def test_the_lead_s_services_answer_with_the_callers_request_id(made: Installation) -> None:
    headers = {"Authorization": f"Bearer {made.key}", "X-Request-Id": "split-journey-1"}
    assert made.request("leads", "/leads", headers=headers).status == 200
    wait_for(lambda: "split-journey-1" in made.of("leads").web.log.read_text(), "the service logs it")


@pytest.mark.parametrize("stopped", ["leads", "email", "webhooks"])
def test_a_service_that_stops_in_the_middle_stops_nobody_else_and_catches_up(
    made: Installation, person: Callable[..., Person], stopped: str
) -> None:
    somebody = person()
    turns = somebody.turns()
    for number in (0, 1, 2):
        assert turns[number]().status == 200
        somebody.await_replies(REPLIES_AFTER[number])
    group = made.of(stopped)
    for program in group.programs.values():
        program.kill()
    for number in range(3, 8):
        assert turns[number]().status == 200
        somebody.await_replies(REPLIES_AFTER[number])
    path = {"leads": "/leads", "email": "/email", "webhooks": "/webhooks"}
    for service, where in path.items():
        answer = made.request(service, where, headers={"Authorization": f"Bearer {made.key}"})
        assert answer.status == (503 if service == stopped else 200), service
        if service == stopped:
            assert json.loads(answer.body)["title"] == "Unavailable"
    if stopped != "leads":
        await_lead(somebody)
    if stopped == "webhooks":
        somebody.await_mail()
    group.start()
    somebody.await_mail()
    made.settle()
    assert somebody.heard == list(REPLIES)
    assert len(somebody.leads()) == 1
    assert len(somebody.mails()) == 1


def test_while_whatsapp_is_stopped_the_others_answer_and_the_conversation_goes_on_afterwards(
    made: Installation, person: Callable[..., Person]
) -> None:
    somebody = person()
    turns = somebody.turns()
    assert turns[0]().status == 200
    somebody.await_replies(2)
    name = somebody.webhook(NAME)
    for program in made.of("whatsapp").programs.values():
        program.kill()
    assert somebody.post(name).status == 503, "the provider keeps it and comes again"
    for service, path in (("leads", "/leads"), ("email", "/email"), ("webhooks", "/webhooks")):
        assert made.api(service, path)["items"] is not None
    made.of("whatsapp").start()
    wait_for(lambda: somebody.post(name).status == 200, "the gateway sees that it is back")
    somebody.await_replies(3)
    for number in range(2, 8):
        assert turns[number]().status == 200
        somebody.await_replies(REPLIES_AFTER[number])
    somebody.await_mail()
    made.settle()
    assert somebody.heard == list(REPLIES)
    assert (len(somebody.leads()), len(somebody.mails())) == (1, 1)


def test_a_broker_that_dies_in_the_middle_delays_events_and_refuses_no_request(
    made: Installation, node: RabbitMQ, person: Callable[..., Person]
) -> None:
    people = [person() for _ in range(3)]
    node.kill()
    try:
        threads = [threading.Thread(target=talk, args=(somebody,)) for somebody in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for somebody in people:
            assert somebody.heard == list(REPLIES), "a conversation needs no broker"
            assert somebody.leads() == []
    finally:
        node.start()
    for somebody in people:
        somebody.await_mail()
    made.settle()
    for somebody in people:
        assert (len(somebody.leads()), len(somebody.mails())) == (1, 1)
