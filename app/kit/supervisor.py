"""All processes of an installation under one parent, for machines that have no process manager.

The parent has the application loaded and forks everything from itself: a child is ready without importing anything
again and shares the parent's memory. The parent runs no threads and opens no database, so forking it is safe.

Nothing outlives it: it stops the children in order and Redis last, and when it is killed itself the kernel tells
the children (Linux; elsewhere they have to be ended by hand after a kill -9).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, TextIO

from app.kit.ending import end_with_parent
from app.kit.redis_server import NoRedis, RedisServer

STOP_SECONDS = 20.0
"""How long children may finish what they do after SIGTERM before they are killed."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a child that died is started again: doubled each time, between these two."""

STEADY_SECONDS = 60.0
"""A child that ran this long is healthy; its next death is a first one."""

PULSE_SECONDS = 0.25
"""Longest time between two looks at what is due (restarts, readiness, Redis)."""

COLOURS = (36, 35, 32, 33, 34)
"""ANSI foreground colours, one per child in turn."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A part to run: `body` is called in a process of its own named `name`; when it returns, the process ends."""

    name: str
    body: Callable[[], object]


@dataclass
class _Child:
    program: Program
    colour: int
    pid: int | None = None
    pipe: int | None = None
    rest: bytes = b""
    started: float = 0.0
    pause: float = FIRST_PAUSE
    start_at: float | None = None
    status: int | None = None
    lines: list[str] = field(default_factory=list)


class Supervisor:
    """Starts programs, keeps them running, shows what they say, and ends them.

    `redis` is asked for a server before anything starts and again whenever the server is gone.
    """

    def __init__(self, *, redis: Callable[[], RedisServer], output: TextIO | None = None) -> None:
        self.find_redis = redis
        self.output = output or sys.stdout
        self.coloured = self.output.isatty() and "NO_COLOR" not in os.environ
        self.children: dict[str, _Child] = {}
        self.redis: RedisServer | None = None
        self.redis_at = 0.0
        self.stops = 0
        self._poll = select.poll()
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
        self._poll.register(self._wake, select.POLLIN)

    def open(self) -> None:
        """Take over the signals and get Redis; raises NoRedis."""
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler its arrival would not wake us
        self.redis = self.find_redis()

    def run_once(self, program: Program) -> tuple[int, list[str]]:
        """Run a program to its end; its exit status and the lines it printed, which are not shown."""
        child = _Child(program, COLOURS[0])
        self._start(child)
        while child.status is None and self.stops < 2:
            self._look([child], show=False)
        return child.status if child.status is not None else 1, child.lines

    def run(self, programs: Sequence[Program], *, pulse: Callable[[], None] = lambda: None) -> None:
        """Keep the programs running until a signal says to stop; `pulse` is called a few times a second."""
        for number, program in enumerate(programs):
            child = _Child(program, COLOURS[number % len(COLOURS)])
            self.children[program.name] = child
            if not self.stops:
                self._start(child)
        while not self.stops:
            self._look(list(self.children.values()))
            self._mend()
            pulse()

    def close(self) -> None:
        """End the programs, then Redis. Safe to call in any state."""
        living = [child for child in self.children.values() if child.pid is not None]
        if living:
            self.say(f"stopping {', '.join(child.program.name for child in living)} …")
        for child in living:
            _send(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(child.pid is not None for child in living):
            self._look(living)
            if time.monotonic() > deadline or self.stops > 1:
                for child in living:
                    if child.pid is not None:
                        self.say(f"{child.program.name} does not stop, killing it")
                        _send_group(child.pid, signal.SIGKILL)
                deadline = time.monotonic() + STOP_SECONDS
                self.stops = min(self.stops, 1)
        if self.redis is not None:
            self.redis.stop()

    def say(self, text: str, *, name: str = "embudo", colour: int = 1) -> None:
        """Print lines under a name."""
        for line in text.splitlines():
            label = f"{name:<7}|"
            shown = f"\x1b[{colour}m{label}\x1b[0m" if self.coloured else label
            with contextlib.suppress(OSError, ValueError):  # a closed terminal is no reason to fail
                print(shown, line, file=self.output, flush=True)

    def _on_stop(self, _number: int, _frame: object) -> None:
        self.stops += 1

    def _start(self, child: _Child) -> None:
        ours, theirs = os.pipe()
        parent = os.getpid()
        self.output.flush()
        pid = os.fork()
        if not pid:
            _become(child.program, parent, theirs)
        with contextlib.suppress(OSError):  # the child does the same; whoever comes first
            os.setpgid(pid, pid)
        os.close(theirs)
        os.set_blocking(ours, False)
        self._poll.register(ours, select.POLLIN)
        child.pid, child.pipe, child.started = pid, ours, time.monotonic()
        child.status = child.start_at = None

    def _look(self, children: Sequence[_Child], *, show: bool = True) -> None:
        """Wait a little for output, signals and deaths, and take note of them."""
        self._poll.poll(PULSE_SECONDS * 1000)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        for child in children:
            self._read(child, show=show)
            if child.pid is None:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._read(child, show=show)
                self._bury(child, os.waitstatus_to_exitcode(status))

    def _read(self, child: _Child, *, show: bool) -> None:
        while child.pipe is not None:
            try:
                data = os.read(child.pipe, 65536)
            except BlockingIOError:
                break
            if not data:
                self._close_pipe(child)
                break
            *lines, child.rest = (child.rest + data).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace")
                if show:
                    self.say(text, name=child.program.name, colour=child.colour)
                else:
                    child.lines.append(text)

    def _close_pipe(self, child: _Child) -> None:
        if child.pipe is not None:
            self._poll.unregister(child.pipe)
            os.close(child.pipe)
            child.pipe = None

    def _bury(self, child: _Child, status: int) -> None:
        assert child.pid is not None
        _send_group(child.pid, signal.SIGKILL)  # what it left behind would run beside its successor
        self._close_pipe(child)
        if child.rest:
            child.lines.append(child.rest.decode(errors="replace"))
            child.rest = b""
        child.pid, child.status = None, status
        if child.program.name not in self.children or self.stops:
            return
        now = time.monotonic()
        if now - child.started >= STEADY_SECONDS:
            child.pause = FIRST_PAUSE
        child.start_at = now + child.pause
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        self.say(f"{child.program.name} {how}; starting it again in {child.pause:g} s")
        child.pause = min(child.pause * 2, LONGEST_PAUSE)

    def _mend(self) -> None:
        """Start again what died and has waited long enough."""
        now = time.monotonic()
        if (
            self.redis is not None
            and self.redis.pid is not None
            and now >= self.redis_at
            and not self.redis.alive()
        ):
            self.redis_at = now + 2.0
            self.say("redis is gone, starting it again")
            try:
                self.redis = self.find_redis()
            except NoRedis as error:
                self.say(str(error))
        for child in self.children.values():
            if child.start_at is not None and now >= child.start_at and not self.stops:
                self._start(child)


def _become(program: Program, parent: int, output: int) -> NoReturn:
    """In the forked child: turn into the program."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setpgid(0, 0)  # a terminal's Ctrl-C is for the parent, which tells us in its order
        end_with_parent(parent, signal.SIGTERM)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, output), (2, output)):
            os.dup2(source, target)
        # The siblings' pipes and the parent's locks are none of our business.
        os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), 65_536))
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 (for the life of the process)
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        program.body()
        status = 0
    except SystemExit as end:
        if isinstance(end.code, int) or end.code is None:
            status = end.code or 0
        else:
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 (whatever it is, this process ends here)
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _pipe() -> tuple[int, int]:
    """pipe2() for systems without it."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def _send(pid: int | None, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, number)


def _send_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
