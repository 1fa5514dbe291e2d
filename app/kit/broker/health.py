"""Looking after the broker: how the queues do, and bringing back what it set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from amqp.exceptions import NotFound, PreconditionFailed
from kombu import Connection, Producer

from app.kit.broker.topology import DOWN, TYPE, WRITE_SECONDS, dead_queue_of, declare, opened, queue_of
from app.kit.errors import Temporary


@dataclass(frozen=True, kw_only=True)
class QueueState:
    """How a service's queue does: letters in it, consumers connected, letters that the broker put aside."""

    service: str
    waiting: int
    consumers: int
    dead: int


@dataclass(frozen=True, kw_only=True)
class QueueFound:
    """A service's queue as it stands in the broker. state: ours, different (another kind or other arguments), missing."""

    service: str
    state: Literal["ours", "different", "missing"]
    waiting: int = 0
    consumers: int = 0
    dead: int = 0


def inspect(url: str, services: Sequence[str]) -> tuple[str, list[QueueFound]]:
    """The broker's version and how the queues of these services stand; makes and changes nothing.

    Raises Temporary when the broker does not answer or lets us not in.
    """
    try:
        with opened(url) as connection:
            version = str(connection.connection.server_properties.get("version", ""))
            return version, [_found(connection, service) for service in services]
    except DOWN as error:
        raise Temporary("RabbitMQ does not answer.", code=type(error).__name__) from error


def _found(connection: Connection, service: str) -> QueueFound:
    """Each question takes a channel of its own: the broker closes the channel on which it says no."""
    try:
        queue = connection.channel().queue_declare(queue_of(service).name, passive=True)
    except NotFound:
        return QueueFound(service=service, state="missing")
    counted = {"waiting": queue.message_count, "consumers": queue.consumer_count}
    try:
        # The queue is there, so this only compares its arguments with ours.
        queue_of(service).bind(connection.channel()).queue_declare()
    except PreconditionFailed:
        return QueueFound(service=service, state="different", **counted)
    try:
        aside = connection.channel().queue_declare(dead_queue_of(service).name, passive=True).message_count
    except NotFound:
        aside = 0
    return QueueFound(service=service, state="ours", dead=aside, **counted)


def states(url: str, services: Sequence[str]) -> list[QueueState]:
    """How the queues of these services do; raises Temporary when the broker does not answer."""
    try:
        with opened(url) as connection:
            channel = connection.default_channel
            declare(channel)
            found = []
            for service in services:
                queue = channel.queue_declare(queue_of(service).name, passive=True)
                aside = channel.queue_declare(dead_queue_of(service).name, passive=True)
                found.append(
                    QueueState(
                        service=service,
                        waiting=queue.message_count,
                        consumers=queue.consumer_count,
                        dead=aside.message_count,
                    )
                )
            return found
    except DOWN as error:
        raise Temporary("RabbitMQ does not answer.", code=type(error).__name__) from error


def bring_back(url: str, service: str) -> int:
    """Put what the broker set aside into the service's queue again; how many letters. Raises Temporary."""
    moved = 0
    try:
        with opened(url) as connection:
            channel = connection.channel()
            declare(channel)
            channel.confirm_select()
            confirmed: list[int] = []
            channel.events["basic_ack"].add(lambda tag, _multiple: confirmed.append(tag))
            producer = Producer(channel, auto_declare=False)
            waiting = channel.queue_declare(dead_queue_of(service).name, passive=True).message_count
            while moved < waiting and (message := channel.basic_get(dead_queue_of(service).name)) is not None:
                producer.publish(
                    message.body,
                    routing_key=queue_of(service).name,
                    content_type=TYPE,
                    content_encoding="utf-8",
                    delivery_mode=2,
                    mandatory=True,
                )
                while len(confirmed) <= moved:
                    connection.drain_events(timeout=WRITE_SECONDS)
                channel.basic_ack(message.delivery_tag)
                moved += 1
    except DOWN as error:
        raise Temporary("RabbitMQ does not answer.", code=type(error).__name__) from error
    return moved
