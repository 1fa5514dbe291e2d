"""Being told to end by a signal, as often as it comes and whatever it breaks into.

An Event has a lock that is not reentrant: set by a handler that breaks into its set() or wait(), it waits for itself
for ever. Platforms send SIGTERM more than once, and to everybody.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue


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
