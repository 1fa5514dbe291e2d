"""A platform ends processes while people write, at every deployment: nothing that was acknowledged is lost, and nobody
hears anything twice. Kubernetes tells the parent, Heroku tells every process of the dyno, more than once.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException

import pytest

from app.whatsapp.jobs import CALLS_AT_ONCE
from tests.fakes.loopback import Hold
from tests.journeys.installation import Installation
from tests.journeys.processes import Program
from tests.journeys.talk import REPLIES, Person
from tests.journeys.test_crashes import REPLIES_AFTER, SHORT, SHORT_REPLIES, assert_once, go_on, say
from tests.ops.waiting import gone, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

told = pytest.mark.parametrize("everybody", [False, True], ids=["the parent", "everybody twice"])

CROWD = 80
"""People who write at once: far more than a worker's children can answer at once."""


class Half:
    """A webhook of which the web has heard a half."""

    def __init__(self, made: Installation, webhook: tuple[bytes, dict[str, str]]) -> None:
        body, headers = webhook
        self.connection = HTTPConnection("127.0.0.1", made.of("whatsapp").port, timeout=20)
        self.connection.putrequest("POST", "/message")
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.connection.putheader(name, value)
        self.connection.endheaders(body[:20])
        self.rest = body[20:]

    def is_taken(self, web: Program) -> bool:
        """Whether a process of the web holds the other end."""
        port = self.connection.sock.getsockname()[1]
        return any(
            peer.raddr and peer.raddr.port == port
            for child in web.children()
            for peer in child.net_connections("tcp")
        )

    def finish(self) -> int:
        """Say the rest; the status."""
        try:
            self.connection.send(self.rest)
            return self.connection.getresponse().status
        finally:
            self.connection.close()


@told
def test_what_the_web_has_begun_to_hear_is_answered_before_it_ends(
    made: Installation, person: Callable[..., Person], everybody: bool
) -> None:
    somebody = person()
    web = made.of("whatsapp").web
    half = Half(made, somebody.webhook(SHORT[0]))
    wait_for(lambda: half.is_taken(web), "the web has the request")
    web.terminate(everybody=everybody)
    assert half.finish() == 200
    assert web.ended() == 0
    made.start()
    somebody.await_replies(REPLIES_AFTER[0])
    go_on(somebody, 1)
    assert_once(made, somebody)


@told
def test_the_web_ends_under_load_and_keeps_all_that_it_acknowledged(
    made: Installation, person: Callable[..., Person], everybody: bool
) -> None:
    group = made.of("whatsapp")
    acknowledged: set[str] = set()
    refused: Counter[str] = Counter()
    people = [person() for _ in range(6)]
    enough = threading.Event()

    def write(somebody: Person) -> None:
        while somebody.said < 500:
            body, headers = somebody.webhook("hola")
            id_ = f"wamid.in.{somebody.number}.{somebody.said}"
            connection = HTTPConnection("127.0.0.1", group.port, timeout=20)
            try:
                connection.request("POST", "/message", body=body, headers=headers)
                status = connection.getresponse().status
            except (OSError, HTTPException) as error:
                refused[type(error).__name__] += 1
                return  # a gateway goes to the next pod now
            finally:
                connection.close()
            assert status == http.client.OK
            acknowledged.add(id_)
            if len(acknowledged) > 30:
                enough.set()

    writers = [threading.Thread(target=write, args=(somebody,)) for somebody in people]
    for writer in writers:
        writer.start()
    assert enough.wait(40)
    group.web.terminate(everybody=everybody)
    for writer in writers:
        writer.join()
    assert group.web.ended() == 0
    # At the end the door is shut, or shut on what waited before it; nobody is sent away half-heard.
    assert set(refused) <= {"ConnectionRefusedError", "ConnectionResetError"}
    made.start()
    made.settle()
    stored = made.column(
        "whatsapp",
        "SELECT provider_id FROM whatsapp_message WHERE direction = 'in' AND provider_id LIKE 'wamid.in.%'",
    )
    assert acknowledged <= stored


@told
@pytest.mark.parametrize("provider", ["meta", "twilio"])
def test_a_worker_that_is_told_to_end_finishes_what_the_provider_has_in_hand(
    made: Installation, person: Callable[..., Person], provider: str, everybody: bool
) -> None:
    somebody = person(provider)
    worker = made.of("whatsapp").worker
    somebody.server.plan(Hold())
    say(somebody, 0)
    somebody.await_replies(1)
    children = worker.children()
    worker.terminate(everybody=everybody)
    if len(children) > 1:  # a service with one queue has one child
        wait_for(lambda: any(gone(child.pid) for child in children), "the children without work end")
    if everybody:
        time.sleep(1.2)  # RQ takes a signal that comes within a second for the same one
        worker.terminate(everybody=True)
        worker.terminate(everybody=True)
    assert worker.alive(), "it waits for the one that has"
    somebody.server.free()
    assert worker.ended() == 0
    made.start()
    go_on(somebody, 1)
    assert_once(made, somebody)
    assert somebody.states()[REPLIES[0]] == "sent", "it heard the provider's answer to the end"


@told
def test_a_worker_told_to_end_under_load_hears_out_the_calls_it_has_begun_and_begins_no_more(
    made: Installation, person: Callable[..., Person], everybody: bool
) -> None:
    worker, people = made.of("whatsapp").worker, [person() for _ in range(CROWD)]
    worker.terminate()
    worker.ended()
    for somebody in people:
        say(somebody, 0)
    made.meta.plan(*[Hold()] * len(REPLIES) * CROWD)
    worker.start()
    wait_for(lambda: sum(len(somebody.calls()) for somebody in people) >= CALLS_AT_ONCE, "it is busy")
    worker.terminate(everybody=everybody)
    made.meta.free()
    assert worker.ended() == 0
    assert "killing" not in worker.log.read_text()
    counted = "SELECT count(*) FROM whatsapp_message WHERE direction = 'out' AND status = "
    assert made.number("whatsapp", f"{counted}'sending'") == 0
    assert made.number("whatsapp", f"{counted}'queued'") > 0, "the rest is for the next worker"
    made.start()
    made.settle()
    assert [somebody.heard for somebody in people] == [list(REPLIES[:2])] * CROWD
    assert [len(somebody.calls()) for somebody in people] == [2] * CROWD


@told
def test_a_child_that_is_being_started_is_told_to_end_like_the_others(
    made: Installation, everybody: bool
) -> None:
    worker = made.of("whatsapp").worker
    wait_for(worker.heeds_sigterm, "it has begun")
    (child, *_) = wait_for(worker.children, "children")
    said = worker.log.stat().st_size

    def tells() -> str:
        return worker.log.read_text()[said:]

    child.kill()
    wait_for(lambda: "starting it again" in tells(), "the parent has seen it")
    worker.terminate(everybody=everybody)
    assert worker.ended() == 0
    assert "killing" not in tells()


@told
def test_the_relay_and_the_worker_end_after_each_turn(
    made: Installation, person: Callable[..., Person], everybody: bool
) -> None:
    somebody = person()
    for turn in range(len(SHORT)):
        say(somebody, turn)
        for group in made.groups.values():
            for program in (group.relay, group.worker):
                wait_for(program.heeds_sigterm, "it has begun")
                program.terminate(everybody=everybody)
        for group in made.groups.values():
            assert (group.relay.ended(), group.worker.ended()) == (0, 0)
        made.start()
        somebody.await_replies(REPLIES_AFTER[turn])
    assert len(somebody.heard) == len(SHORT_REPLIES)
    assert_once(made, somebody)
