"""How events travel from an outbox to their listeners: the protocol, and the way through Redis.

Without a message broker a listener's letters lie in a sorted set, in the order in which they came; the same letter
sent twice lies there once. The listener's RQ job takes them, handles them, and confirms to the producer's relay. A letter
that Redis loses is sent again, because nobody confirmed it. The way through RabbitMQ is app.kit.broker.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import orjson
from flask import current_app

from app.kit import dead_letters, inbox, jobs, outbox
from app.kit.redis_client import redis

TAKE = 50
"""Letters a listener takes at a time."""


class Transport(Protocol):
    """Carries CloudEvents to listening services, and back that they have them."""

    def send(self, letters: Sequence[tuple[dict[str, Any], Sequence[str]]]) -> list[tuple[str, str]]:
        """Hand letters over: pairs of a CloudEvent and its listeners. Sending one again is harmless.

        Returns pairs (event id, listener) that are safe with the listener by now; of the others it is heard by
        confirmations(). Raises Temporary or RedisError when the transport is down.
        """

    def confirmations(self, producer: str) -> list[tuple[str, str]]:
        """Pairs (event id, listener) that came back for `producer` since the last call."""

    def drain(self, listener: str, deadline: float) -> None:
        """Handle what waits for `listener`, where letters wait for a job rather than for a consumer.

        After the deadline (app.kit.jobs.is_over) begins no more; who calls it rings for the rest.
        """

    def waiting(self, listener: str) -> bool:
        """Whether drain() would find something."""


class RedisTransport:
    """Letters and confirmations in Redis, drained by RQ jobs."""

    def send(self, letters: Sequence[tuple[dict[str, Any], Sequence[str]]]) -> list[tuple[str, str]]:
        """Put letters into their listeners' boxes and ring the jobs; nothing is safe until they confirm."""
        # Equal scores would be ordered by bytes. Microseconds of Unix time, one more for each letter, are exact: a
        # score is a float, which holds whole numbers below 2**53.
        now = time.time_ns() // 1000
        boxes: dict[str, dict[bytes, int]] = {}
        for place, (letter, listeners) in enumerate(letters):
            for listener in listeners:
                boxes.setdefault(listener, {})[outbox.dumps(letter)] = now + place
        for listener, members in boxes.items():
            redis().zadd(_box(listener), members, nx=True)
            jobs.ring(dead_letters.job_name(listener))
        return []

    def confirmations(self, producer: str) -> list[tuple[str, str]]:
        """Take up to 1,000 confirmations; they are lost if the relay dies here, and so repeated."""
        found = redis().lpop(_confirmed(producer), 1000) or []
        return [(item["id"], item["listener"]) for item in map(orjson.loads, found)]

    def drain(self, listener: str, deadline: float) -> None:
        """Handle the letters in the box. What fails is kept in the inbox and so is safe, too."""
        client = redis()
        while found := client.zrange(_box(listener), 0, TAKE - 1):
            letters = [orjson.loads(member) for member in found]
            inbox.receive_many(listener, letters)
            with client.pipeline() as pipe:
                for letter in letters:
                    producer = letter["source"].rpartition("/")[2]
                    pipe.rpush(_confirmed(producer), orjson.dumps({"id": letter["id"], "listener": listener}))
                pipe.zrem(_box(listener), *found)
                pipe.execute()
            if jobs.is_over(deadline):
                return

    def waiting(self, listener: str) -> bool:
        """Whether the box holds a letter."""
        return bool(redis().zcard(_box(listener)))


def receive_job(listener: str) -> jobs.Job:
    """The job that handles what waits for a service, and what failed and is due again."""

    def run() -> None:
        deadline = jobs.drain_until()
        _transport().drain(listener, deadline)
        dead_letters.retry_due(listener, deadline)
        if jobs.is_over(deadline):
            jobs.ring(dead_letters.job_name(listener))

    def due() -> bool:
        return _transport().waiting(listener) or dead_letters.due(listener)

    return jobs.Job(name=dead_letters.job_name(listener), queue=listener, run=run, due=due)


def _transport() -> Transport:
    transport: Transport = current_app.extensions["embudo_transport"]
    return transport


def _box(listener: str) -> str:
    return f"embudo:events:{listener}"


def _confirmed(producer: str) -> str:
    return f"embudo:confirmed:{producer}"
