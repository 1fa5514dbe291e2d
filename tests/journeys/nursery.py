"""Starts processes without importing the same libraries for seconds each time: they are forked from one that has them.

``flask ops up`` starts its parts in the same way. What is loaded beforehand are libraries, the kit and the admin frame;
each process still loads the services it serves, and only those. When the tests die, all that was started here dies.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

ANSWER_SECONDS = 60.0
"""How long the nursery may import before it starts the first process."""


class Child:
    """A process that the nursery started; speaks like subprocess.Popen."""

    def __init__(self, pid: int, ended: threading.Condition, statuses: Mapping[int, int]) -> None:
        self.pid = pid
        self._ended = ended
        self._statuses = statuses

    def poll(self) -> int | None:
        """The exit status (negative: the signal), None while it runs."""
        return self._statuses.get(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once it has ended; raises subprocess.TimeoutExpired."""
        with self._ended:
            if not self._ended.wait_for(lambda: self.poll() is not None, timeout):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return self._statuses[self.pid]


class Nursery:
    """The process that forks; ends with everything it started."""

    def __init__(self, root: Path) -> None:
        self._statuses: dict[int, int] = {}
        self._ended = threading.Condition()
        self._started: list[int] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.journeys.nursery"],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def launch(self, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> Child:
        """Run a command of `processes.commands`, or ``python -m MODULE …``, as a process group of its own."""
        assert self._process.stdin is not None
        order = {"command": list(command), "env": dict(env), "log": str(log)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        with self._ended:
            if not self._ended.wait_for(lambda: bool(self._started), ANSWER_SECONDS):
                raise RuntimeError("the nursery starts nothing")
            return Child(self._started.pop(), self._ended, self._statuses)

    def close(self) -> None:
        """End it; whatever still runs is killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._listener.join()
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            with self._ended:
                if "status" in told:
                    self._statuses[told["pid"]] = told["status"]
                else:
                    self._started.append(told["pid"])
                self._ended.notify_all()


def main() -> None:
    """Fork for each line on stdin, tell of each death on stdout, until stdin ends."""
    _load()
    living: set[int] = set()

    def bury(*_: object) -> None:
        while living:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            living.discard(pid)
            _tell(pid=pid, status=os.waitstatus_to_exitcode(status))

    signal.signal(signal.SIGCHLD, bury)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal: the tests decide
    for line in sys.stdin:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if not pid:
            _become(**json.loads(line))
        living.add(pid)
        _tell(pid=pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    for pid in list(living):
        os.killpg(pid, signal.SIGKILL)


def _load() -> None:
    """Import what takes long and belongs to no service."""
    # ruff: noqa: F401 (forked, and used by the children)
    import css_inline
    import gunicorn.app.wsgiapp
    import inscriptis
    import mrml
    import phonenumbers
    import psycopg
    import twilio.rest

    import app


def _tell(**fields: Any) -> None:
    os.write(1, json.dumps(fields).encode() + b"\n")


def _become(command: list[str], env: dict[str, str], log: str) -> NoReturn:
    """In the child: turn into the program, as ``python …`` would."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        for target, (path, flags) in enumerate(
            ((os.devnull, os.O_RDONLY), (log, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
        ):
            os.dup2(os.open(path, flags, 0o600), target)
        os.dup2(1, 2)
        os.closerange(3, 256)
        os.environ.clear()
        os.environ.update(env)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 (for the life of the process)
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        _python(command[1:])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _python(arguments: list[str]) -> None:
    """What the interpreter does with its arguments."""
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main()
