"""The relay's side: events are published in batches, and settled when the broker has confirmed them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from kombu import Connection, Producer

from app.kit import outbox, telemetry
from app.kit.broker.topology import DOWN, EVENTS, TYPE, WRITE_SECONDS, connect, declare
from app.kit.errors import Temporary
from app.kit.resilience import breaker

OPEN_SECONDS = 5.0
"""How long the breaker pauses: the relay alone publishes, so it is gentle enough to ask again soon."""

log = telemetry.get_logger("broker")


class BrokerTransport:
    """Publishes for the relay; what the broker has confirmed is safe at once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._publisher: _Publisher | None = None
        self._pid = 0

    def send(self, letters: Sequence[tuple[dict[str, Any], Sequence[str]]]) -> list[tuple[str, str]]:
        """Publish each event once, for all of its listeners; raises Temporary when the broker is down."""
        with breaker("rabbitmq", failures=3, open_seconds=OPEN_SECONDS):
            try:
                safe = self._connected().publish([letter for letter, _ in letters])
            except DOWN as error:
                self.close()
                raise Temporary(
                    "RabbitMQ does not take events now; they wait.", code=type(error).__name__
                ) from error
        return [
            (letter["id"], listener)
            for letter, listeners in letters
            for listener in listeners
            if letter["id"] in safe
        ]

    def _connected(self) -> _Publisher:
        if self._pid != os.getpid():  # a fork must not write into its parent's socket
            self._publisher, self._pid = None, os.getpid()
        if self._publisher is None:
            self._publisher = _Publisher(connect(self._url))
        return self._publisher

    def close(self) -> None:
        """Drop the connection; the next send makes a new one."""
        if self._publisher is not None and self._pid == os.getpid():
            self._publisher.close()
        self._publisher = None

    def confirmations(self, _producer: str) -> list[tuple[str, str]]:
        """None: send() knows all."""
        return []

    def drain(self, _listener: str, _deadline: float) -> None:
        """Nothing: consumers do not wait for a job."""

    def waiting(self, _listener: str) -> bool:
        """No."""
        return False


class _Publisher:
    """A channel in confirm mode. Confirms are awaited per batch: one by one they would cost a disk write each."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._open: dict[int, str] = {}  # delivery tag → event id, not confirmed yet
        self._safe: set[str] = set()
        self._returned: set[str] = set()
        self._tag = 0
        try:
            self._channel = connection.default_channel
            declare(self._channel)
            self._channel.confirm_select()
        except BaseException:
            self.close()
            raise
        self._channel.events["basic_ack"].add(self._acknowledged)
        self._channel.events["basic_nack"].add(self._refused)
        self._channel.events["basic_return"].add(self._unroutable)
        self._producer = Producer(self._channel, EVENTS, auto_declare=False)

    def publish(self, letters: Sequence[dict[str, Any]]) -> set[str]:
        """Publish; the ids of the events that are now in every listener's queue."""
        self._open.clear()
        self._safe.clear()
        self._returned.clear()
        for letter in letters:
            self._producer.publish(
                outbox.dumps(letter),
                routing_key=letter["type"].removeprefix("embudo.").rpartition(".v")[0],
                content_type=TYPE,
                content_encoding="utf-8",
                delivery_mode=2,
                mandatory=True,
                message_id=letter["id"],
                type=letter["type"],
            )
            self._tag += 1
            self._open[self._tag] = letter["id"]
        deadline = time.monotonic() + WRITE_SECONDS
        while self._open:
            self._connection.drain_events(timeout=max(0.01, deadline - time.monotonic()))
        if self._returned:
            log.error("no queue takes these events", events=sorted(self._returned)[:10])
        return self._safe - self._returned

    def _acknowledged(self, tag: int, multiple: bool) -> None:
        self._safe.update(self._settle(tag, multiple=multiple))

    def _refused(self, tag: int, multiple: bool) -> None:
        log.warning("broker refused events", count=len(self._settle(tag, multiple=multiple)))

    def _settle(self, tag: int, *, multiple: bool) -> list[str]:
        tags = [known for known in self._open if known == tag or (multiple and known < tag)]
        return [self._open.pop(known) for known in tags]

    def _unroutable(self, _error: Exception, _exchange: str, _routing_key: str, message: Any) -> None:
        self._returned.add(message.properties["message_id"])

    def close(self) -> None:
        """Close without waiting for a broker that may be gone."""
        self._connection.release()
