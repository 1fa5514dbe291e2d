"""One Redis client per process, and the rule that Redis may be gone.

Redis carries doorbells, mail between services, limits and caches. All of it can be made again from the database,
so callers treat RedisError as "later", never as a failure of what they do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

from flask import Flask, current_app
from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as NoAnswer
from redis.retry import Retry

from app.kit.silence import Silence

CONNECT_SECONDS = 2.0
"""How long a request may wait for a connection before Redis counts as gone."""

REPLY_SECONDS = 5.0
"""How long to wait for an answer; blocking commands bring their own limit."""

__all__ = ["Client", "RedisError", "connect", "init_redis", "redis"]


class _Once(Retry):
    """Repeats once what a lost connection broke off; and lets nobody wait for a server that just gave no answer."""

    def __init__(self) -> None:
        # Not after a silence: the command may have been carried out, and the second wait is as long as the first.
        super().__init__(ExponentialBackoff(cap=0.2, base=0.02), 1, (ConnectionLost,))
        self._silence = Silence()

    def __deepcopy__(self, _memo: dict[int, Any]) -> _Once:
        """Each connection of a client takes a copy; but it is the server that is silent."""
        return self

    def call_with_retry(self, do: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Raises NoAnswer at once while the server is left alone."""
        if not self._silence.may_ask():
            raise NoAnswer("Redis gave no answer just now; it is left alone for a moment.")
        answered = True
        try:
            return super().call_with_retry(do, *args, **kwargs)
        except NoAnswer:
            answered = False
            raise
        finally:
            self._silence.tell(answered=answered)


class Client(Redis):
    """Knows which run of the server it talks to.

    A Redis that was started again, or another one that took over, may have old memories. No connection outlives the
    run of the server that took it, so it is enough that each asks once, when it is made.
    """

    run_id: str = ""
    """The run that answered last; "" before the first answer."""

    def greet(self, connection: Any) -> None:
        """What a new connection does first."""
        connection.on_connect()
        connection.send_command("INFO", "server", check_health=False)
        try:
            found = re.search(rb"run_id:(\w+)", connection.read_response(disable_decoding=True))
        except ResponseError:  # a user who may not ask: all runs are one to them
            found = None
        self.run_id = found[1].decode() if found else ""


def connect(url: str, *, reply_seconds: float | None = REPLY_SECONDS) -> Client:
    """A client for `url` (redis://, rediss:// or unix://); connects when first used."""
    made = Client.from_url(
        url,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=reply_seconds,
        # a unix socket has no keep-alive, and its connection class refuses the word
        **({} if url.startswith("unix:") else {"socket_keepalive": True}),
        health_check_interval=30,
        retry=_Once(),
    )
    client = cast("Client", made)  # redis-py declares its own class, and makes ours
    client.connection_pool.connection_kwargs["redis_connect_func"] = client.greet
    return client


def init_redis(app: Flask) -> None:
    """Give the app its client; nothing is sent yet."""
    app.extensions["embudo_redis"] = connect(app.config["REDIS_URL"])


def redis() -> Any:
    """The current app's client."""
    return current_app.extensions["embudo_redis"]
