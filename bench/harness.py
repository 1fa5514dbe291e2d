"""A whole installation for a benchmark: own PostgreSQL database, own Redis, own processes, removed afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from app.kit.redis_server import ensure

ROOT = Path(__file__).resolve().parents[1]
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


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def database() -> Iterator[str]:
    """URL of an empty PostgreSQL database, dropped afterwards."""
    name = sql.Identifier(f"embudo_bench_{os.getpid()}_{time.monotonic_ns() % 100_000}")
    with psycopg.connect(SERVER, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
    try:
        yield SERVER.rpartition("/")[0] + "/" + name.as_string(None).strip('"')
    finally:
        with psycopg.connect(SERVER, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@contextmanager
def process(*command: str, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours, ended with its children."""
    with log.open("ab") as output:
        started = subprocess.Popen(  # noqa: S603
            command, cwd=ROOT, env=env, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield started
        finally:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGTERM)
                try:
                    started.wait(25)
                except subprocess.TimeoutExpired:
                    os.killpg(started.pid, signal.SIGKILL)
                    started.wait()


def await_url(url: str, log: Path, seconds: float = 40) -> None:
    """Wait until `url` answers 200; raises RuntimeError with the end of the log."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise RuntimeError(f"{url} does not answer:\n{log.read_text()[-3000:]}")


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
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "flask", "ops", *words],
            cwd=ROOT, env=self.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        return done.stdout

    def start(self, name: str) -> None:
        """Start web, worker or relay."""
        commands = {
            "web": gunicorn("wsgi:app", self.port),
            "worker": (sys.executable, "worker.py"),
            "relay": (sys.executable, "worker.py", "relay"),
        }
        started = self.stack.enter_context(process(*commands[name], env=self.env, log=self.log))
        self.pids[name] = started.pid
        if name == "web":
            await_url(f"{self.url}/readyz", self.log)


def gunicorn(app: str, port: int) -> tuple[str, ...]:
    """The web server as the Procfile starts it."""
    return (
        sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "--bind", f"127.0.0.1:{port}", app,
    )  # fmt: skip


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
            "DATABASE_URL": stack.enter_context(database()),
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
    done = subprocess.run(  # noqa: S603
        [program, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    report = json.loads(done.stdout.rpartition("REPORT ")[2])
    return report["rate"], report["p99"], report["bad"]


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
