"""A PostgreSQL server of our own, on a free port and a folder of its own, so that tests may kill it and start it again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psycopg

from tests.fakes.ports import free_port

START_SECONDS = 60


def programs() -> Path:
    """The folder with initdb and postgres; raises RuntimeError when PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if found:
        return found[-1]
    on_path = shutil.which("initdb")
    if on_path is None:
        raise RuntimeError("PostgreSQL is missing; Debian: apt install postgresql")
    return Path(on_path).resolve().parent


class PostgreSQL:
    """A server. start(), kill() and start() again keep what was committed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="embudo-postgresql-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # It refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            os.chown(self.folder, pwd.getpwnam(self._user).pw_uid, -1)
        self._run(
            "initdb", "-D", self.folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"
        )

    @property
    def url(self) -> str:
        """Of a database from which others are made."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def _run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [programs() / program, *arguments],
            check=True,
            capture_output=True,
            user=self._user,
            cwd=self.folder,
        )

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        # The machine does not crash here, only the server; what it has written is safe with the kernel.
        settings = ("fsync=off", "listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}")
        options = [part for setting in settings for part in ("-c", setting)]
        with (self.folder / "log").open("ab") as output:
            self._process = subprocess.Popen(
                [programs() / "postgres", "-D", self.folder / "data", "-p", str(self.port), *options],
                stdout=output, stderr=output, user=self._user, cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL did not start:\n" + (self.folder / "log").read_text()[-2000:])
            time.sleep(0.05)

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=2).close()
            return True
        return False

    def kill(self) -> None:
        """Let it abort as if it had crashed: every connection breaks, and the next start recovers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """Leave nothing behind."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
