"""Asking servers that may never answer, without waiting for ever.

A server that is down refuses, which takes no time. One that hangs takes the connection and says nothing, and the
library that waits for it cannot be stopped. So it waits in a thread of its own, and whoever asked goes on without it.
A lane does one thing after the other: a server that hangs holds one thread and one connection of ours, however often
somebody asks.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from flask import Flask, current_app

GIVEN_UP_SECONDS = 60.0
"""A lane that has waited for one answer for so long is left to itself, and a new one takes its place: a connection that
the network has forgotten may hang for hours after the server is back."""

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


@dataclass(eq=False)
class _Lane:
    """waiting: what is to be asked. began: monotonic time at which the present question was begun."""

    waiting: deque[tuple[Future[Any], Callable[[], Any]]] = field(default_factory=deque)
    runs: bool = False
    began: float = 0.0


class Lanes:
    """The lanes of a process, by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[Hashable, _Lane] = {}

    def ask(self, name: Hashable, question: Callable[[], Found]) -> Future[Found]:
        """Ask in a lane, when those before have had their answers; `answers` collects them."""
        future: Future[Found] = Future()
        with self._lock:
            lane = self._lanes.get(name)
            if lane is None or (lane.runs and time.monotonic() - lane.began > GIVEN_UP_SECONDS):
                lane = self._lanes[name] = _Lane()
            lane.waiting.append((future, question))
            if not lane.runs:
                lane.runs, lane.began = True, time.monotonic()
                # A daemon: a server that hangs must not keep the process alive.
                threading.Thread(target=self._work, args=(lane,), daemon=True, name=f"lane {name}").start()
        return future

    def _work(self, lane: _Lane) -> None:
        while True:
            with self._lock:
                if not lane.waiting:
                    lane.runs = False
                    return
                future, question = lane.waiting.popleft()
                lane.began = time.monotonic()
            if not future.set_running_or_notify_cancel():
                continue  # whoever asked has gone
            try:
                future.set_result(question())
            except BaseException as error:  # noqa: BLE001 (it is told to whoever asked)
                future.set_exception(error)


def init_lanes(app: Flask) -> None:
    """Give the app its lanes; they start when somebody asks."""
    app.extensions["embudo_lanes"] = Lanes()


def ask(name: Hashable, question: Callable[[], Found]) -> Future[Found]:
    """Ask in a lane of the current app; the question is put inside an app context of its own."""
    lanes: Lanes = current_app.extensions["embudo_lanes"]
    return lanes.ask(name, partial(_in_context, current_app._get_current_object(), question))  # type: ignore[attr-defined]


def answers(asked: Mapping[Key, Future[Found]], seconds: float) -> dict[Key, Future[Found]]:
    """What has been answered, or has failed, after so many seconds at most. What has not begun by then never does."""
    wait(asked.values(), timeout=max(0.0, seconds))
    found = {key: future for key, future in asked.items() if future.done()}
    for future in asked.values():
        future.cancel()
    return found


def _in_context(app: Flask, question: Callable[[], Found]) -> Found:
    with app.app_context():
        return question()
