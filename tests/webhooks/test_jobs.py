"""Many calls at a time: a slow endpoint delays only itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from flask import Flask

from app.contracts.events import EmailSent
from app.kit import db
from app.webhooks import commands, jobs, providers, queries
from app.webhooks.models import Endpoint
from app.webhooks.providers import Outcome
from tests.fakes.loopback import Answer, LoopbackServer, Received
from tests.ops.waiting import wait_for
from tests.webhooks.conftest import Receiver, deliveries, lead_created

Add = Callable[..., tuple[Endpoint, str]]
MANY = 40


class SlowReceiver(LoopbackServer):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = threading.Event()
        self.now = self.most = 0
        self.counting = threading.Lock()

    def handle(self, request: Received) -> Answer:
        with self.counting:
            self.now += 1
            self.most = max(self.most, self.now)
        self.may_answer.wait(30)
        with self.counting:
            self.now -= 1
        return Answer(status=200)


@pytest.fixture
def slow(receiver: Receiver) -> Iterator[SlowReceiver]:
    with SlowReceiver() as server:
        yield server
        server.may_answer.set()
        jobs.courier().settle(30)


def statuses(endpoint: Endpoint) -> set[str]:
    """The states that its deliveries are in."""
    return {row.status for row in deliveries(endpoint)}


def queue(count: int) -> None:
    """So many events for everybody."""
    with db.transaction():
        for _ in range(count):
            commands.queue_event(lead_created(), event_id=db.new_id(), at=db.utcnow())


def all_hang(endpoints: list[Endpoint]) -> bool:
    """Whether no call to these has ended, not even for lack of patience."""
    return all(row.attempts == 0 for endpoint in endpoints for row in deliveries(endpoint))


def queue_email_sent() -> None:
    """An event for those that want to know of mails."""
    with db.transaction():
        commands.queue_event(EmailSent(message_id=db.new_id()), event_id=db.new_id(), at=db.utcnow())


def run_until(condition: Callable[[], bool], what: str) -> None:
    """Run the job again, as its bell would, until the condition holds: on a busy machine quick calls linger, too."""

    def ran() -> bool:
        jobs.deliver_due()
        return condition()

    wait_for(ran, what)


def test_a_slow_endpoint_delays_neither_another_nor_the_worker(
    app: Flask, receiver: Receiver, slow: SlowReceiver, add_endpoint: Add
) -> None:
    stuck, _ = add_endpoint(slow.url)
    quick, _ = add_endpoint(receiver.url)
    queue(MANY)
    run_until(lambda: statuses(quick) == {"delivered"}, "the quick one has got everything")

    # The slow one has answered nothing yet, all the others' messages have arrived, and the job is over.
    assert not slow.may_answer.is_set()
    assert len(receiver.requests) == MANY
    assert statuses(stuck) == {"pending"}
    wait_for(lambda: slow.now == 1, "its first call has arrived")  # by which it becomes known

    # A new run begins no more calls to it, and what it claimed it gave back.
    queue(1)
    run_until(lambda: statuses(quick) == {"delivered"}, "the quick one has got the new one")
    assert len(receiver.requests) == MANY + 1
    assert len(slow.requests) == 1
    assert sum(1 for row in deliveries(stuck) if row.claimed_until is not None) == 1

    # What is answered late is recorded all the same.
    slow.may_answer.set()
    assert jobs.courier().settle(30)
    assert sum(1 for row in deliveries(stuck) if row.status == "delivered") == 1
    run_until(
        lambda: jobs.courier().settle(30) and statuses(stuck) == {"delivered"}, "the slow one has got all"
    )
    assert slow.most <= jobs.CALLS_PER_ENDPOINT
    ids = [request.headers["webhook-id"] for request in slow.requests]
    assert len(ids) == len(set(ids))


def test_many_slow_endpoints_leave_room_for_quick_ones(
    app: Flask, receiver: Receiver, slow: SlowReceiver, add_endpoint: Add
) -> None:
    stuck = [add_endpoint(f"{slow.url}/{number}", events=["lead.*"])[0] for number in range(12)]
    quick, _ = add_endpoint(receiver.url, events=["email.*"])
    for endpoint in stuck:
        jobs.courier().seconds[endpoint.id] = 12.0
    queue(3)
    queue_email_sent()
    run_until(lambda: statuses(quick) == {"delivered"}, "the quick one has got its message")
    wait_for(lambda: slow.now >= jobs.SLOW_CALLS, "the calls to the slow ones have arrived")
    jobs.deliver_due()
    assert len(slow.requests) == jobs.SLOW_CALLS
    slow.may_answer.set()


def test_a_worker_whose_calls_are_all_under_way_leaves_the_rest_to_others(
    app: Flask, receiver: Receiver, add_endpoint: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = [add_endpoint(f"{receiver.url}/{number}")[0] for number in range(60)]
    queue(3)
    taken = jobs.Courier()
    taken.seconds = dict.fromkeys((endpoint.id for endpoint in endpoints), 0.01)
    taken.under_way = [jobs.Call(endpoint_id=db.new_id()) for _ in range(jobs.CALLS)]
    run = jobs._Run(taken, providers.sender(app.config["WEBHOOKS_ALLOW_PRIVATE"]))
    assert run._claim()
    assert not run._claim()
    assert any(row.claimed_until is None for endpoint in endpoints for row in deliveries(endpoint))


def test_endpoints_of_which_nothing_is_known_leave_room_for_quick_ones(
    app: Flask, receiver: Receiver, slow: SlowReceiver, add_endpoint: Add
) -> None:
    quick, _ = add_endpoint(receiver.url, events=["email.*"])
    queue_email_sent()
    run_until(lambda: statuses(quick) == {"delivered"}, "the quick one is known")
    stuck = [add_endpoint(f"{slow.url}/{number}", events=["lead.*"])[0] for number in range(30)]
    queue(3)
    jobs.deliver_due()
    wait_for(lambda: slow.now >= jobs.SLOW_CALLS, "calls to the unknown ones have arrived")

    for _ in range(MANY):
        queue_email_sent()
    run_until(lambda: statuses(quick) == {"delivered"}, "the quick one has got its messages")
    assert all_hang(stuck)
    assert len(slow.requests) == jobs.SLOW_CALLS + jobs.SPARE_CALLS
    assert len({request.path for request in slow.requests}) == len(slow.requests)  # one call to each

    slow.may_answer.set()
    for endpoint in stuck:
        run_until(
            lambda endpoint=endpoint: jobs.courier().settle(30) and statuses(endpoint) == {"delivered"},  # type: ignore[misc]
            "the others have got theirs",
        )


def test_as_many_dead_endpoints_as_slow_calls_do_not_keep_a_new_one_waiting(
    app: Flask, receiver: Receiver, slow: SlowReceiver, add_endpoint: Add
) -> None:
    dead = [add_endpoint(f"{slow.url}/{number}", events=["lead.*"])[0] for number in range(jobs.SLOW_CALLS)]
    queue(3)
    jobs.deliver_due()
    wait_for(lambda: slow.now == jobs.SLOW_CALLS, "the calls have arrived")
    new, _ = add_endpoint(receiver.url, events=["email.*"])
    queue_email_sent()
    run_until(lambda: statuses(new) == {"delivered"}, "the new one has got its message")
    assert all_hang(dead)


def test_quick_endpoints_that_all_hang_at_once_leave_room_for_the_others(
    app: Flask, receiver: Receiver, slow: SlowReceiver, add_endpoint: Add
) -> None:
    hung = [
        add_endpoint(f"{slow.url}/{number}", events=["lead.*"])[0]
        for number in range(jobs.CALLS // jobs.CALLS_PER_ENDPOINT)
    ]
    quick, _ = add_endpoint(receiver.url, events=["email.*"])
    slow.may_answer.set()
    queue(1)
    queue_email_sent()
    for endpoint in [*hung, quick]:
        run_until(lambda endpoint=endpoint: statuses(endpoint) == {"delivered"}, "all are known")  # type: ignore[misc]
    slow.may_answer.clear()
    queue(40)
    jobs.deliver_due()
    wait_for(lambda: slow.now == jobs.CALLS, "all calls hang")

    queue_email_sent()
    run_until(lambda: statuses(quick) == {"delivered"}, "the quick one has got its message")
    assert all(row.last_error is None for endpoint in hung for row in deliveries(endpoint))


@dataclass
class Counting(providers.Sender):
    """A sender that sends nothing and counts."""

    most: int = 0
    now: int = 0
    bodies: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, url: str, body: bytes, headers: object, *, total: float = 0) -> Outcome:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.bodies.append(body)
        with self.lock:
            self.now -= 1
        return Outcome(status=200)


def test_all_of_many_endpoints_are_served_and_never_more_calls_than_allowed(
    app: Flask, add_endpoint: Add
) -> None:
    endpoints = [add_endpoint(f"https://{number}.example.com")[0] for number in range(50)]
    queue(10)
    sender = Counting()
    jobs._Run(jobs.courier(), sender).drain()
    assert len(sender.bodies) == 500
    assert sender.most <= jobs.CALLS + jobs.SPARE_CALLS
    for endpoint in endpoints:
        assert statuses(endpoint) == {"delivered"}
    assert not jobs.courier().under_way


def test_an_endpoint_is_claimed_ahead_by_how_quick_it_is() -> None:
    courier = jobs.Courier()
    assert courier.allowance("new") == jobs.FIRST_ALLOWANCE
    courier.seconds |= {"quick": 0.005, "slow": 10.0}
    assert courier.allowance("quick") == jobs.MOST_ALLOWED
    assert courier.allowance("slow") == 1


def test_an_endpoint_is_slow_for_what_its_calls_took_or_take() -> None:
    courier = jobs.Courier()
    courier.seconds |= {"quick": 0.005, "slow": 10.0}
    assert courier.is_slow("slow")
    assert not courier.is_slow("quick")
    assert courier.is_slow("new")  # until it has answered once
    courier.under_way.append(jobs.Call(endpoint_id="quick", began=time.monotonic() - 2 * jobs.SLOW_SECONDS))
    assert courier.is_slow("quick")


def test_a_call_that_breaks_in_our_own_code_counts_as_a_try_and_stops_nobody_else(
    app: Flask, add_endpoint: Add
) -> None:
    """Were it not counted, the message would be sent again with every claim that runs out, for ever."""
    good, _ = add_endpoint("https://good.example.com")
    bad, _ = add_endpoint("https://bad.example.com")
    queue(2)

    class Breaking(Counting):
        def post(self, url: str, body: bytes, headers: object, *, total: float = 0) -> Outcome:
            if "bad" in url:
                raise RuntimeError("a fault of ours")
            return super().post(url, body, headers)

    jobs._Run(jobs.courier(), Breaking()).drain()
    assert {row.status for row in deliveries(good)} == {"delivered"}
    for row in deliveries(bad):
        assert (row.status, row.attempts, row.last_error, row.claimed_until) == ("pending", 1, "bug", None)
        assert row.next_attempt_at > db.utcnow()
        assert [attempt.error for attempt in queries.attempts_of(row.id)] == ["bug"]
    assert queries.get_endpoint(bad.id).first_failure_at is not None
