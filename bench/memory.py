"""What the whole product holds in memory while nothing happens."""

from __future__ import annotations

import time
import urllib.request

from bench.harness import Result, installation, rss_and_pss

TARGET_MB = 450.0


def run() -> list[Result]:
    """Web, worker, relay and Redis after their first requests, idle."""
    with installation() as made:
        for name in ("web", "worker", "relay"):
            made.start(name)
        for _ in range(40):
            urllib.request.urlopen(f"{made.url}/login/", timeout=10).read()  # noqa: S310
        time.sleep(6)  # two sweeps of the relay
        sums = {name: rss_and_pss(pid) for name, pid in made.pids.items()}
    pss = sum(item[1] for item in sums.values()) / 1e6
    rss = sum(item[0] for item in sums.values()) / 1e6
    parts = ", ".join(f"{name} {item[1] / 1e6:.0f}" for name, item in sums.items())
    return [
        Result(
            name="memory of web + worker + relay + Redis, idle",
            value=f"{pss:.0f} MB ({parts}; RSS counting shared pages again: {rss:.0f})",
            floor=f"limit {TARGET_MB:.0f} MB",
            ratio=pss / TARGET_MB,
            target=1.0,
            at_most=True,
        )
    ]


if __name__ == "__main__":
    for line in run():
        print(line)
