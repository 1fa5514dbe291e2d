"""The relay's side: events are published in batches, and settled when the broker has confirmed them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from kombu import Connection

from app.kit import outbox, telemetry
from app.kit.broker.topology import DOWN, EVENTS, TYPE, WRITE_SECONDS, connect, declare, queue_name
from app.kit.errors import Temporary
from app.kit.resilience import breaker

OPEN_SECONDS = 5.0
"""How long the breaker pauses: the relay alone publishes, so it is gentle enough to ask again soon."""

BEAT_SECONDS = 0.001
"""How long to wait for a heartbeat that has not come yet: not at all, but zero would mean for ever."""

EVERYBODY = ""
"""In the place of a listener: whoever outside the product has bound a queue to the exchange, or nobody."""

log = telemetry.get_logger("broker")


class BrokerTransport:
    """Publishes for the relay; what the broker has confirmed is safe at once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._publisher: _Publisher | None = None
        self._pid = 0

    def send(self, letters: Sequence[tuple[dict[str, Any], Sequence[str]]]) -> list[tuple[str, str]]:
        """Publish each event for each of its listeners, and once for everybody; Temporary when the broker is down."""
        with breaker("rabbitmq", failures=3, open_seconds=OPEN_SECONDS):
            try:
                safe, homeless = self._connected().publish(letters)
            except DOWN as error:
                self.close()
                raise Temporary(
                    "RabbitMQ does not take events now; they wait.", code=type(error).__name__
                ) from error
        if homeless:
            log.error("queues are missing, the next events make them anew", queues=sorted(homeless))
            self.close()
        return safe

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
        """None: send() knows all. Asked in each sweep, so it also keeps the connection of quiet hours alive."""
        if self._publisher is not None and self._pid == os.getpid():
            try:
                self._publisher.beat()
            except DOWN as error:
                log.warning("broker is gone, the next event asks for it", error=type(error).__name__)
                self.close()
        return []

    def drain(self, _listener: str, _deadline: float) -> None:
        """Nothing: consumers do not wait for a job."""

    def waiting(self, _listener: str) -> bool:
        """No."""
        return False


class _Publisher:
    """A channel in confirm mode. Confirms are awaited per batch: one by one they would cost a disk write each.

    Each listener's queue gets a message of its own. One for all would be confirmed when any queue takes it, however many
    of the others somebody has deleted.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._open: dict[int, tuple[str, str]] = {}  # delivery tag → (event id, listener), not confirmed yet
        self._safe: list[tuple[str, str]] = []
        self._returned: set[tuple[str, str]] = set()  # (event id, queue)
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

    def publish(
        self, letters: Sequence[tuple[dict[str, Any], Sequence[str]]]
    ) -> tuple[list[tuple[str, str]], set[str]]:
        """Publish; (the pairs of event id and listener whose queue now has it, the queues that are missing)."""
        self._open.clear()
        self._safe.clear()
        self._returned.clear()
        for letter, listeners in letters:
            message = self._channel.prepare_message(
                outbox.dumps(letter),
                content_type=TYPE,
                content_encoding="utf-8",
                properties={"delivery_mode": 2, "message_id": letter["id"], "type": letter["type"]},
            )
            name = letter["type"].removeprefix("embudo.").rpartition(".v")[0]
            self._post(message, EVERYBODY, exchange=EVENTS.name, routing_key=name)
            for listener in listeners:
                self._post(message, listener, routing_key=queue_name(listener), mandatory=True)
        deadline = time.monotonic() + WRITE_SECONDS
        while self._open:
            self._connection.drain_events(timeout=max(0.01, deadline - time.monotonic()))
        safe = [pair for pair in self._safe if (pair[0], queue_name(pair[1])) not in self._returned]
        return [pair for pair in safe if pair[1] != EVERYBODY], {queue for _, queue in self._returned}

    def beat(self) -> None:
        """Hear the broker's heartbeats and send ours; raises one of DOWN. It hangs up on who is silent for a minute."""
        with suppress(TimeoutError):
            while True:
                self._connection.drain_events(timeout=BEAT_SECONDS)
        self._connection.heartbeat_check()

    def _post(self, message: Any, listener: str, **where: Any) -> None:
        self._channel.basic_publish(message, **where)  # without an exchange into the queue of that name
        self._tag += 1
        self._open[self._tag] = (message.properties["message_id"], listener)

    def _acknowledged(self, tag: int, multiple: bool) -> None:
        self._safe += self._settle(tag, multiple=multiple)

    def _refused(self, tag: int, multiple: bool) -> None:
        log.warning("broker refused events", count=len(self._settle(tag, multiple=multiple)))

    def _settle(self, tag: int, *, multiple: bool) -> list[tuple[str, str]]:
        tags = [known for known in self._open if known <= tag] if multiple else [tag]
        return [self._open.pop(known) for known in tags if known in self._open]

    def _unroutable(self, _error: Exception, _exchange: str, queue: str, message: Any) -> None:
        self._returned.add((message.properties["message_id"], queue))

    def close(self) -> None:
        """Close without waiting for a broker that may be gone."""
        self._connection.release()
