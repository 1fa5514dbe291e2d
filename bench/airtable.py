"""2,000 changed leads into Airtable: how close to the pace that the limiter allows, and without one refusal.

Airtable's place is taken by the product's own stand-in, which counts calls as Airtable does (five a second, then half
a minute of 429) and answers as slowly as Airtable. The floor is the limiter alone: the same bucket in the same Redis,
asked for as fast as it gives.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

from bench.harness import Installation, Result, free_port, installation, process

LEADS = 2_000
BATCH = 10
LATENCY_SECONDS = 0.15
"""What a write of ten records takes at Airtable, seen from a server in the same continent."""
FLOOR_SECONDS = 10.0
PATIENCE_SECONDS = 150.0
TOKEN = "patBench.0123456789"  # noqa: S105
TARGET = 0.9

SET_UP = f"""
from wsgi import app
from app.kit.auth import SYSTEM
from app.kit.db import transaction
from app.leads import commands
from app.leads.commands import airtable_settings as settings
from app.leads.jobs.calls import ask, plain_columns
from app.leads.queries import airtable as queries
with app.app_context():
    with transaction():
        row = settings.add_connection(name="bench")
    base = ask(row, "", lambda api: api.bases())[0]
    table = ask(row, base.id, lambda api: api.tables(base.id))[0]
    with transaction():
        settings.choose_table(row.id, base, table, plain_columns(table))
        settings.change_connection(row.id, {{"webhook_wanted": False}})
    for start in range(0, {LEADS}, 100):
        with transaction():
            for number in range(start, start + 100):
                commands.create_lead(
                    {{"name": f"Person {{number}}", "email": f"p{{number}}@example.com", "amount": number}}, by=SYSTEM
                )
    with transaction():
        settings.start(row.id)
"""

FLOOR = f"""
import time
from wsgi import app
from app.kit.resilience import TokenBucket
from app.leads.jobs.calls import BURST, RATE
with app.app_context():
    bucket = TokenBucket(name="bench-floor", rate=RATE, burst=BURST)
    begin, taken = time.monotonic(), 0
    while time.monotonic() - begin < {FLOOR_SECONDS}:
        wait = bucket.take()
        taken += not wait
        time.sleep(wait)
    print((taken - 1) / (time.monotonic() - begin))
"""


def run() -> list[Result]:
    """Set up, start worker and relay, and read what the stand-in saw."""
    port = free_port()
    env = {"AIRTABLE_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AIRTABLE_API_KEY": TOKEN}
    with installation(**env) as made:
        seen = made.folder / "calls.jsonl"
        with process(sys.executable, "-m", "bench.airtable", str(port), env=made.env, log=seen):
            _await(seen)
            _python(made, SET_UP)
            floor = float(_python(made, FLOOR).strip().splitlines()[-1])
            seen_before = len(_calls(seen))
            for name in ("worker", "relay"):
                made.start(name)
            calls = _wait_for_all(seen, seen_before)
    writes = [item for item in calls if item["method"] == "PATCH"]
    refused = sum(item["status"] == 429 for item in calls)
    written = sum(item["records"] for item in writes if item["status"] == 200)
    rate = (len(calls) - 1) / (calls[-1]["at"] - calls[0]["at"])
    return [
        Result(
            name=f"{LEADS} changed leads into Airtable",
            value=f"{rate:.2f} calls/s, {written / (writes[-1]['at'] - writes[0]['at']):.1f} leads/s, "
            f"{written} written in {len(writes)} calls, {refused} refused",
            floor=f"limiter alone {floor:.2f} calls/s",
            ratio=rate / floor if written == LEADS and not refused else 0.0,
            target=TARGET,
        )
    ]


def _python(made: Installation, code: str) -> str:
    import subprocess

    from bench.harness import ROOT

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=made.env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return done.stdout


def _await(log: Path) -> None:
    deadline = time.monotonic() + 20
    while not (log.exists() and "listening" in log.read_text()):
        if time.monotonic() > deadline:
            raise RuntimeError("the stand-in does not start: " + (log.read_text() if log.exists() else ""))
        time.sleep(0.05)


def _calls(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith('{"method"')]


def _wait_for_all(log: Path, before: int) -> list[dict[str, object]]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        calls = _calls(log)[before:]
        if sum(int(item["records"]) for item in calls if item["status"] == 200) >= LEADS:
            return calls
        time.sleep(0.5)
    return _calls(log)[before:]


def serve_stand_in(port: int) -> None:
    """The stand-in as a process that tells of every call on stdout."""
    from app.leads.providers.fake import Answer, Ask, StandIn, Store, serve

    class Slow(StandIn):
        def handle(self, ask: Ask) -> Answer:
            at = time.time()
            answer = super().handle(ask)
            records = len((answer.body or {}).get("records", [])) if ask.method == "PATCH" else 0
            line = {"method": ask.method, "at": at, "status": answer.status, "records": records}
            print(json.dumps(line), flush=True)
            time.sleep(LATENCY_SECONDS)
            return answer

    store = Store()
    store.seed_demo()
    with serve(Slow(store, token=TOKEN), port):
        print(json.dumps({"listening": port}), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve_stand_in(int(sys.argv[1]))
    else:
        for line in run():
            print(line)
