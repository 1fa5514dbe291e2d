"""Waiting for something that other processes do, with a limit and without guessing how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import psutil

LIMIT_SECONDS = 40.0
"""Far longer than anything here needs, also on a busy machine."""

Found = TypeVar("Found")


def wait_for(what: Callable[[], Found], description: str | Callable[[], str]) -> Found:
    """The first true result of `what`; fails the test after the limit.

    description: of what is awaited; a callable is asked at the end, for what was still missing then.
    """
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        if found := what():
            return found
        if time.monotonic() >= deadline:
            said = description if isinstance(description, str) else description()
            raise AssertionError(f"never happened: {said}")
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie has)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
