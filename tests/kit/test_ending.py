"""Ending at a signal: however often it comes, and whatever it breaks into."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from app.kit.ending import Ending

SIGNALLED = """
import signal
from {module} import {name}

told = {name}()

def act(*_):
    {act}

signal.signal(signal.SIGALRM, act)
for turn in range(20_000):
    signal.setitimer(signal.ITIMER_REAL, 0.000001 * (1 + turn % 50))
    for _ in range(10):
        act()
signal.setitimer(signal.ITIMER_REAL, 0)
"""
"""A signal that comes at every moment of what its own handler does."""


@pytest.mark.parametrize(
    ("module", "name", "act"),
    [
        ("app.kit.ending", "Ending", "told.tell()"),
        ("app.kit.ending", "Ending", "told.tell(); told.wait(0.1)"),
        ("app.kit.silence", "Silence", "told.may_ask(); told.tell(answered=False)"),
    ],
    ids=["told", "awaited", "asking Redis"],
)
def test_a_signal_that_breaks_into_what_its_handler_does_too_does_not_wait_for_itself(
    module: str, name: str, act: str
) -> None:
    program = SIGNALLED.format(module=module, name=name, act=act)
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


def test_everybody_who_waits_wakes() -> None:
    ending = Ending()
    woken: list[bool] = []
    waiting = [threading.Thread(target=lambda: woken.append(ending.wait(60))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    assert not ending.is_told()
    ending.tell()
    for thread in waiting:
        thread.join(30)
    assert woken == [True] * 3
    assert ending.is_told()
    assert ending.wait(60), "also who asks later"


def test_nobody_is_told_by_waiting() -> None:
    ending = Ending()
    assert not ending.wait(0.01)
    assert not ending.is_told()
