"""POST /message through the gateway to independent services, against the monolith without a gateway.

Both run their web processes only, as in bench/acknowledge.py: what is measured is the way in.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.acknowledge import BODIES, script, write_bodies
from bench.harness import APP_SECRET, PHONE_NUMBER_ID, SERVER, Result, expect_no, wrk
from tests.fakes.gateway import Gateway
from tests.fakes.meta_server import MetaServer
from tests.fakes.smtp_server import smtp_server
from tests.fakes.twilio_server import TwilioServer
from tests.journeys.installation import SERVICES, Installation, installation

TARGET = 0.7
ROUNDS = 3

UNLIMITED = {
    "GATEWAY_RATE_KEY": "100000r/s",
    "GATEWAY_RATE_ADDRESS": "100000r/s",
    "GATEWAY_RATE_CALLBACK": "100000r/s",
}
"""All load comes from one address."""


def run() -> list[Result]:
    """Alternate the two, so that a noisy neighbour hits both; the medians count."""
    with tempfile.TemporaryDirectory(prefix="embudo-bench-") as name, _installed("monolith") as monolith:
        folder = Path(name)
        write_bodies(folder)
        with (
            _installed("services") as split,
            Gateway(
                {service: [f"127.0.0.1:{split.of(service).port}"] for service in SERVICES}, **UNLIMITED
            ) as door,
        ):
            rates: dict[str, list[float]] = {monolith.of("whatsapp").url: [], door.url: []}
            slowest: dict[str, list[float]] = {url: [] for url in rates}
            for number in range(ROUNDS):
                for url, measured in rates.items():
                    rate, p99, bad = wrk(f"{url}/message", script(folder, number * BODIES // ROUNDS))
                    expect_no(bad, f"POST {url}/message")
                    measured.append(rate)
                    slowest[url].append(p99)
            floor, value = (sorted(found)[ROUNDS // 2] for found in rates.values())
            p99 = min(slowest[door.url])
    return [
        Result(
            name="POST /message through the gateway to independent services",
            value=f"{value:,.0f} requests/s, p99 {p99:.0f} ms",
            floor=f"monolith without gateway {floor:,.0f} requests/s",
            ratio=value / floor,
            target=TARGET,
        )
    ]


@contextmanager
def _installed(topology: str) -> Iterator[Installation]:
    with (
        tempfile.TemporaryDirectory(prefix="embudo-bench-") as folder,
        MetaServer() as meta,
        TwilioServer() as twilio,
        smtp_server() as mail,
        installation(
            topology,
            Path(folder),
            postgresql=SERVER,
            meta=meta,
            twilio=twilio,
            mail=mail,
            META_APP_SECRET=APP_SECRET,
            META_PHONE_NUMBER_ID=PHONE_NUMBER_ID,
            TRUSTED_PROXIES="1" if topology == "services" else "0",
            WEB_CONCURRENCY="2",
        ) as made,
    ):
        made.kill("worker", "relay")
        yield made
