"""A RabbitMQ node of our own: on free ports and a folder of its own, so that tests may kill it and start it again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.fakes.ports import free_port

START_SECONDS = 90
SCRIPTS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/local/sbin/rabbitmq-server")
"""The server itself; what Debian puts on PATH changes the user first, and would not find our folder."""


def server() -> str:
    """The program; raises RuntimeError when RabbitMQ is not installed."""
    found = next((path for path in SCRIPTS if Path(path).is_file()), None) or shutil.which("rabbitmq-server")
    if found is None:
        raise RuntimeError("RabbitMQ is missing; Debian: apt install rabbitmq-server")
    return found


class RabbitMQ:
    """A node. start(), kill() and start() again keep its queues."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="embudo-rabbitmq-"))
        self.port, self._dist = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        (self.folder / "plugins").write_text("[].")
        (self.folder / "rabbitmq.conf").write_text(
            "loopback_users.guest = true\nvm_memory_high_watermark.absolute = 1GB\n"
            "disk_free_limit.absolute = 50MB\n"
        )

    @property
    def url(self) -> str:
        """For EVENTS_BROKER_URL."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "RABBITMQ_NODENAME": f"embudo_{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            # This node is one of many on the machine: it does not take all cores, nor spin for work.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
        }
        with (self.folder / "out.log").open("ab") as output:
            self._process = subprocess.Popen(
                [server()], env=env, stdout=output, stderr=output, cwd=self.folder, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    "RabbitMQ did not start:\n" + (self.folder / "out.log").read_text()[-2000:]
                )
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall(b"AMQP\x00\x00\x09\x01")
                probe.settimeout(2)
                return bool(probe.recv(1))
        except OSError:
            return False

    def freeze(self) -> None:
        """Have it hold every connection and answer nothing, until it thaws."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on where it was frozen."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """Leave nothing behind."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
