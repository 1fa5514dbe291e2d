"""Being told to end by a signal, as often as it comes and whatever it breaks into; also by the death of a parent.

An Event has a lock that is not reentrant: set by a handler that breaks into its set() or wait(), it waits for itself
for ever. Platforms send SIGTERM more than once, and to everybody.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from queue import Empty, SimpleQueue

PR_SET_PDEATHSIG = 1
"""prctl(2): have the kernel signal us when our parent dies."""


class Ending:
    """Whether to end. May be told in a signal handler; asked and awaited by any thread."""

    def __init__(self) -> None:
        self._told = False
        # "put() is reentrant": https://docs.python.org/3/library/queue.html#queue.SimpleQueue.put
        self._wake: SimpleQueue[None] = SimpleQueue()

    def tell(self) -> None:
        """Say that it is time to end."""
        self._told = True
        self._wake.put(None)

    def is_told(self) -> bool:
        """Whether it is time to end."""
        return self._told

    def wait(self, seconds: float) -> bool:
        """Sleep for `seconds` or until told; whether it is time to end."""
        try:
            self._wake.get(timeout=seconds)
        except Empty:
            return self._told
        self._wake.put(None)  # for whoever else waits
        return True


def end_with_parent(parent: int, number: signal.Signals) -> None:
    """In a child: get this signal when the parent dies, and end at once if it has died already. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(0)
