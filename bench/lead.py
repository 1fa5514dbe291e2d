"""GET /leads/{id} from the cache, against a bare Flask that passes on what Redis holds."""

from __future__ import annotations

import json
import urllib.request

from bench.harness import (
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
ROUNDS = 3

WRK_SCRIPT = """
wrk.headers["Authorization"] = "Bearer %s"
done = function(summary, latency, requests)
  io.write(string.format('REPORT {"rate": %%f, "p99": %%f, "bad": %%d}', summary.requests / summary.duration * 1e6,
    latency:percentile(99) / 1000, summary.errors.status + summary.errors.read + summary.errors.timeout))
end
"""

LEAD = {
    "name": "Ana Ruiz",
    "company": "Azulejos Ruiz",
    "email": "ana.ruiz@example.com",
    "phone": "+34600000001",
    "notes": "Quiere 40 m² de azulejo para un baño.",
    "tags": ["baño", "urgente"],
}


def _lead(made: Installation, key: str) -> str:
    """The id of a new lead that the cache holds."""
    lead_id = str(json.loads(_ask(made, "/leads", key, json.dumps(LEAD).encode()))["id"])
    _ask(made, f"/leads/{lead_id}", key)
    return lead_id


def _ask(made: Installation, path: str, key: str, body: bytes | None = None) -> bytes:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(made.url + path, data=body, headers=headers)  # noqa: S310 (our own loopback)
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        found: bytes = answer.read()
    return found


def run() -> list[Result]:
    """Alternate floor and product, so that a noisy neighbour hits both; the medians count."""
    with installation(API_RATE_PER_SECOND="100000", API_BURST="100000") as made:
        made.start("web")
        key = made.flask("api-key", "bench", "--scope", "all").split()[-1]
        lead_id = _lead(made, key)
        script = made.folder / "get.lua"
        script.write_text(WRK_SCRIPT % key)
        floor_port = free_port()
        floors, ours, p99 = [], [], []
        with process(
            *gunicorn("bench.floor_lead:app", floor_port),
            env={**made.env, "FLOOR_KEY": f"embudo:cache:lead:{lead_id}"},
            log=made.log,
        ):
            await_url(f"http://127.0.0.1:{floor_port}/readyz", made.log)
            for _ in range(ROUNDS):
                rate, _slow, bad = wrk(f"http://127.0.0.1:{floor_port}/leads/{lead_id}", script)
                expect_no(bad, "floor")
                floors.append(rate)
                rate, slow, bad = wrk(f"{made.url}/leads/{lead_id}", script)
                expect_no(bad, "GET /leads/{id}")
                ours.append(rate)
                p99.append(slow)
    value, floor = sorted(ours)[ROUNDS // 2], sorted(floors)[ROUNDS // 2]
    return [
        Result(
            name="GET /leads/{id} from the cache",
            value=f"{value:,.0f} requests/s, p99 {min(p99):.0f} ms",
            floor=f"Flask + Redis GET {floor:,.0f} requests/s",
            ratio=value / floor,
            target=TARGET,
        )
    ]
