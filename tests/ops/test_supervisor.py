"""One parent for everything: real processes, real signals, real Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ops.waiting import gone, wait_for

ROOT = Path(__file__).resolve().parents[2]


class Running:
    """A supervisor that runs, and what can be seen of it from outside."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        self.folder = folder
        self.output = folder / "output"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.ops.installation", str(folder), *names],
                cwd=ROOT,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        for name in names:
            self.pid(name)

    def events(self) -> list[str]:
        path = self.folder / "events"
        return path.read_text().splitlines() if path.exists() else []

    def pid(self, name: str, *, other_than: int = 0) -> int:
        path = self.folder / f"{name}.pid"

        def read() -> int:
            assert self.process.poll() is None, self.output.read_text()
            return int(path.read_text()) if path.exists() and int(path.read_text()) != other_than else 0

        return wait_for(read, f"{name} starts")

    def redis_pid(self) -> int:
        return int((self.folder / "redis.lock").read_text() or 0)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def make(*names: str) -> Running:
        running.append(Running(tmp_path, names))
        return running[-1]

    yield make
    for item in running:
        if item.process.poll() is None:
            item.process.send_signal(signal.SIGTERM)
            item.process.wait(60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_programs_first_and_redis_last(start: Callable[..., Running], number: int) -> None:
    running = start("web", "worker", "relay")
    redis = running.redis_pid()
    assert running.stop(number) == 0
    events = running.events()
    assert sorted(events[-4:-1]) == ["relay stopped", "web stopped", "worker stopped"]
    assert events[-1] == "redis stopped"
    assert gone(redis)


def test_what_the_programs_say_is_shown_under_their_name(start: Callable[..., Running]) -> None:
    running = start("web")
    wait_for(lambda: "web    | hello from web" in running.output.read_text(), "the line is shown")


def test_a_program_that_is_killed_is_started_again(start: Callable[..., Running]) -> None:
    running = start("web", "worker")
    worker, web = running.pid("worker"), running.pid("web")
    os.kill(worker, signal.SIGKILL)
    assert running.pid("worker", other_than=worker)
    assert running.pid("web") == web
    assert "worker was ended by signal 9; starting it again in 1 s" in running.output.read_text()


def test_a_program_that_dies_again_and_again_waits_longer_each_time(start: Callable[..., Running]) -> None:
    running = start("hasty")
    said = running.output.read_text()
    assert "I give up" in said
    assert said.index("starting it again in 1 s") < said.index("starting it again in 2 s")


def test_killing_the_supervisor_leaves_no_orphan(start: Callable[..., Running]) -> None:
    running = start("web", "worker", "relay")
    pids = [running.pid(name) for name in ("web", "worker", "relay")] + [running.redis_pid()]
    running.process.kill()
    running.process.wait()
    for pid in pids:
        wait_for(lambda pid=pid: gone(pid), f"process {pid} ends")  # type: ignore[misc]


def test_what_a_dead_program_had_started_does_not_run_beside_its_successor(
    start: Callable[..., Running],
) -> None:
    running = start("parent")
    parent, child = running.pid("parent"), int((running.folder / "grandchild.pid").read_text())
    os.kill(parent, signal.SIGKILL)
    running.pid("parent", other_than=parent)
    assert gone(child)


def test_a_second_signal_does_not_wait_for_a_program_that_hears_nothing(
    start: Callable[..., Running],
) -> None:
    running = start("stubborn")
    pid = running.pid("stubborn")
    running.process.send_signal(signal.SIGINT)
    wait_for(lambda: "stopping stubborn" in running.output.read_text(), "the supervisor stops")
    assert not gone(pid)
    running.stop(signal.SIGINT)
    assert gone(pid)
    assert running.events()[-1] == "redis stopped"


def test_redis_that_dies_is_started_again_with_its_data(start: Callable[..., Running]) -> None:
    running = start("web")
    first = running.redis_pid()
    os.kill(first, signal.SIGKILL)
    second = wait_for(lambda: pid if (pid := running.redis_pid()) != first else 0, "Redis starts again")
    assert not gone(second)
    assert running.stop() == 0
    assert gone(second)
