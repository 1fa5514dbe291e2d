"""How many webhooks a second one worker delivers to a sink on loopback, recorded durably on PostgreSQL."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import requests
import sqlalchemy as sa

from bench.harness import Installation, Result, free_port, installation, process

TARGET_RATE = 200
"""Deliveries a second that one worker must reach."""

MESSAGES = 3_000
ENDPOINTS = 10
PATIENCE = 120.0

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"


class _Sink(asyncio.Protocol):
    """Takes every POST at once."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.read = b""

    def data_received(self, data: bytes) -> None:
        self.read += data
        while b"\r\n\r\n" in self.read:
            head, _, rest = self.read.partition(b"\r\n\r\n")
            length = next(
                (
                    int(line[15:])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ),
                0,
            )
            if len(rest) < length:
                return
            self.read = rest[length:]
            self.transport.write(ANSWER)


def sink(port: int) -> None:
    """Run the sink for ever."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Sink, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(serve())


def _fill(made: Installation, port: int, endpoints: int) -> None:
    """Add endpoints, and events that together make MESSAGES deliveries."""
    from app import create_app
    from app.contracts.events import LeadCreated
    from app.kit import db
    from app.webhooks import commands
    from config import Config

    app = create_app(Config.from_env({**made.env, "LOG_LEVEL": "ERROR"}), role="cli")
    with app.app_context():
        with db.transaction():
            for number in range(endpoints):
                url = f"http://127.0.0.1:{port}/{number}"
                commands.create_endpoint({"url": url, "events": ["lead.*"]}, by="bench")
        with db.transaction():
            for number in range(MESSAGES // endpoints):
                event = LeadCreated(
                    lead_id=db.new_id(), lead_name=f"Lucía {number}", email=f"lucia{number}@example.com",
                    phone="+34600123456", company="Olivar S.L.", source="bench", language="es", stage="new",
                )  # fmt: skip
                commands.queue_event(event, event_id=db.new_id(), at=datetime.now(UTC))
        db.db.session.remove()
    db.dispose_engines(app)


def _rate(made: Installation) -> float:
    """Deliveries a second, from the first call to the last."""
    engine = sa.create_engine(made.env["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"))
    pending = sa.text("SELECT count(*) FROM webhooks_delivery WHERE status = 'pending'")
    ends = time.monotonic() + PATIENCE
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while connection.scalar(pending):
            if time.monotonic() > ends:
                raise RuntimeError(f"not all was delivered:\n{made.log.read_text()[-3000:]}")
            time.sleep(0.2)
        count, failed, first, last = connection.execute(
            sa.text("SELECT count(*), count(error), min(at), max(at) FROM webhooks_attempt")
        ).one()
    engine.dispose()
    if failed or count != MESSAGES:
        raise RuntimeError(f"{count} calls, {failed} of them failed; {MESSAGES} were wanted")
    return float(count / (last - first).total_seconds())


def _bare(port: int) -> float:
    """Requests a second of sixteen threads that only post, with nothing signed, guarded or recorded."""
    local = threading.local()

    def post(_number: int) -> None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        local.session.post(f"http://127.0.0.1:{port}/", data=b"x" * 400, timeout=5)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(post, range(200)))
        started = time.monotonic()
        list(pool.map(post, range(MESSAGES)))
        return MESSAGES / (time.monotonic() - started)


def _await_port(port: int) -> None:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the sink does not listen")


def _measure(endpoints: int) -> Result:
    port = free_port()
    with installation(WEBHOOKS_ALLOW_PRIVATE="127.0.0.1", WORKER_PROCESSES="1") as made:
        _fill(made, port, endpoints)
        command = (sys.executable, "-c", f"from bench.webhooks import sink; sink({port})")
        with process(*command, env=made.env, log=made.log):
            _await_port(port)
            bare = _bare(port)
            made.start("worker")
            made.start("relay")
            rate = _rate(made)
    return Result(
        name=f"Webhooks delivered by one worker, {endpoints} endpoint{'s' if endpoints > 1 else ''}",
        value=f"{rate:,.0f}/s",
        floor=f"wanted {TARGET_RATE}/s (bare requests.post in 16 threads: {bare:,.0f}/s)",
        ratio=rate / TARGET_RATE,
        target=1.0,
    )


def run() -> list[Result]:
    """One endpoint, to which only two calls go at a time, and several."""
    return [_measure(1), _measure(ENDPOINTS)]


if __name__ == "__main__":
    for line in run():
        print(line)
