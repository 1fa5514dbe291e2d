"""Whether the part that runs in this container works; for container engines and probes: exit status 0 or 1.

``healthcheck.py web`` asks the web process over HTTP. ``worker`` and ``relay`` have no port: they leave a heartbeat in
Redis, which is looked up without loading the application. That Redis is gone is no reason to restart a process which
waits for it, so it counts as healthy.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from redis import Redis
from redis.exceptions import RedisError

from config import BINDS, Config

SECONDS = 3.0
"""How long an answer may take."""

RELAY_SECONDS = 60.0
"""Age from which a relay's heartbeat is too old; it beats every two seconds and may wait for a slow database."""

RELAY_KEY = "embudo:relay"
"""Where the relay leaves its heartbeats (app.kit.relay); the workers' are RQ's own."""


def web(port: str) -> bool:
    """It answers that it lives."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def worker(client: Redis, host: str) -> bool:
    """A child of the worker on this machine is registered; RQ lets the entry expire when the child stops beating."""
    for key in client.smembers("rq:workers"):
        found = client.hget(key, "hostname")
        if found is not None and found.decode() == host:
            return True
    return False


def relay(client: Redis, services: tuple[str, ...], now: float) -> bool:
    """It has lately looked after each service that is served here."""
    beats = client.hmget(RELAY_KEY, list(services))
    return all(beat is not None and now - float(beat) < RELAY_SECONDS for beat in beats)


def main(part: str) -> bool:
    """Ask that part."""
    if part == "web":
        return web(os.environ.get("PORT") or "8080")
    config = Config.from_env()
    if config.redis_url is None:
        sys.exit("REDIS_URL is missing: in containers Redis runs in one of its own.")
    client = Redis.from_url(config.redis_url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS)
    try:
        if part == "relay":
            return relay(client, config.services or BINDS[1:], time.time())
        return worker(client, socket.gethostname())
    except RedisError as error:
        sys.stderr.write(f"redis is gone ({type(error).__name__}); this part waits for it\n")
        return True
    finally:
        client.close()


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1] if sys.argv[1:] else "web") else 1)
