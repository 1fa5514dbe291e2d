"""Leaving alone who does not answer, so that not everybody waits for it.

A page asks a database ten times; each thread of a web waits for it at once. When it hangs, each of these waits would
take its whole time-out, and soon no thread is left to say that something is wrong.
"""

from __future__ import annotations

import threading
import time

SECONDS = 5.0
"""How long a server that gave no answer in time is left alone."""


class Silence:
    """What is known of one server. After a silence it is left alone; then one at a time tries, and nobody else waits."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may ask while its thread asks
        self._silent = False
        self._until = 0.0
        self._trying: int | None = None

    def may_ask(self) -> bool:
        """Whether this thread may ask now; it must then tell how it went."""
        me = threading.get_ident()
        with self._lock:
            if not self._silent or self._trying == me:
                return True
            if self._trying is not None or time.monotonic() < self._until:
                return False
            self._trying = me
            return True

    def tell(self, *, answered: bool) -> None:
        """How it went: a refusal is an answer, too."""
        with self._lock:
            self._silent = not answered
            self._until = time.monotonic() + SECONDS
            if self._trying == threading.get_ident():
                self._trying = None
