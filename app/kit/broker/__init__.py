"""How events travel when EVENTS_BROKER_URL names a RabbitMQ: for services that run apart, each at its own pace.

Each listening service has one quorum queue, and the relay publishes an event into each of them by itself, with confirms
and `mandatory`. So an outbox row is settled for a listener when the event is safe in its queue, and stays open for it
when the broker is down, refuses, or has no such queue. Producers declare the listeners' queues, too: a service that has
never run yet must not miss what happens before it does. A durable topic exchange takes each event once more, for
whoever outside the product listens.

A consumer acknowledges after the handler's transaction has committed. A handler that fails leaves the letter in its
inbox (app.kit.dead_letters), never in the broker's redelivery loop. The broker's own dead-letter queue only gets what
no inbox can hold: bytes that are no CloudEvent, and a letter that killed its consumer again and again.
"""

from __future__ import annotations

from app.kit.broker.health import QueueFound, QueueState, bring_back, inspect, states
from app.kit.broker.listener import Listener, consume, read
from app.kit.broker.publisher import BrokerTransport
from app.kit.broker.topology import connect, dead_queue_of, declare, opened, queue_of

__all__ = [
    "BrokerTransport",
    "Listener",
    "QueueFound",
    "QueueState",
    "bring_back",
    "connect",
    "consume",
    "dead_queue_of",
    "declare",
    "inspect",
    "opened",
    "queue_of",
    "read",
    "states",
]
