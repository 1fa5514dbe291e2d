"""The worker's side: letters are taken, handed to the inbox, and acknowledged after its commit."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from flask import Flask
from kombu import Connection, Consumer
from sqlalchemy.exc import DBAPIError

from app.kit import db, inbox, telemetry
from app.kit.broker.topology import DOWN, declare, opened, queue_of
from app.kit.ending import Ending

PREFETCH = 20
"""Letters a consumer holds unacknowledged: what is redelivered when it dies."""

log = telemetry.get_logger("broker")


def consume(app: Flask, services: Sequence[str]) -> None:
    """Handle what arrives for these services until SIGTERM; a child of the worker.

    A thread per service: one whose database is down must not keep the letters of the others.
    """
    stop = Ending()
    signal.signal(signal.SIGTERM, lambda *_: stop.tell())
    url = app.config["EVENTS_BROKER_URL"]
    threads = [
        threading.Thread(target=_listen, args=(app, url, service, stop), name=f"events-{service}")
        for service in services
    ]
    for thread in threads:
        thread.start()
    log.info("consumer started", services=list(services))
    while not stop.wait(0.5):
        if not all(thread.is_alive() for thread in threads):
            stop.tell()
            sys.exit("a consumer thread ended; the worker starts a new child")
    for thread in threads:
        thread.join()


def _listen(app: Flask, url: str, service: str, stop: Ending) -> None:
    failures = 0
    while not stop.is_told():
        try:
            with opened(url) as connection:
                listener = Listener(app, connection, service, stop)
                failures = 0
                listener.run()
        except DOWN as error:
            failures += 1
            log.warning("broker is gone, waiting for it", service=service, error=type(error).__name__)
            stop.wait(min(5.0, 0.5 * failures))


class Listener:
    """Takes letters from one service's queue and hands them to its inbox."""

    def __init__(self, app: Flask, connection: Connection, service: str, stop: Ending) -> None:
        self._app = app
        self._connection = connection
        self._service = service
        self._stop = stop
        channel = connection.channel()
        declare(channel, only=service)  # a sick queue of another service must not keep this one from its own
        channel.basic_qos(0, PREFETCH, False)
        consumer = Consumer(channel, queues=[queue_of(service)], on_message=self._take, auto_declare=False)
        consumer.consume()

    def run(self) -> None:
        """Until told to stop; raises one of DOWN when the broker goes away."""
        while not self._stop.is_told():
            self.wait(0.5)

    def wait(self, seconds: float) -> bool:
        """Handle what arrives within `seconds`; whether anything did."""
        try:
            self._connection.drain_events(timeout=seconds)
        except TimeoutError:
            self._connection.heartbeat_check()
            return False
        return True

    def _take(self, message: Any) -> None:
        letter = read(message.body)
        if letter is None:
            log.error("not a CloudEvent, put aside", service=self._service, size=len(message.body))
            message.reject(requeue=False)
            return
        while not self._handled(letter):
            # The letter stays ours: given back, the broker would bring it again at once, and count it as a failure.
            if self._stop.wait(1.0):
                return
            self._connection.heartbeat_check()
        message.ack()

    def _handled(self, letter: dict[str, Any]) -> bool:
        """Whether the inbox has it, handled or kept for another try; False when the database is gone."""
        with self._app.app_context():
            try:
                inbox.receive(self._service, letter)
            except DBAPIError as error:
                db.db.session.rollback()
                log.warning(
                    "database is gone, waiting for it", service=self._service, error=type(error).__name__
                )
                return False
        return True


def read(body: bytes | str) -> dict[str, Any] | None:
    """The CloudEvent that a message holds, or None when it is none of ours."""
    try:
        letter = orjson.loads(body)
        datetime.fromisoformat(letter["time"])
        known = letter["specversion"] == "1.0" and letter["source"].startswith("/embudo/")
        known = known and letter["type"].startswith("embudo.") and isinstance(letter["data"], dict)
        return letter if known and isinstance(letter["id"], str) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
