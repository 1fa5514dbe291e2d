"""One Redis client per process, and the rule that Redis may be gone.

Redis carries doorbells, mail between services, limits and caches. All of it can be made again from the database,
so callers treat RedisError as "later", never as a failure of what they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, current_app
from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer
from redis.retry import Retry

from app.kit.silence import Silence

CONNECT_SECONDS = 2.0
"""How long a request may wait for a connection before Redis counts as gone."""

REPLY_SECONDS = 5.0
"""How long to wait for an answer; blocking commands bring their own limit."""

__all__ = ["RedisError", "connect", "init_redis", "redis"]


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


def connect(url: str, *, reply_seconds: float | None = REPLY_SECONDS) -> Redis:
    """A client for `url` (redis://, rediss:// or unix://); connects when first used."""
    return Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=reply_seconds,
        # a unix socket has no keep-alive, and its connection class refuses the word
        **({} if url.startswith("unix:") else {"socket_keepalive": True}),
        health_check_interval=30,
        retry=_Once(),
    )


def init_redis(app: Flask) -> None:
    """Give the app its client; nothing is sent yet."""
    app.extensions["embudo_redis"] = connect(app.config["REDIS_URL"])


def redis() -> Any:
    """The current app's client."""
    return current_app.extensions["embudo_redis"]
