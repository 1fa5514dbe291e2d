"""A server that hangs: it takes every connection and says nothing, as a machine that swaps or a stopped process does.

With a target it is a wire to a real server, which can be held and let go.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

Address = tuple[str, int] | str
"""Host and port, or the path of a unix socket."""


class Silent:
    """target: where the wire leads; without one nothing is ever said. accepted: how many connections were taken."""

    def __init__(self, target: Address | None = None) -> None:
        self.accepted = 0
        self._target = target
        self._flows = threading.Event()
        if target is not None:
            self._flows.set()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def hold(self) -> None:
        """From now on nothing passes, in neither direction; connections are still taken."""
        self._flows.clear()

    def let_go(self) -> None:
        """Pass on what was held, and what comes."""
        self._flows.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._flows.set()
        for each in (self._listener, *self._open):
            # Who waits in accept or recv is woken by a shutdown only.
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                taken, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.append(taken)
            if self._target is not None:
                threading.Thread(target=self._connect, args=(taken,), daemon=True).start()

    def _connect(self, taken: socket.socket) -> None:
        self._flows.wait()
        kind = socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET
        there = socket.socket(kind)
        with suppress(OSError):
            there.connect(self._target)
            self._open.append(there)
            threading.Thread(target=self._pump, args=(there, taken), daemon=True).start()
            self._pump(taken, there)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._flows.wait()
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
