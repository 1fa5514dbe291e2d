"""The product's processes as a platform would run them: started by their commands, killed like anything else.

Shared by the journeys and the benchmarks, so that both measure the same thing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import psutil
import psycopg
from psycopg import sql

ROOT = Path(__file__).resolve().parents[2]

OPS_SECONDS = 180
"""How long a command may take, on a busy machine too."""

STOP_SECONDS = 25
"""Longer than gunicorn and the worker take for what is under way."""


def gunicorn(app: str, port: int) -> tuple[str, ...]:
    """The web server as the Procfile starts it."""
    return (
        sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "--bind", f"127.0.0.1:{port}", app,
    )  # fmt: skip


def commands(port: int) -> dict[str, tuple[str, ...]]:
    """The parts of the Procfile that run for ever."""
    return {
        "web": gunicorn("wsgi:app", port),
        "worker": (sys.executable, "worker.py"),
        "relay": (sys.executable, "worker.py", "relay"),
    }


class Started(Protocol):
    """A running process, as subprocess.Popen and the nursery give it."""

    pid: int

    def poll(self) -> int | None:
        """The exit status, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once it has ended."""


Launch = Callable[..., Started]
"""Starts ``(command, env=…, log=…)`` as a process group of its own."""


def launch(command: Sequence[str], *, env: Mapping[str, str], log: Path) -> Started:
    """Start a command as anybody would."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command, cwd=ROOT, env=dict(env), stdout=output, stderr=output, start_new_session=True
        )


class Program:
    """A process group of ours. log: what it says is added there. launch: how it is started."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], log: Path, launch: Launch = launch
    ) -> None:
        self.launch = launch
        self.command = tuple(command)
        self.env = dict(env)
        self.log = log
        self._process: Started | None = None

    @property
    def pid(self) -> int:
        """Process id of the parent, which is also the group's."""
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self, *more: str) -> None:
        """Start it, with further arguments; does nothing when it runs."""
        if self.alive():
            return
        self._process = self.launch([*self.command, *more], env=self.env, log=self.log)

    def alive(self) -> bool:
        """Whether the parent runs."""
        return self._process is not None and self._process.poll() is None

    def children(self) -> list[psutil.Process]:
        """The processes that it started."""
        return psutil.Process(self.pid).children(recursive=True)

    def kill_children(self, port: int) -> None:
        """kill -9 of those children that talk to a port here; the parent is to start them again."""
        held = [
            child
            for child in self.children()
            if any(peer.raddr and peer.raddr.port == port for peer in child.net_connections("tcp"))
        ]
        assert held, f"no child of {' '.join(self.command)} is connected to port {port}"
        for child in held:
            child.kill()

    def kill(self) -> None:
        """kill -9 of all of it, as when a machine dies."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def kill_parent(self) -> None:
        """kill -9 of the parent alone."""
        assert self._process is not None
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait()

    def heeds_sigterm(self) -> bool:
        """Whether the parent has come so far that SIGTERM asks it to end; before, it just dies of it."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    def terminate(self, *, everybody: bool = False) -> None:
        """SIGTERM to the parent alone, as Kubernetes does, or to everybody and twice, as Heroku may."""
        if not everybody:
            os.kill(self.pid, signal.SIGTERM)
            return
        for _ in range(2):
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGTERM)

    def ended(self) -> int:
        """The exit status, once it has ended by itself; raises subprocess.TimeoutExpired."""
        assert self._process is not None
        return self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """SIGTERM to all of it, and SIGKILL to what does not listen."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def process(*command: str, env: Mapping[str, str], log: Path) -> Iterator[Program]:
    """A program that runs while the block does."""
    program = Program(command, env=env, log=log)
    program.start()
    try:
        yield program
    finally:
        program.stop()


def flask(env: Mapping[str, str], *words: str, launch: Launch = launch) -> str:
    """Run ``flask ops …`` and return what it prints."""
    with tempfile.TemporaryDirectory(prefix="embudo-ops-") as folder:
        output = Path(folder) / "output"
        status = launch([sys.executable, "-m", "flask", "ops", *words], env=env, log=output).wait(OPS_SECONDS)
        said = output.read_text()
    if status:
        raise RuntimeError(said[-3000:])
    return said


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


@contextmanager
def empty_database(server: str, name: str) -> Iterator[str]:
    """URL of a new PostgreSQL database on `server` (postgresql://…/postgres), dropped afterwards."""
    name = f"{name}_{os.getpid()}_{time.monotonic_ns() % 100_000}"
    identifier = sql.Identifier(name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))
