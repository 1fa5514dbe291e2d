"""The product as independent services: a gateway before them, RabbitMQ between them, a database for each.

The main journey passes as it does in one process; and whichever service stops in the middle, the others answer, nothing
is lost, and it catches up.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from app.kit import broker
from tests.admin.pages import words
from tests.conftest import ADMIN_PASSWORD, LOCAL_POSTGRESQL, postgresql_url
from tests.fakes.gateway import Gateway
from tests.fakes.meta_server import MetaServer
from tests.fakes.ports import free_port
from tests.fakes.rabbitmq import RabbitMQ
from tests.fakes.smtp_server import smtp_server
from tests.fakes.twilio_server import TwilioServer
from tests.journeys.crowd import talk_while_it_crashes
from tests.journeys.installation import SERVICES, Installation, installation
from tests.journeys.processes import ROOT
from tests.journeys.talk import FLOW, NAME, REPLIES, WISH, Person
from tests.ops.waiting import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.rabbitmq,
    pytest.mark.gateway,
    pytest.mark.postgresql,
    pytest.mark.timeout(400),
]

TOKEN = "a-token-of-the-tests"

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
            ADMIN_PASSWORD=ADMIN_PASSWORD,
            METRICS_TOKEN=TOKEN,
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


def test_a_broker_that_crashes_while_people_talk_loses_and_doubles_nothing(
    made: Installation, node: RabbitMQ, person: Callable[..., Person]
) -> None:
    first = person()
    talk(first)  # RabbitMQ 3.10 loses a quorum queue when it is killed within a second of making it
    first.await_mail()

    def crash() -> None:
        node.kill()
        node.start()

    talk_while_it_crashes(made, crash)


# --- who looks after it ------------------------------------------------------------------------------------------------


def test_the_smoke_test_passes_through_the_gateway(made: Installation) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "smoke.py"), made.door, "--seconds", "0"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_doctor_recognises_the_installation_behind_the_gateway(made: Installation) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flask", "ops", "doctor", "--json", "--language", "en"],
        cwd=ROOT, env=made.of("leads").env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = {item["check"]: item for item in json.loads(done.stdout)["findings"]}
    assert found["public address answers"]["what"] == f"{made.door} leads to this installation."
    assert found["broker"]["level"] == found["database leads"]["level"] == "ok"


def administrator(door: str) -> requests.Session:
    """A browser that has logged in through the gateway; any service takes its session."""
    browser = requests.Session()
    browser.headers["Accept-Language"] = "en"
    page = browser.get(f"{door}/login/", timeout=20).text
    token = page.partition('name="csrf_token"')[2].partition('value="')[2].partition('"')[0]
    form = {"username": "admin", "password": ADMIN_PASSWORD, "csrf_token": token}
    answer = browser.post(f"{door}/login/", data=form, timeout=20, allow_redirects=False)
    assert answer.status_code == 302, answer.text[:500]
    return browser


def gauges(made: Installation, service: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What Prometheus reads of a service's web."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = requests.get(f"{made.of(service).url}/metrics", headers=headers, timeout=4)
    return {
        family.name: [(sample.labels, sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(answer.text)
    }


def test_each_service_tells_prometheus_of_itself_and_of_the_broker(made: Installation) -> None:
    for service in SERVICES:
        found = gauges(made, service)
        assert found["embudo_broker_up"] == [({}, 1)]
        assert {labels["bind"]: up for labels, up in found["embudo_database_up"]} == {
            "platform": 1,
            service: 1,
        }
        assert [labels["service"] for labels, _ in found["embudo_outbox_pending"]] == [service]
        assert [labels["service"] for labels, _ in found["embudo_build_info"]] == [service]
        assert found["embudo_metrics_scrape_errors"] == [({}, 0)]


TITLES = {"whatsapp": "WhatsApp flows", "leads": "Leads", "email": "E-mail", "webhooks": "Webhooks"}


def test_each_service_has_a_status_page_of_its_own_that_leads_to_the_others(made: Installation) -> None:
    browser = administrator(made.door)
    first = browser.get(f"{made.door}/admin/status/", timeout=20).text
    assert "This is what the process of leads knows." in words(first), "it has the platform's pages"
    for service in SERVICES:
        page = browser.get(f"{made.door}/admin/status/{service}/", timeout=20)
        said = words(page.text)
        assert page.status_code == 200
        assert f"This is what the process of {service} knows." in said
        assert f"fine Database {service} Answers." in said
        assert "fine Message broker 0 events wait." in said
        assert f"fine Relay of {service} Running" in said and f"fine Workers of {service}" in said
        for other in set(SERVICES) - {service}:
            assert f"Database {other}" not in said and f"Relay of {other}" not in said
            assert f"fine {TITLES[other]} Its relay was heard of" in said
            assert f'href="/admin/status/{other}/"' in page.text
        live = browser.get(f"{made.door}/admin/status/{service}/live", timeout=20)
        assert f"fine Database {service} Answers." in words(live.text)
        assert f'data-fresh="/admin/status/{service}/live"' in page.text


def test_a_broker_that_is_gone_is_told_by_every_service_and_so_is_its_return(
    made: Installation, node: RabbitMQ
) -> None:
    browser = administrator(made.door)

    def told() -> set[tuple[float, str]]:
        """What all services say of the broker: to Prometheus, and to people."""
        found = set()
        for service in SERVICES:
            ((_, up),) = gauges(made, service)["embudo_broker_up"]
            said = words(browser.get(f"{made.door}/admin/status/{service}/live", timeout=20).text)
            # Its row; what needs somebody is named above the rows, too.
            found.add((up, said.rpartition("Message broker ")[2].partition(".")[0]))
        return found

    node.kill()
    try:
        gone = {(0, "Does not answer; events wait in the database")}
        wait_for(lambda: told() == gone, "all say that it is gone")
    finally:
        node.start()
    wait_for(lambda: told() == {(1, "0 events wait")}, "all say that it is back")
