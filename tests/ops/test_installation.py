"""``flask ops up`` with everything real: what `make run` does once all is installed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.kit.installation import already_running, port_problem
from tests.fakes.ports import free_port
from tests.ops.waiting import gone, wait_for

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


class Up:
    """A running ``flask ops up``."""

    def __init__(self, instance: Path, port: int) -> None:
        self.instance = instance
        self.port = port
        self.output = instance.parent / "output"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flask", "ops", "up"],
                cwd=ROOT,
                env=environment(instance, port),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.output.read_text()

    def ready(self) -> Up:
        def look() -> bool:
            assert self.process.poll() is None, self.said()
            return "Embudo is ready" in self.said()

        wait_for(look, "the installation is ready")
        return self

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def api(self, key: str, path: str, payload: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if payload is None else json.dumps(payload).encode(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 (ours, above)
            return json.loads(answer.read() or b"null")


def environment(instance: Path, port: int, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "EMBUDO_INSTANCE": str(instance), "PORT": str(port), **more}


def ops_up(instance: Path, port: int, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flask", "ops", "up"],
        cwd=ROOT,
        env=environment(instance, port, **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[[], Up]]:
    started: list[Up] = []
    port = free_port()

    def make() -> Up:
        started.append(Up(tmp_path / "instance", port))
        return started[-1]

    yield make
    for item in started:
        if item.process.poll() is None:
            item.stop()


def test_from_nothing_to_a_login_and_back_without_an_orphan(up: Callable[[], Up]) -> None:
    first = up().ready()
    assert re.search(r"user +admin\n.*password +\S{12,}", first.said())
    assert '"status":"ok"' in first.get("/readyz")
    assert "csrf_token" in first.get("/login/")

    second = ops_up(first.instance, first.port)
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout == (
        f"Embudo is already running at http://localhost:{first.port} (pid {first.process.pid}); nothing was changed.\n"
    )

    children = psutil.Process(first.process.pid).children(recursive=True)
    assert len(children) >= 7, "Redis, web and its two workers, worker and its children, relay"
    assert first.stop() == 0
    assert [child.pid for child in children if not gone(child.pid)] == []

    again = up().ready()
    assert "password as set at first start" in again.said()
    assert "demo   |" not in again.said(), "what the user deleted must not come back"
    assert "Traceback" not in first.said() + again.said()


def test_a_conversation_in_the_simulator_is_still_there_after_a_restart(up: Callable[[], Up]) -> None:
    first = up().ready()
    made = subprocess.run(
        [sys.executable, "-m", "flask", "ops", "api-key", "test", "--scope", "all"],
        cwd=ROOT,
        env=environment(first.instance, first.port),
        capture_output=True,
        text=True,
        check=True,
    )
    key = made.stdout.split()[-1]
    chat = first.api(key, "/simulator/chats", {"name": "Lucía"})["id"]

    def heard(running: Up) -> list[str]:
        items = running.api(key, f"/simulator/chats/{chat}/messages")["items"]
        return [item["text"] for item in items if item["direction"] == "out"]

    def say(running: Up, text: str, replies: int) -> None:
        running.api(key, f"/simulator/chats/{chat}/messages", {"text": text})
        wait_for(lambda: len(heard(running)) >= replies, f"{replies} replies, the last one to “{text}”")

    say(first, "hola", 2)
    say(first, "Lucía Peña 🌻", 3)
    said = heard(first)
    assert first.stop() == 0

    again = up().ready()
    assert heard(again) == said
    say(again, "1", 4)
    say(again, "lucia.pena@example.com", 5)
    wait_for(
        lambda: [item["status"] for item in again.api(key, "/email")["items"]] == ["sent"],
        "the welcome is in the outbox",
    )
    (mail,) = again.api(key, "/email")["items"]
    assert mail["to"] == "lucia.pena@example.com"
    assert again.stop() == 0
    assert "Traceback" not in first.said() + again.said()


def test_after_a_kill_9_of_all_it_starts_again(up: Callable[[], Up]) -> None:
    first = up().ready()
    children = psutil.Process(first.process.pid).children(recursive=True)
    first.process.kill()
    first.process.wait()
    for child in children:
        wait_for(lambda child=child: gone(child.pid), f"process {child.pid} ends")  # type: ignore[misc]
    assert "password as set at first start" in up().ready().said()


def test_a_taken_port_is_named_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        answer = ops_up(tmp_path / "instance", port)
    assert answer.returncode == 1
    assert f"PORT={port} on 127.0.0.1 cannot be used" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / "instance" / "redis.lock").exists()


def test_a_wrong_environment_is_one_clear_message(tmp_path: Path) -> None:
    answer = ops_up(tmp_path / "instance", 8080, PUBLIC_URL="nowhere", LOG_LEVEL="LOUD")
    assert answer.returncode != 0
    assert "PUBLIC_URL must be" in answer.stderr
    assert "LOG_LEVEL must be" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_free_port_is_no_problem() -> None:
    assert port_problem("127.0.0.1", free_port()) is None


def test_a_start_that_is_under_way_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "embudo.lock").touch()
    assert "being started or stopped" in already_running(tmp_path)
