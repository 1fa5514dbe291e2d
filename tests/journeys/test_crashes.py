"""kill -9 in the middle of a conversation: it goes on after the restart, and each reply and mail goes out once.

The moments are chosen by what the other side has seen ("the provider has the message in its hands"), so each test hits
the very place it is about. What counts is what the provider and the mail server got.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from typing import Any
from urllib.error import URLError

import pytest

from tests.fakes.customer import Customer
from tests.fakes.loopback import Hold, Stall
from tests.journeys.crowd import talk_while_it_crashes
from tests.journeys.installation import Installation
from tests.journeys.processes import Program, await_url
from tests.journeys.talk import NAME, REPLIES, WISH, Person
from tests.ops.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SHORT = ("azulejos", NAME, "1", "", "7", WISH)
"""A talk without detours; the empty text is the person's address."""

SHORT_REPLIES = [*REPLIES[:4], *REPLIES[6:]]
REPLIES_AFTER = (2, 3, 4, 5, 6, 7)

Kill = Callable[[Program, int], None]


def kill_child(worker: Program, port: int) -> None:
    """The child that talks to `port`; its parent starts it again."""
    worker.kill_children(port)


def kill_parent(worker: Program, port: int) -> None:
    """The parent alone; its children end with it."""
    children = worker.children()
    worker.kill_parent()
    wait_for(lambda: not any(child.is_running() for child in children), "the children end")
    worker.start()


def kill_all(worker: Program, port: int) -> None:
    """Parent and children at once."""
    worker.kill()
    worker.start()


def say(somebody: Person, turn: int) -> None:
    """Say the turn-th thing of the short talk."""
    assert somebody.say(SHORT[turn] or somebody.email).status == 200


def go_on(somebody: Person, turn: int) -> None:
    """Say the rest, from the turn-th thing on, each when the one before was answered."""
    for index in range(turn, len(SHORT)):
        say(somebody, index)
        somebody.await_replies(REPLIES_AFTER[index])


def assert_once(made: Installation, somebody: Person) -> None:
    """All of it happened, and nothing twice."""
    somebody.await_mail()
    made.settle()
    assert somebody.heard == SHORT_REPLIES
    assert len(somebody.calls()) == len(SHORT_REPLIES), "each was asked for once"
    assert len(somebody.mails()) == 1
    assert [lead["notes"] for lead in somebody.leads()] == [WISH]
    assert somebody.run()["status"] == "completed"


@pytest.mark.parametrize(
    ("provider", "kill"), [("meta", kill_child), ("twilio", kill_parent), ("meta", kill_all)]
)
def test_a_worker_is_killed_while_the_provider_has_the_reply(
    made: Installation, person: Callable[..., Person], provider: str, kill: Kill
) -> None:
    somebody = person(provider)
    somebody.server.plan(Stall(accepted=True))
    say(somebody, 0)
    somebody.await_replies(1)
    kill(made.of("whatsapp").worker, somebody.server.port)
    assert somebody.tell_status(somebody.taken[0], "delivered").status == 200
    somebody.await_replies(2)
    go_on(somebody, 1)
    assert_once(made, somebody)
    assert somebody.states()[REPLIES[0]] == "delivered"


def test_a_reply_whose_fate_nobody_tells_is_unknown_and_not_repeated(
    made: Installation, person: Callable[..., Person]
) -> None:
    somebody = person()
    somebody.server.plan(Stall())
    say(somebody, 0)
    somebody.await_call(1)
    kill_child(made.of("whatsapp").worker, somebody.server.port)
    somebody.await_replies(1)
    made.settle()
    assert somebody.heard == [REPLIES[1]]
    assert len(somebody.calls()) == 2
    assert somebody.states() == {REPLIES[0]: "unknown", REPLIES[1]: "sent"}


def test_everything_is_killed_right_after_the_acknowledgement(
    made: Installation, person: Callable[..., Person]
) -> None:
    somebody = person()
    made.kill("worker", "relay")
    say(somebody, 0)
    made.kill("web")
    made.kill_redis()
    assert somebody.calls() == []
    made.start_redis()
    made.start()
    somebody.await_replies(2)
    go_on(somebody, 1)
    assert_once(made, somebody)


def test_what_a_dying_web_did_not_acknowledge_comes_again_and_counts_once(
    made: Installation, person: Callable[..., Person]
) -> None:
    somebody = person()
    group = made.of("whatsapp")
    hooks = [somebody.webhook(text or somebody.email) for text in SHORT]
    acknowledged = 0
    for number, hook in enumerate(hooks):
        if number == len(hooks) // 2:
            group.web.kill()
        with suppress(URLError, HTTPException, ConnectionError):
            acknowledged += somebody.post(hook).status == 200
    assert acknowledged == len(hooks) // 2
    group.start("web")
    assert [somebody.post(hook).status for hook in hooks] == [200] * len(hooks)
    somebody.await_replies(len(SHORT_REPLIES))
    assert_once(made, somebody)


@pytest.mark.parametrize("victim", ["child", "parent"])
def test_a_web_process_is_killed_and_the_door_opens_again(
    made: Installation, person: Callable[..., Person], victim: str
) -> None:
    somebody = person()
    group = made.of("whatsapp")
    say(somebody, 0)
    if victim == "child":
        (child,) = group.web.children()
        child.kill()
        await_url(f"{group.url}/healthz", group.web.log)
    else:
        kill_parent(group.web, group.port)
        group.start("web")
    somebody.await_replies(2)
    go_on(somebody, 1)
    assert_once(made, somebody)


def test_the_relay_is_killed_twice_in_a_conversation(
    made: Installation, person: Callable[..., Person]
) -> None:
    somebody = person()
    say(somebody, 0)
    somebody.await_replies(1)
    made.kill("relay")
    somebody.await_replies(2)
    say(somebody, 1)
    made.start()
    somebody.await_replies(3)
    for turn in range(2, len(SHORT)):
        say(somebody, turn)
        somebody.await_replies(REPLIES_AFTER[turn])
    made.kill("relay")  # the lead is captured; perhaps nobody else has heard of it yet
    made.start()
    assert_once(made, somebody)


def test_redis_is_killed_while_the_provider_has_the_reply(
    made: Installation, person: Callable[..., Person]
) -> None:
    somebody = person()
    somebody.server.plan(Hold())
    say(somebody, 0)
    somebody.await_replies(1)
    made.kill_redis()
    say(somebody, 1)  # acknowledged without Redis
    somebody.server.free()
    made.start_redis()
    somebody.await_replies(3)
    go_on(somebody, 2)
    assert_once(made, somebody)


def test_redis_crashes_while_people_talk(made: Installation) -> None:
    def crash() -> None:
        made.kill_redis()
        made.start_redis()

    talk_while_it_crashes(made, crash)


def test_redis_forgets_everything_while_work_waits(made: Installation, person: Callable[..., Person]) -> None:
    somebody = person()
    say(somebody, 0)
    somebody.await_replies(2)
    made.without("whatsapp")
    say(somebody, 1)
    forget(made)
    made.of("whatsapp").worker.kill()
    made.start()
    somebody.await_replies(3)
    made.without("email")
    go_on(somebody, 2)
    wait_for(somebody.leads, "the lead is there")
    forget(made)
    assert somebody.mails() == []
    made.kill("worker", "relay")
    made.start()
    assert_once(made, somebody)


def forget(made: Installation) -> None:
    """FLUSHALL."""
    client = made.redis_client()
    client.flushall()
    client.close()


@pytest.mark.parametrize("kill", [kill_child, kill_parent])
def test_a_worker_is_killed_before_the_mail_server_has_the_mail(
    made: Installation, person: Callable[..., Person], kill: Kill
) -> None:
    somebody = person()
    made.mail.rcpt.append("hold")
    go_on(somebody, 0)
    wait_for(lambda: somebody.email in made.mail.asked, "the mail server is asked to take the mail")
    kill(made.of("email").worker, made.mail.port)
    assert_once(made, somebody)


def test_a_mail_that_may_have_been_sent_is_unknown_and_not_repeated(
    made: Installation, person: Callable[..., Person]
) -> None:
    somebody = person()
    made.mail.data.append("keep")
    go_on(somebody, 0)
    somebody.await_mail()
    kill_child(made.of("email").worker, made.mail.port)

    def mine() -> list[dict[str, Any]]:
        items = made.api("email", "/email?status=unknown&limit=100")["items"]
        return [item for item in items if item["to"] == somebody.email]

    wait_for(mine, "the mail is known to be unknown")
    assert_once(made, somebody)
    assert len(mine()) == 1


@pytest.mark.parametrize("kill", [kill_child, kill_all])
def test_a_worker_is_killed_while_a_customer_has_the_webhook(made: Installation, kill: Kill) -> None:
    with Customer() as customer:
        hook = made.api("webhooks", "/webhooks", {"url": customer.url, "events": ["lead.created"]})
        customer.secret = hook["secret"]
        customer.plan(Hold(), Hold())
        for number in range(6):
            made.api("leads", "/leads", {"name": f"Kunde {number} {kill.__name__}"})
        wait_for(lambda: customer.requests, "the customer has a webhook")
        kill(made.of("webhooks").worker, customer.port)
        customer.free()
        # Its claims run out, a minute later.
        made.change("webhooks", "UPDATE webhooks_delivery SET claimed_until = NULL WHERE status = 'pending'")
        delivered = "SELECT count(*) FROM webhooks_delivery WHERE status = 'delivered'"
        wait_for(lambda: made.number("webhooks", delivered) == 6, "all six are delivered")
        made.api("webhooks", f"/webhooks/{hook['id']}", method="DELETE")
    seen = Counter(request.headers["webhook-id"] for request in customer.requests)
    assert len(seen) == 6
    assert max(seen.values()) <= 2, "what was in hand comes again, once"
    bodies = {(request.headers["webhook-id"], request.body) for request in customer.requests}
    assert len(bodies) == 6, "and it is the same"
