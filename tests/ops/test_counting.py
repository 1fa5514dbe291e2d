"""Counters of several processes are exact, whatever happens to the processes, and leave no pile of files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.browser.installation import ROOT
from tests.fakes.ports import free_port
from tests.ops.waiting import gone, wait_for

TOKEN = "a-token-of-the-tests"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


class Process:
    """A process of ours with its port for metrics."""

    def __init__(self, folder: Path, *command: str, **environ: str) -> None:
        self.port = free_port()
        self.output = folder / "output"
        with self.output.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env={
                    "PATH": os.environ["PATH"],
                    "EMBUDO_INSTANCE": str(folder / "instance"),
                    "HOST": "127.0.0.1",
                    "PORT": str(self.port),
                    "METRICS_TOKEN": TOKEN,
                    **environ,
                },
                stdout=file,
                stderr=file,
            )

    def ask(self, path: str, token: str = TOKEN) -> tuple[int, str]:
        """Status and body."""
        answer = requests.get(
            f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": f"Bearer {token}"}, timeout=30
        )
        return answer.status_code, answer.text

    def answers(self, path: str) -> bool:
        """Whether anybody listens."""
        assert self.process.poll() is None, self.output.read_text()[-3000:]
        try:
            return bool(self.ask(path)[0])
        except requests.ConnectionError:
            return False

    def counted(self, route: str) -> float:
        """How many requests of a route were counted."""
        status, body = self.ask("/metrics")
        assert status == 200, body
        return sum(
            sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
            if sample.name == "embudo_http_requests_total" and sample.labels["route"] == route
        )

    def workers(self) -> list[int]:
        """Ids of its children."""
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def stop(self) -> None:
        """End it, if it has not ended."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(40)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Process]:
    made = Process(tmp_path, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", WEB_CONCURRENCY="2")
    try:
        wait_for(lambda: made.answers("/healthz"), "the web listens")
        yield made
    finally:
        made.stop()


def test_no_request_is_lost_or_counted_twice_when_workers_are_killed(web: Process, tmp_path: Path) -> None:
    files = tmp_path / "instance" / "metrics"
    asked = 0
    for _ in range(3):
        for _ in range(40):
            assert web.ask("/openapi.json")[0] == 200
            asked += 1
        assert web.counted("/openapi.json") == asked
        before = web.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda before=before: all(map(gone, before)), "they are dead")  # type: ignore[misc]
        wait_for(lambda: len(web.workers()) == 2 and web.answers("/healthz"), "others came")
        assert web.counted("/openapi.json") == asked
    # Two workers at a time, and at most one starting while another ends.
    assert len(list(files.glob("counter_*.db"))) <= 3


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Process]]:
    """Starts webs that share an instance folder; all are ended, also when the test fails."""
    begun: list[Process] = []

    def begin() -> Process:
        made = Process(tmp_path, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", WEB_CONCURRENCY="1")
        begun.append(made)
        wait_for(lambda: made.answers("/healthz"), "the web listens")
        return made

    yield begin
    for made in begun:
        made.stop()


def test_a_fresh_start_begins_at_zero_but_not_under_somebody_who_counts(
    start: Callable[[], Process],
) -> None:
    first = start()
    first.ask("/openapi.json")
    second = start()
    assert second.counted("/openapi.json") == 1  # both count in one folder, and neither emptied it
    first.stop()
    assert second.counted("/openapi.json") == 1
    second.stop()
    assert start().counted("/openapi.json") == 0


def test_worker_and_relay_tell_their_counters_on_a_port_of_their_own(tmp_path: Path, redis_url: str) -> None:
    for arguments in ((), ("relay",)):
        port = free_port()
        process = Process(tmp_path, "worker.py", *arguments, REDIS_URL=redis_url, METRICS_PORT=str(port))
        process.port = port
        try:
            wait_for(lambda process=process: process.answers("/metrics"), "it listens")  # type: ignore[misc]
            status, body = process.ask("/metrics")
            assert status == 200
            assert "embudo_jobs_total" in body
            assert "embudo_outbox_pending" not in body
            assert process.ask("/metrics", "wrong")[0] == 401
            assert process.ask("/else")[0] == 404
        finally:
            process.stop()
