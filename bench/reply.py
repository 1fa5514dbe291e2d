"""From an acknowledged message to the reply in the provider's hands, while messages keep arriving."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.acknowledge import signature, webhook
from bench.harness import ROOT, Installation, Result, await_url, free_port, installation, process

PER_SECOND = 20
SECONDS = 20
TARGET_MS = 400.0


def run() -> list[Result]:
    """Send at a steady pace, look at when the loopback provider got each reply."""
    provider = free_port()
    with installation(META_GRAPH_URL=f"http://127.0.0.1:{provider}") as made:
        made.flask("demo")
        _talk_by_default(made)
        received = made.folder / "received.jsonl"
        with process(
            sys.executable,
            "-m",
            "tests.fakes.meta_server",
            "--port",
            str(provider),
            env=made.env,
            log=received,
        ):
            for name in ("web", "worker", "relay"):
                made.start(name)
            await_url(f"{made.url}/readyz", made.log)
            # The first one also waits for worker and relay, and warms caches and connections.
            person, at = _post(made, 9_000_000)
            if not _delays(received, {person: at}, seconds=90):
                raise RuntimeError(f"no reply:\n{made.log.read_text()[-3000:]}")
            acknowledged = _send(made)
            delays = _delays(received, acknowledged)
    p50, p95 = delays[len(delays) // 2], delays[int(len(delays) * 0.95)]
    return [
        Result(
            name=f"acknowledged message to reply at the provider, {PER_SECOND}/s",
            value=f"p95 {p95:.0f} ms, p50 {p50:.0f} ms, {len(delays)} of {len(acknowledged)} answered",
            floor=f"limit {TARGET_MS:.0f} ms",
            ratio=p95 / TARGET_MS if len(delays) == len(acknowledged) else 99.0,
            target=1.0,
            at_most=True,
        )
    ]


def _talk_by_default(made: Installation) -> None:
    code = (
        "from wsgi import app\n"
        "from sqlalchemy import select\n"
        "from app.kit.db import db, transaction\n"
        "from app.whatsapp.models import Channel, Flow\n"
        "with app.app_context(), transaction() as s:\n"
        "    flow = s.scalars(select(Flow)).first()\n"
        "    channel = s.scalars(select(Channel).where(Channel.provider == 'meta')).one()\n"
        "    channel.default_flow_id = flow.id\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=made.env, check=True)


def _post(made: Installation, number: int) -> tuple[str, float]:
    body = webhook(number)
    request = urllib.request.Request(  # noqa: S310
        f"{made.url}/message",
        data=body,
        headers={"Content-Type": "application/json", "X-Hub-Signature-256": signature(body)},
    )
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310
        return f"34600{number:07d}", time.time()


def _send(made: Installation) -> dict[str, float]:
    acknowledged: dict[str, float] = {}
    lock = threading.Lock()

    def one(number: int) -> None:
        person, at = _post(made, number)
        with lock:
            acknowledged[person] = at

    with ThreadPoolExecutor(8) as pool:
        begin = time.monotonic()
        sent = []
        for number in range(PER_SECOND * SECONDS):
            time.sleep(max(0.0, begin + number / PER_SECOND - time.monotonic()))
            sent.append(pool.submit(one, number))
    for item in sent:
        item.result()
    return acknowledged


def _delays(received: Path, acknowledged: dict[str, float], seconds: float = 20) -> list[float]:
    """Milliseconds from acknowledgement to the first reply, per person; waits up to `seconds` for the last."""
    deadline = time.monotonic() + seconds
    first: dict[str, float] = {}
    while time.monotonic() < deadline:
        first = {}
        for line in received.read_text().splitlines():
            if not line.startswith("{"):
                continue
            item = json.loads(line)
            if not item.get("body"):
                continue
            person = str(json.loads(item["body"]).get("to", "")).lstrip("+")
            if person in acknowledged:
                first.setdefault(person, float(item["at"]))
        if len(first) >= len(acknowledged):
            break
        time.sleep(0.2)
    return sorted(max(0.0, (at - acknowledged[person]) * 1000) for person, at in first.items())


if __name__ == "__main__":
    for line in run():
        print(line)
