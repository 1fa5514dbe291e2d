"""What stands in the broker: the exchanges, a queue per listening service, and how to get there."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from amqp.exceptions import AMQPError
from kombu import Connection, Exchange, Queue
from kombu.exceptions import KombuError

from app.contracts.events import LISTENERS

CONNECT_SECONDS = 2.0
"""How long to wait for the broker to take a connection."""

WRITE_SECONDS = 10.0
"""How long one write may wait for the socket, and a batch for the broker's confirms."""

ANSWER_SECONDS = 10.0
"""How long the broker may think about a question, such as a declaration: a queue without a leader answers never."""

HEARTBEAT_SECONDS = 30
"""A connection that is silent for twice as long is dead."""

DELIVERY_LIMIT = 20
"""So often a letter may come back from consumers that died before the broker puts it aside."""

TYPE = "application/cloudevents+json"
"""Structured mode of CloudEvents 1.0: the body is the whole event."""

EVENTS = Exchange("embudo.events", type="topic", durable=True)
DEAD = Exchange("embudo.dead", type="direct", durable=True)

DOWN = (OSError, AMQPError, KombuError)
"""What kombu raises when the broker is gone, refuses, or closes the channel."""


def queue_name(service: str) -> str:
    """Name of the queue of a listening service."""
    return f"embudo.{service}"


def queue_of(service: str) -> Queue:
    """The queue of a listening service."""
    arguments = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": DEAD.name,
        "x-dead-letter-routing-key": service,
        "x-dead-letter-strategy": "at-least-once",  # else a letter could be lost on its way to the dead ones
        "x-overflow": "reject-publish",  # which at-least-once demands
        "x-delivery-limit": DELIVERY_LIMIT,
    }
    return Queue(queue_name(service), durable=True, queue_arguments=arguments)


def dead_queue_of(service: str) -> Queue:
    """Where the broker puts what the service's consumer rejected."""
    return Queue(
        f"embudo.{service}.dead",
        DEAD,
        routing_key=service,
        durable=True,
        queue_arguments={"x-queue-type": "quorum"},
    )


def declare(channel: Any, only: str | None = None) -> None:
    """Make the exchanges, and the queues of all listeners, or of one; a no-op where they are."""
    EVENTS.bind(channel).declare()
    DEAD.bind(channel).declare()
    for listener in sorted({name for listeners in LISTENERS.values() for name in listeners}):
        if only in (None, listener):
            dead_queue_of(listener).bind(channel).declare()
            queue_of(listener).bind(channel).queue_declare()


def connect(url: str) -> Connection:
    """An open connection; raises one of DOWN. With amqps:// the certificate is checked."""
    parts = urlsplit(url)
    tls: Any = False
    if parts.scheme == "amqps":
        tls = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": parts.hostname}
    connection = Connection(
        url,
        ssl=tls,
        heartbeat=HEARTBEAT_SECONDS,
        connect_timeout=CONNECT_SECONDS,
        transport_options={"write_timeout": WRITE_SECONDS, "read_timeout": ANSWER_SECONDS},
    )
    try:
        connection.connect()
    except BaseException:
        connection.release()
        raise
    return connection


@contextmanager
def opened(url: str) -> Iterator[Connection]:
    """A connection for the length of a block."""
    connection = connect(url)
    try:
        yield connection
    finally:
        connection.release()
