"""A supervisor with small programs instead of ours, run by the tests as a process of its own.

``python -m tests.ops.installation FOLDER PROGRAM…`` — each program writes its process id into FOLDER/NAME.pid at each
start and what it does into FOLDER/events, one line per event.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import tests.ops.bare  # noqa: F401 (comes before the next imports)
from app.kit.redis_server import ensure
from app.kit.supervisor import Program, Supervisor


def main(folder: Path, names: list[str]) -> None:
    supervisor = Supervisor(redis=lambda: ensure(folder, environ={"PATH": os.environ["PATH"]}))
    supervisor.open()
    note(folder, "redis", "started")
    try:
        supervisor.run([Program(name=name, body=BODIES.get(name, steady)(folder, name)) for name in names])
    finally:
        supervisor.close()
        assert supervisor.redis is not None
        note(folder, "redis", "stopped" if not supervisor.redis.alive() else "left alive")


def note(folder: Path, name: str, what: str) -> None:
    with (folder / "events").open("a") as file:
        file.write(f"{name} {what}\n")


def _begin(folder: Path, name: str) -> None:
    note(folder, name, "started")
    temporary = folder / f"{name}.{os.getpid()}"
    temporary.write_text(str(os.getpid()))
    temporary.rename(folder / f"{name}.pid")


def steady(folder: Path, name: str) -> Callable[[], None]:
    """Works until SIGTERM, then stops properly."""

    def body() -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        try:
            _begin(folder, name)
            print("hello from", name)
            while True:
                signal.pause()
        finally:
            note(folder, name, "stopped")

    return body


def hasty(folder: Path, name: str) -> Callable[[], None]:
    """Dies at once at its first two starts."""

    def body() -> None:
        starts = (folder / "events").read_text().count(f"{name} started")
        if starts < 2:
            note(folder, name, "started")
            sys.exit("I give up")
        steady(folder, name)()

    return body


def parent(folder: Path, name: str) -> Callable[[], None]:
    """Starts a process of its own, as web servers do."""

    def body() -> None:
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        (folder / "grandchild.pid").write_text(str(child.pid))
        steady(folder, name)()

    return body


def stubborn(folder: Path, name: str) -> Callable[[], None]:
    """Does not hear SIGTERM."""

    def body() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _begin(folder, name)
        while True:
            time.sleep(60)

    return body


BODIES = {"hasty": hasty, "parent": parent, "stubborn": stubborn}

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
