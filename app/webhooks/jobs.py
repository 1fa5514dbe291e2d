"""Messages leave: many calls at a time, few to each endpoint, so that a slow one delays nobody but itself."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from flask import Flask, current_app

from app.kit import telemetry
from app.kit.db import own_context, transaction, utcnow
from app.kit.jobs import Job, drain_until, is_over, ring
from app.webhooks import commands, providers, queries, signing
from app.webhooks.commands import DELIVER_JOB, Parcel
from app.webhooks.commands.delivery import LEASE, Result
from app.webhooks.providers import Outcome

CALLS = 16
"""Calls at a time, in each worker process."""

CALLS_PER_ENDPOINT = 2
"""Of these to one endpoint: its server is not ours to flood."""

SLOW_SECONDS = 1.0
"""An endpoint counts as slow while its calls take longer on average, or one under way has taken longer; also until its
first answer, for most of all those that never answer must not take every call."""

SLOW_CALLS = 8
"""Calls that all slow endpoints together may hold, so that quick ones always find room."""

SPARE_CALLS = 8
"""Calls of slow endpoints above SLOW_CALLS that take no room from others: first calls to endpoints, by which it shows
whether they are quick, and those to quick endpoints that all hang at once."""

AHEAD_SECONDS = 3.0
"""How much work is claimed ahead for an endpoint, by what its calls have taken so far."""

STRING, STRING_SECONDS = 10, 0.1
"""Messages that one thread sends to a quick endpoint without coming back for the next: so many, or so long."""

FIRST_ALLOWANCE, MOST_ALLOWED = 8, 120
"""Deliveries claimed at a time of an endpoint that nothing is known of yet, and of the quickest."""

RECORD_BATCH = 60
RECORD_SECONDS = 0.1
"""Results are written when there are so many, or the oldest is so old."""

REST_SECONDS = 0.05
"""How long not to ask the database again after it had nothing, while calls are under way."""

LINGER_SECONDS = 0.25
"""How long the job waits for calls when nothing else is to do; later answers are recorded without it, and ring."""

PURGE_JOB = "webhooks.purge"

log = telemetry.get_logger("webhooks")


@dataclass(kw_only=True, eq=False)
class Call:
    """A call under way, or some to one endpoint after each other. began: when the one that lasts now began."""

    endpoint_id: str
    began: float = field(default_factory=time.monotonic)


@dataclass(kw_only=True)
class Ended:
    """What became of some messages for one endpoint: calls that are over, and what was not sent after all."""

    results: list[Result] = field(default_factory=list)
    unsent: list[Parcel] = field(default_factory=list)


class Courier:
    """The calls of one process: those under way, also from a run that is over, and how quick endpoints are."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(CALLS + SPARE_CALLS, thread_name_prefix="webhooks")
        self.lock = threading.Lock()
        self.under_way: list[Call] = []
        self.seconds: dict[str, float] = {}
        self.late: set[Future[Ended]] = set()
        self.recording = threading.Lock()

    def is_slow(self, endpoint_id: str) -> bool:
        """Whether its calls take long, or may, as far as is known."""
        if self.seconds.get(endpoint_id, math.inf) > SLOW_SECONDS:
            return True
        late = time.monotonic() - SLOW_SECONDS
        return any(call.endpoint_id == endpoint_id and call.began < late for call in self.under_way)

    def _slow_calls(self) -> int:
        slow = {id_ for id_ in {call.endpoint_id for call in self.under_way} if self.is_slow(id_)}
        return sum(call.endpoint_id in slow for call in self.under_way)

    def allowance(self, endpoint_id: str) -> int:
        """How many deliveries to claim for it: what it takes in the next seconds."""
        seconds = self.seconds.get(endpoint_id)
        if seconds is None:
            return FIRST_ALLOWANCE if self.has_room(endpoint_id) else 1
        return max(1, min(MOST_ALLOWED, int(AHEAD_SECONDS / max(seconds, 0.001)) * CALLS_PER_ENDPOINT))

    def busy(self) -> set[str]:
        """Endpoints to which calls are under way."""
        with self.lock:
            return {call.endpoint_id for call in self.under_way}

    def has_room(self, endpoint_id: str) -> bool:
        """Whether another call to it may begin now."""
        with self.lock:
            aside = min(max(0, self._slow_calls() - SLOW_CALLS), SPARE_CALLS)
            return len(self.under_way) - aside < CALLS and not self._is_held(endpoint_id)

    def is_held(self, endpoint_id: str) -> bool:
        """Whether it has as many calls as it may have, however many others are under way."""
        with self.lock:
            return self._is_held(endpoint_id)

    def _is_held(self, endpoint_id: str) -> bool:
        own = sum(call.endpoint_id == endpoint_id for call in self.under_way)
        slow = self._slow_calls()
        if endpoint_id not in self.seconds:
            return own > 0 or slow >= SLOW_CALLS + SPARE_CALLS
        return own >= CALLS_PER_ENDPOINT or (slow >= SLOW_CALLS and self.is_slow(endpoint_id))

    def string(self, endpoint_id: str) -> int:
        """How many messages for it one thread may take at a time."""
        seconds = self.seconds.get(endpoint_id, STRING_SECONDS)
        return max(1, min(STRING, int(STRING_SECONDS / max(seconds, 0.001))))

    def begin(self, sender: providers.Sender, parcels: list[Parcel]) -> Future[Ended]:
        """Start to send these, one after the other; all are for one endpoint."""
        call = Call(endpoint_id=parcels[0].endpoint_id)
        with self.lock:
            self.under_way.append(call)
        return self.pool.submit(self._send, sender, parcels, call)

    def _send(self, sender: providers.Sender, parcels: list[Parcel], call: Call) -> Ended:
        ended = Ended()
        endpoint_id = call.endpoint_id
        started = last = time.monotonic()
        for number, parcel in enumerate(parcels):
            if last - started > SLOW_SECONDS:
                ended.unsent = parcels[number:]  # it has become slow; their claims might end meanwhile
                break
            at = utcnow()
            with telemetry.bound(request_id=parcel.request_id):
                outcome = self._post(sender, parcel, at)
                ended.results.append(Result(parcel=parcel, outcome=outcome, at=at))
                log.info(
                    "endpoint called",
                    endpoint_id=endpoint_id,
                    delivery_id=parcel.delivery_id,
                    status=outcome.status,
                    error=outcome.error,
                    ms=outcome.latency_ms,
                )
            now = time.monotonic()
            before = self.seconds.get(endpoint_id, now - last)
            self.seconds[endpoint_id] = 0.7 * before + 0.3 * (now - last)
            last = call.began = now
        with self.lock:
            self.under_way.remove(call)
        return ended

    @staticmethod
    def _post(sender: providers.Sender, parcel: Parcel, at: datetime) -> Outcome:
        """One call. A fault of ours counts as a try: else the message would go out with every claim, for ever."""
        try:
            headers = signing.headers(parcel.keys, parcel.webhook_id, at, parcel.body)
            return sender.post(parcel.url, parcel.body, headers)
        except Exception:
            log.exception("call failed", endpoint_id=parcel.endpoint_id, delivery_id=parcel.delivery_id)
            return Outcome(error="bug")

    def leave(self, app: Flask, calls: Iterable[Future[Ended]]) -> None:
        """Record these calls when they end, in their own thread: the run that began them does not wait."""
        for call in calls:
            with self.lock:
                self.late.add(call)
            call.add_done_callback(lambda done: self._record_late(app, done))

    def _record_late(self, app: Flask, done: Future[Ended]) -> None:
        try:
            ended = done.result()
            with (
                self.recording,
                app.app_context(),
                transaction(),
            ):  # one at a time: a worker has few connections
                commands.record(ended.results)
                commands.release(ended.unsent)
                ring(DELIVER_JOB)  # its endpoint has room again
        except Exception:  # whatever it is: the claim runs out and the message is sent again
            log.exception("late result not recorded")
        finally:
            with self.lock:
                self.late.discard(done)

    def settle(self, seconds: float) -> bool:
        """Wait until no late call is under way or unrecorded; False when the time is over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with self.lock:
                if not self.late:
                    return True
                late = set(self.late)
            wait(late, timeout=0.05)
            with self.recording:
                pass
        return False


_couriers: dict[int, Courier] = {}


def courier() -> Courier:
    """This process's courier; threads do not survive a fork."""
    if os.getpid() not in _couriers:
        _couriers[os.getpid()] = Courier()
    return _couriers[os.getpid()]


def deliver_due() -> None:
    """Send all due messages; returns when only slow calls are left, or when the job's time is over."""
    _Run(courier(), providers.sender(current_app.config.get("WEBHOOKS_ALLOW_PRIVATE", ()))).drain()


class _Run:
    """One run of the job."""

    def __init__(self, courier_: Courier, sender: providers.Sender) -> None:
        self.courier, self.sender = courier_, sender
        self.waiting: dict[str, deque[Parcel]] = {}
        self.calls: set[Future[Ended]] = set()
        self.results: list[Result] = []
        self.oldest_result: float | None = None
        self.resting_until = 0.0

    def drain(self) -> None:
        """Claim, call and record until nothing more can be done now."""
        ends = drain_until()
        idle_since: float | None = None
        again = False
        while True:
            over = is_over(ends)
            if not over:
                self._claim()
            begun = 0 if over else self._begin()
            done = self._collect()
            self._record(force=not self.calls)
            if begun or done:
                idle_since = None
                continue
            if not self.calls:
                # The last claim may have left out an endpoint that had no room then.
                if not over and self._claim(at_once=True):
                    continue
                again = over
                break
            idle_since = idle_since or time.monotonic()
            if over or time.monotonic() - idle_since >= LINGER_SECONDS:
                again = over
                break
        self._give_back()
        if again:
            ring(DELIVER_JOB)

    def _claim(self, *, at_once: bool = False) -> bool:
        """Top up, when few are waiting: of endpoints that have nothing waiting here and room for a call.

        at_once: also right after there was nothing. Gives whether there is more than before.
        """
        if time.monotonic() < self.resting_until and not at_once:
            return False
        # What waits for its own endpoint keeps no others from being claimed; what waits for any call to end does.
        ready = sum(len(parcels) for id_, parcels in self.waiting.items() if not self.courier.is_held(id_))
        if ready > CALLS * 2:
            return False
        full = set(self.waiting) | {id_ for id_ in self.courier.busy() if self.courier.is_held(id_)}
        with transaction():
            parcels = commands.claim_due(self.courier.allowance, without=full)
        for parcel in parcels:
            self.waiting.setdefault(parcel.endpoint_id, deque()).append(parcel)
        if not parcels:
            self.resting_until = time.monotonic() + REST_SECONDS
        return bool(parcels)

    def _begin(self) -> int:
        """Start as many calls as there is room for, one endpoint after the other."""
        begun = 0
        latest = utcnow() + LEASE / 2
        progress = True
        while progress:
            progress = False
            for endpoint_id, parcels in list(self.waiting.items()):
                if not self.courier.has_room(endpoint_id):
                    continue
                if parcels[0].until < latest:
                    # Waited too long here: the claim might end during the call.
                    self._release([*self.waiting.pop(endpoint_id)])
                    continue
                # Two threads for the endpoint share what waits.
                string = min(self.courier.string(endpoint_id), -(-len(parcels) // CALLS_PER_ENDPOINT))
                taken = [parcels.popleft() for _ in range(string)]
                self.calls.add(self.courier.begin(self.sender, taken))
                if not parcels:
                    del self.waiting[endpoint_id]
                begun += 1
                progress = True
        return begun

    def _collect(self) -> int:
        if not self.calls:
            return 0
        done, self.calls = wait(self.calls, timeout=0.05, return_when=FIRST_COMPLETED)
        for call in done:
            ended = call.result()
            self.results += ended.results
            for parcel in ended.unsent:
                self.waiting.setdefault(parcel.endpoint_id, deque()).append(parcel)
        if self.results and self.oldest_result is None:
            self.oldest_result = time.monotonic()
        return len(done)

    def _record(self, *, force: bool) -> None:
        if not self.results or self.oldest_result is None:
            return
        old = time.monotonic() - self.oldest_result >= RECORD_SECONDS
        if force or old or len(self.results) >= RECORD_BATCH:
            with transaction():
                commands.record(self.results)
            self.results, self.oldest_result = [], None

    def _give_back(self) -> None:
        self._record(force=True)
        self._release([parcel for parcels in self.waiting.values() for parcel in parcels])
        self.courier.leave(_app(), self.calls)

    def _release(self, parcels: list[Parcel]) -> None:
        if parcels:
            with transaction():
                commands.release(parcels)


def _app() -> Any:
    return current_app._get_current_object()  # type: ignore[attr-defined]


def purge_old() -> None:
    """Forget what is older than the log is kept."""
    while True:
        with own_context(), transaction():
            if not commands.purge():
                return


def has_old(now: datetime | None = None) -> bool:
    """Whether there is anything to forget; a day's worth at a time, so that this is no steady trickle."""
    limit = (now or utcnow()) - commands.KEEP - timedelta(days=1)
    return queries.any_old(limit)


JOBS = (
    Job(name=DELIVER_JOB, queue="webhooks", run=deliver_due, due=queries.has_due, patient=True),
    Job(name=PURGE_JOB, queue="webhooks", run=purge_old, due=has_old),
)
