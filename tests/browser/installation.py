"""One whole installation with its demo, as `make run` starts it, for a browser to look at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.fakes.ports import free_port
from tests.ops.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
USER, PASSWORD = "admin", "correct horse battery"
STOP_SECONDS = 60


class Installation:
    """A running ``flask ops up`` on SQLite and its own Redis. url: where it answers."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = folder / "output"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flask", "ops", "up"],
                cwd=ROOT,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(folder),
                    "EMBUDO_INSTANCE": str(folder / "instance"),
                    "PORT": str(self.port),
                    "HOST": "127.0.0.1",
                    "ADMIN_PASSWORD": PASSWORD,
                },
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def said(self) -> str:
        """Everything that its processes printed."""
        return self.output.read_text("utf-8", "replace")

    def ready(self) -> Installation:
        """Wait until people can log in."""

        def look() -> bool:
            assert self.process.poll() is None, self.said()[-4000:]
            return "Embudo is ready" in self.said()

        wait_for(look, "the installation is ready")
        return self

    def stop(self) -> None:
        """End all of it, by force when it does not listen."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
