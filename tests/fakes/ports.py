"""Ports for servers that are started a while after their port was chosen, and killed and started again on it.

What the system hands out for "any port" may be handed to somebody else's connection before the server listens. These lie
below that range, and each is kept for the process that asked for it.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

PORTS = range(20_000, 32_000)
"""Below what Linux takes for outgoing connections (ip_local_port_range: from 32768)."""

_kept: list[IO[str]] = []


def free_port() -> int:
    """A port that nobody listens on, and that no other test process is given while this one lives."""
    folder = Path(tempfile.gettempdir()) / f"embudo-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for port in random.sample(PORTS, len(PORTS)):
        claim = (folder / str(port)).open("w")
        with suppress(OSError), socket.socket() as probe:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A connection of the former test that still fades away is no reason to pass the port over.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            _kept.append(claim)
            return port
        claim.close()
    raise RuntimeError("every port is taken")
