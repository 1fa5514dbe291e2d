"""How events travel from an outbox to a listener when no message broker is configured: through Redis.

A listener's letters lie in a sorted set, scored by when they are due; the same letter sent twice lies there once.
The listener's RQ job takes them, handles them, and confirms to the producer's relay. A letter that Redis loses is
sent again, because nobody confirmed it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Protocol

import orjson

from app.kit import jobs, outbox
from app.kit.redis_client import redis

TAKE = 50
"""Letters a listener takes at a time."""


class Transport(Protocol):
    """Carries CloudEvents to listening services and confirmations back."""

    def send(self, listener: str, letters: Iterable[dict[str, Any]]) -> None:
        """Hand letters over to `listener`; sending one again is harmless."""

    def confirmations(self, producer: str) -> list[tuple[str, str]]:
        """Pairs (event id, listener) that came back for `producer` since the last call."""


class RedisTransport:
    """Letters and confirmations in Redis, drained by RQ jobs."""

    def send(self, listener: str, letters: Iterable[dict[str, Any]]) -> None:
        """Put letters into the listener's box and ring its job."""
        now = time.time()
        members = {outbox.dumps(letter): now for letter in letters}
        redis().zadd(_box(listener), members, nx=True)
        jobs.ring(receive_job_name(listener))

    def confirmations(self, producer: str) -> list[tuple[str, str]]:
        """Take up to 1,000 confirmations; they are lost if the relay dies here, and so repeated."""
        found = redis().lpop(_confirmed(producer), 1000) or []
        return [(item["id"], item["listener"]) for item in map(orjson.loads, found)]


def receive_job_name(listener: str) -> str:
    """Name of the job that handles a service's letters."""
    return f"{listener}.receive_events"


def receive_job(listener: str) -> jobs.Job:
    """The job that handles what lies in a service's box."""
    return jobs.Job(
        name=receive_job_name(listener),
        queue=listener,
        run=lambda: _drain(listener),
        due=lambda: bool(redis().zcount(_box(listener), "-inf", time.time())),
    )


def _drain(listener: str) -> None:
    client = redis()
    while True:
        found = client.zrange(_box(listener), "-inf", time.time(), byscore=True, offset=0, num=TAKE)
        if not found:
            return
        for member in found:
            letter = orjson.loads(member)
            again = outbox.receive(listener, letter)
            if again is not None:
                client.zadd(_box(listener), {member: time.time() + again})
                continue
            producer = letter["source"].rpartition("/")[2]
            with client.pipeline() as pipe:
                pipe.rpush(_confirmed(producer), orjson.dumps({"id": letter["id"], "listener": listener}))
                pipe.zrem(_box(listener), member)
                pipe.execute()


def _box(listener: str) -> str:
    return f"embudo:events:{listener}"


def _confirmed(producer: str) -> str:
    return f"embudo:confirmed:{producer}"
