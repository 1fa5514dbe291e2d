"""Ringing for a busy door: one ring for all requests of a moment, and no request waits for Redis.

A ring costs a tenth of an acknowledged webhook, and seconds while Redis hangs. What rings is stored already, and a
lost ring costs the time until the relay's next sweep, so a thread may do it a moment later.
"""

from __future__ import annotations

import os
import threading
import time

from flask import Flask, current_app

from app.kit import jobs

MOMENT_SECONDS = 0.01
"""Presses within this time are one ring; much less than anybody notices in a reply."""


class Doorbell:
    """Rings a job's bell from a thread of its own, which begins with the first press in each process."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._pressed = threading.Event()
        self._lock = threading.Lock()
        self._owner: tuple[int, int] | None = None

    def press(self) -> None:
        """Have the bell rung soon."""
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        owner = (os.getpid(), id(app))
        if self._owner != owner:
            with self._lock:
                if self._owner != owner:  # a fork has no threads of its parent
                    self._owner = owner
                    self._pressed = threading.Event()
                    threading.Thread(
                        target=self._ring, args=(app, self._pressed), name=f"bell {self._job}", daemon=True
                    ).start()
        self._pressed.set()

    def _ring(self, app: Flask, pressed: threading.Event) -> None:
        while self._pressed is pressed:
            pressed.wait()
            time.sleep(MOMENT_SECONDS)
            pressed.clear()  # before the ring: who presses from now on may have stored something newer
            with app.app_context():
                jobs.ring(self._job)
