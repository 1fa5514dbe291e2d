"""Looking after the broker: how the queues do, and bringing back what it set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kombu import Producer

from app.kit.broker.topology import DOWN, TYPE, WRITE_SECONDS, dead_queue_of, declare, opened, queue_of
from app.kit.errors import Temporary


@dataclass(frozen=True, kw_only=True)
class QueueState:
    """How a service's queue does: letters in it, consumers connected, letters that the broker put aside."""

    service: str
    waiting: int
    consumers: int
    dead: int


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
