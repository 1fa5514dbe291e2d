"""``flask ops up``: a whole installation on one machine, from an empty directory to a page to log in to.

Order matters: one installation at a time, the port, Redis, set-up, then everything that serves. Whoever comes second
is told where the first one is, and nothing is touched.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import runpy
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.kit.redis_server import NoRedis, ensure
from app.kit.supervisor import Program, Supervisor

ROOT = Path(__file__).resolve().parents[2]

LOCK = "embudo.lock"
"""File in the instance directory, locked while an installation runs; says which process and where."""

DEMO_DONE = "demo-loaded"
"""File in the instance directory whose presence says that the demo was loaded once; what the user deletes stays away."""

PORT_PATIENCE_SECONDS = 5.0
"""How long a port may still be held by processes of ours that were killed a moment ago."""

READY_PATIENCE_SECONDS = 60.0
"""After this long without an answer people are told that something is wrong."""

PASSWORD_LINE = re.compile(r"^administrator: (\S+) / (\S+)$")
"""What `flask ops setup` prints when it makes the first user."""


@dataclass(frozen=True, kw_only=True)
class Installation:
    """What to start and where.

    instance_dir: where its data are. host, port: where the web listens. url: what people open. setup, demo: run to
    their end, in this order, before anything serves.
    """

    instance_dir: Path
    host: str
    port: int
    url: str
    simulator: bool
    setup: Callable[[], object]
    demo: Callable[[], object]


def up(installation: Installation) -> int:
    """Run the installation until a signal; the exit status."""
    installation.instance_dir.mkdir(parents=True, exist_ok=True)
    lock = os.open(installation.instance_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(already_running(installation.instance_dir))
        return 0
    if problem := port_problem(installation.host, installation.port):
        print(problem, file=sys.stderr)
        return 1
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps({"pid": os.getpid(), "url": installation.url}).encode(), 0)
    supervisor = Supervisor(redis=lambda: ensure(installation.instance_dir))
    try:
        supervisor.open()
        return _serve(installation, supervisor)
    except NoRedis as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        supervisor.close()
        os.ftruncate(lock, 0)
        os.close(lock)


def already_running(instance_dir: Path) -> str:
    """What to tell somebody who starts an installation that runs."""
    try:
        found = json.loads((instance_dir / LOCK).read_text())
    except ValueError:
        return "Embudo is being started or stopped by another process right now; nothing was changed."
    return f"Embudo is already running at {found['url']} (pid {found['pid']}); nothing was changed."


def port_problem(host: str, port: int, *, patience: float = PORT_PATIENCE_SECONDS) -> str | None:
    """Why the web could not listen, or None."""
    deadline = time.monotonic() + patience
    while True:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), port))
            except PermissionError:
                return f"PORT={port} needs administrator's rights; choose one above 1023, for example: PORT=8080 make run"
            except OSError as error:
                if time.monotonic() > deadline:
                    return (
                        f"PORT={port} on {host} cannot be used ({error.strerror}). Another program has it; "
                        f"choose another, for example: PORT={port + 1 if port < 65535 else 8080} make run"
                    )
            else:
                return None
        time.sleep(0.2)


def _serve(installation: Installation, supervisor: Supervisor) -> int:
    status, lines = supervisor.run_once(Program(name="setup", body=installation.setup))
    password = None
    for line in lines:
        if found := PASSWORD_LINE.match(line):
            password = found.groups()
        else:
            supervisor.say(line, name="setup")
    if supervisor.stops:
        return 0
    if status:
        supervisor.say("set-up failed, nothing was started; see above")
        return status
    demo_done = installation.instance_dir / DEMO_DONE
    if not demo_done.exists():
        status, lines = supervisor.run_once(Program(name="demo", body=installation.demo))
        supervisor.say("\n".join(lines), name="demo")
        if not status:
            demo_done.touch()
    ready = _Ready(installation, supervisor, password)
    supervisor.run(
        [
            Program(name="web", body=_web),
            Program(name="worker", body=lambda: _script("worker.py")),
            Program(name="relay", body=lambda: _script("worker.py", "relay")),
        ],
        pulse=ready.look,
    )
    return 0


def _web() -> None:
    sys.argv = ["gunicorn", "-c", str(ROOT / "deploy" / "gunicorn.conf.py"), "wsgi:app"]
    runpy.run_module("gunicorn", run_name="__main__")


def _script(name: str, *arguments: str) -> None:
    """Run a script of the top directory as ``python NAME …`` would, without loading what is loaded already."""
    sys.argv = [name, *arguments]
    os.environ.pop("METRICS_PORT", None)  # all count in one folder here, and the web tells it
    runpy.run_path(str(ROOT / name), run_name="__main__")


class _Ready:
    """Says once that the product can be used."""

    def __init__(
        self, installation: Installation, supervisor: Supervisor, password: tuple[str, ...] | None
    ) -> None:
        self.installation = installation
        self.supervisor = supervisor
        self.password = password
        self.flask = os.path.relpath(sys.argv[0])
        self.since = time.monotonic()
        self.done = False
        self.complained = False

    def look(self) -> None:
        """Ask the web until it is ready."""
        if self.done:
            return
        if self._answers():
            self.done = True
            self.supervisor.say(self._welcome())
        elif not self.complained and time.monotonic() - self.since > READY_PATIENCE_SECONDS:
            self.complained = True
            self.supervisor.say(f"not ready after {READY_PATIENCE_SECONDS:g} s; the lines above say why")

    def _answers(self) -> bool:
        host = self.installation.host
        reachable = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 (asks, does not bind)
        try:
            with urllib.request.urlopen(
                f"http://{reachable}:{self.installation.port}/readyz", timeout=2
            ) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _welcome(self) -> str:
        lines = ["", f"Embudo is ready: {self.installation.url}"]
        if self.password is not None:
            lines += [
                f"  user      {self.password[0]}",
                f"  password  {self.password[1]}   (shown this once; later: {self.flask} ops reset-password)",
            ]
        else:
            lines.append(
                f"  user admin, password as set at first start; forgotten: {self.flask} ops reset-password"
            )
        if self.installation.simulator:
            lines.append(f"  talk to the demo without a phone: {self.installation.url}/admin/simulator/")
        return "\n".join([*lines, "  Ctrl-C stops everything; data and waiting work stay", ""])
