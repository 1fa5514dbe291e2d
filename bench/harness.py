"""A whole installation for a benchmark: own PostgreSQL database, own Redis, own processes, removed afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.kit.redis_server import ensure
from tests.fakes.ports import free_port
from tests.journeys.processes import (
    ROOT,
    await_url,
    commands,
    empty_database,
    flask,
    gunicorn,
    process,
)

__all__ = ["ROOT", "await_url", "free_port", "gunicorn", "process"]

SERVER = os.environ.get("BENCH_DATABASE", "postgresql://postgres@127.0.0.1:5432/postgres")
"""A PostgreSQL server where databases may be made."""

SECRET = "a secret of the benchmarks, of no use to anybody"  # noqa: S105
APP_SECRET = "an app secret of the benchmarks"  # noqa: S105
PHONE_NUMBER_ID = "106540352242922"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One line of the report. target is what the ratio must reach (or, with at_most, may not exceed)."""

    name: str
    value: str
    floor: str
    ratio: float
    target: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        verdict = "met" if self.met else "MISSED"
        return f"{self.name}: {self.value}; {self.floor}; {self.ratio:.2f} (target {sign} {self.target:g}) {verdict}"


@dataclass
class Installation:
    """Embudo as it runs in production, on loopback."""

    folder: Path
    env: dict[str, str]
    port: int
    pids: dict[str, int] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        """Where the web answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What the processes say."""
        return self.folder / "log"

    def flask(self, *words: str) -> str:
        """Run ``flask ops …`` and return what it prints."""
        return flask(self.env, *words)

    def start(self, name: str) -> None:
        """Start web, worker or relay."""
        started = self.stack.enter_context(process(*commands(self.port)[name], env=self.env, log=self.log))
        self.pids[name] = started.pid
        if name == "web":
            await_url(f"{self.url}/readyz", self.log)


@contextmanager
def installation(**extra: str) -> Iterator[Installation]:
    """A set-up installation on PostgreSQL without running processes."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="embudo-bench-")))
        redis = ensure(folder / "redis", environ={"PATH": os.environ["PATH"]})
        stack.callback(redis.stop)
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "EMBUDO_INSTANCE": str(folder / "instance"),
            "DATABASE_URL": stack.enter_context(empty_database(SERVER, "embudo_bench")),
            "REDIS_URL": redis.url,
            "SECRET_KEY": SECRET,
            "META_APP_SECRET": APP_SECRET,
            "META_ACCESS_TOKEN": "a token of the benchmarks",
            "META_VERIFY_TOKEN": "a verify token of the benchmarks",
            "META_PHONE_NUMBER_ID": PHONE_NUMBER_ID,
            "LOG_LEVEL": "INFO",
            **extra,
        }
        made = Installation(folder=folder, env=env, port=free_port())
        if redis.process is not None:
            made.pids["redis"] = redis.process.pid
        made.flask("setup")
        with made.stack:
            yield made


def wrk(url: str, script: Path, *, connections: int = 16, seconds: int = 8) -> tuple[float, float, int]:
    """(requests/s, p99 milliseconds, answers that were not 2xx) of wrk driving `url`."""
    program = shutil.which("wrk")
    if program is None:
        raise RuntimeError("wrk is missing; Debian: apt install wrk")
    done = subprocess.run(
        [program, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    report = json.loads(done.stdout.rpartition("REPORT ")[2])
    return report["rate"], report["p99"], report["bad"]


def expect_no(bad: int, what: str) -> None:
    """A benchmark of refusals is none: raises RuntimeError when `bad` answers were not 2xx."""
    if bad:
        raise RuntimeError(f"{what}: {bad} answers were not 2xx")


def rss_and_pss(pid: int) -> tuple[int, int]:
    """(sum of RSS, sum of PSS) of a process and its descendants, bytes."""
    import psutil

    total_rss = total_pss = 0
    root = psutil.Process(pid)
    for member in (root, *root.children(recursive=True)):
        info = member.memory_full_info()
        total_rss += info.rss
        total_pss += getattr(info, "pss", info.rss)
    return total_rss, total_pss
