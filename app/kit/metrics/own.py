"""What the kit knows of itself: its version, queues, relay, outboxes, the message broker."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path

from flask import current_app

from app.kit import jobs, outbox, relay
from app.kit.errors import Temporary
from app.kit.metrics.state import BREAKER_OPEN, Gauge, Part, Sample, open_breakers

PROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"

BUILD_INFO = Gauge(
    name="embudo_build_info", meaning="1, with what runs here as labels", labels=("version", "service")
)
BROKER_UP = Gauge(
    name="embudo_broker_up", meaning="Whether the message broker answers; only where EVENTS_BROKER_URL is set"
)
QUEUE_DEPTH = Gauge(name="embudo_queue_depth", meaning="Jobs that wait in the queue", labels=("queue",))
QUEUE_AGE = Gauge(
    name="embudo_queue_oldest_age_seconds",
    meaning="Seconds that the next job has waited; 0 when none waits",
    labels=("queue",),
)
QUEUE_WORKERS = Gauge(
    name="embudo_queue_workers",
    meaning="Worker processes heard of in the last minute that take from the queue",
    labels=("queue",),
)
RELAY_AGE = Gauge(
    name="embudo_relay_heartbeat_age_seconds",
    meaning="Seconds since the service's relay last swept; +Inf when it never did",
    labels=("service",),
)
OUTBOX_PENDING = Gauge(
    name="embudo_outbox_pending",
    meaning="Events that not every listener has confirmed",
    labels=("service",),
)
OUTBOX_AGE = Gauge(
    name="embudo_outbox_oldest_age_seconds",
    meaning="Seconds since the oldest of the unconfirmed events happened; 0 when there is none",
    labels=("service",),
)
DEAD_LETTERS = Gauge(
    name="embudo_dead_letters",
    meaning="Events that the service could not handle and that wait for a person",
    labels=("service",),
)


@cache
def version() -> str:
    """The product's version as pyproject.toml says it, or "unknown" where only the code was copied."""
    try:
        return str(tomllib.loads(PROJECT.read_text())["project"]["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return "unknown"


def _build() -> Iterator[Sample]:
    services = current_app.extensions["embudo_services"]
    whole = len(services) == len(current_app.extensions["embudo_routes"])
    yield BUILD_INFO, (version(), "all" if whole else ",".join(services)), 1


def _queues() -> Iterator[Sample]:
    for queue in jobs.health():
        yield QUEUE_DEPTH, (queue.queue,), queue.waiting
        yield QUEUE_AGE, (queue.queue,), queue.oldest_seconds or 0.0
        yield QUEUE_WORKERS, (queue.queue,), queue.workers


def _relay() -> Iterator[Sample]:
    beats = relay.heartbeats()
    for service in current_app.extensions["embudo_services"]:
        yield RELAY_AGE, (service,), beats.get(service, float("inf"))


def _outbox_of(service: str) -> Iterator[Sample]:
    box = outbox.health_of(service)
    yield OUTBOX_PENDING, (service,), box.waiting
    yield OUTBOX_AGE, (service,), box.oldest_seconds or 0.0
    yield DEAD_LETTERS, (service,), box.dead


def _broker() -> Iterator[Sample]:
    url = current_app.config["EVENTS_BROKER_URL"]
    if not url:
        return
    from app.kit import broker  # who has no broker does not load its client

    try:
        broker.inspect(url, ())
    except Temporary:
        yield BROKER_UP, (), 0
    else:
        yield BROKER_UP, (), 1


def _breakers() -> list[Sample]:
    services = current_app.extensions["embudo_services"]
    elsewhere = [route.service for route in current_app.extensions["embudo_routes"]]
    names = [f"service:{name}" for name in elsewhere if name not in services]
    if current_app.config["EVENTS_BROKER_URL"]:
        names.append("rabbitmq")
    return open_breakers({name: name for name in names})


def parts(services: Iterable[str]) -> tuple[Part, ...]:
    """What the kit brings for a process that serves these services."""
    boxes = tuple(
        Part(
            name=f"outbox of {service}",
            gauges=(OUTBOX_PENDING, OUTBOX_AGE, DEAD_LETTERS),
            read=partial(_outbox_of, service),
            needs=(service,),
        )
        for service in services
    )
    return (
        Part(name="build", gauges=(BUILD_INFO,), read=_build),
        Part(name="queues", gauges=(QUEUE_DEPTH, QUEUE_AGE, QUEUE_WORKERS), read=_queues, needs=("redis",)),
        Part(name="relay", gauges=(RELAY_AGE,), read=_relay, needs=("redis",)),
        *boxes,
        Part(name="breakers", gauges=(BREAKER_OPEN,), read=_breakers, needs=("redis",)),
        Part(name="broker", gauges=(BROKER_UP,), read=_broker, silent=((BROKER_UP, (), 0),)),
    )
