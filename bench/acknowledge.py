"""How many webhooks a second are acknowledged durably, against the floor of bench/floor.py."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from pathlib import Path

import sqlalchemy as sa

from bench.harness import (
    APP_SECRET,
    PHONE_NUMBER_ID,
    Installation,
    Result,
    await_url,
    expect_no,
    free_port,
    gunicorn,
    installation,
    process,
    wrk,
)

TARGET = 0.6
BODIES = 60_000
ROUNDS = 3

WRK_SCRIPT = """
local bodies, signatures = {}, {}
for line in io.lines("%s") do
  signatures[#signatures + 1] = line:sub(1, 71)
  bodies[#bodies + 1] = line:sub(73)
end
local at = %d
request = function()
  at = at %% #bodies + 1
  return wrk.format("POST", "/message", {
    ["Content-Type"] = "application/json", ["X-Hub-Signature-256"] = signatures[at] }, bodies[at])
end
done = function(summary, latency, requests)
  io.write(string.format('REPORT {"rate": %%f, "p99": %%f, "bad": %%d}', summary.requests / summary.duration * 1e6,
    latency:percentile(99) / 1000, summary.errors.status + summary.errors.read + summary.errors.timeout))
end
"""


def webhook(number: int, text: str = "Hola, quiero información 😊") -> bytes:
    """A Meta webhook with one text message; every number is another person and message."""
    user = f"34600{number:07d}"
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "34911234567", "phone_number_id": PHONE_NUMBER_ID},
        "contacts": [{"profile": {"name": "Ana"}, "wa_id": user}],
        "messages": [
            {
                "from": user,
                "id": f"wamid.{time.time_ns()}{number}",
                "timestamp": str(int(time.time())),
                "type": "text",
                "text": {"body": text},
            }
        ],
    }
    entry = {"id": "8856996819413533", "changes": [{"value": value, "field": "messages"}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}, ensure_ascii=False).encode()


def signature(body: bytes) -> str:
    """As Meta signs it."""
    return "sha256=" + hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()


def script(folder: Path, start: int) -> Path:
    """What wrk runs to send the webhooks of write_bodies(), from the start-th on."""
    path = folder / f"load-{start}.lua"
    path.write_text(WRK_SCRIPT % (folder / "bodies", start))
    return path


def write_bodies(folder: Path) -> None:
    """BODIES signed webhooks, each of another person."""
    with (folder / "bodies").open("wb") as file:
        for number in range(BODIES):
            body = webhook(number)
            file.write(signature(body).encode() + b" " + body + b"\n")


def run() -> list[Result]:
    """Alternate floor and product, so that a noisy neighbour hits both; the best of each round counts."""
    with installation() as made:
        write_bodies(made.folder)
        made.start("web")
        floor_port = free_port()
        with process(*gunicorn("bench.floor:app", floor_port), env=_floor_env(made), log=made.log):
            await_url(f"http://127.0.0.1:{floor_port}/readyz", made.log)
            floors, ours, p99 = [], [], []
            for number in range(ROUNDS):
                start = number * BODIES // ROUNDS
                rate, _, bad = wrk(f"http://127.0.0.1:{floor_port}/message", script(made.folder, start))
                expect_no(bad, "floor")
                floors.append(rate)
                rate, slowest, bad = wrk(f"{made.url}/message", script(made.folder, start))
                expect_no(bad, "POST /message")
                ours.append(rate)
                p99.append(slowest)
    ratio = sorted(ours)[ROUNDS // 2] / sorted(floors)[ROUNDS // 2]
    return [
        Result(
            name="POST /message acknowledged durably on PostgreSQL",
            value=f"{sorted(ours)[ROUNDS // 2]:,.0f} requests/s, p99 {min(p99):.0f} ms",
            floor=f"floor {sorted(floors)[ROUNDS // 2]:,.0f} requests/s",
            ratio=ratio,
            target=TARGET,
        )
    ]


def _floor_env(made: Installation) -> dict[str, str]:
    engine = sa.create_engine(made.env["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE TABLE IF NOT EXISTS floor_webhook (id varchar(36) PRIMARY KEY, digest varchar(64) UNIQUE, "
                "body bytea, received_at timestamptz DEFAULT now())"
            )
        )
    engine.dispose()
    return made.env


if __name__ == "__main__":
    for line in run():
        print(line)
