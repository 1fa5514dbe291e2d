"""Bulk mail over SMTP against its floor: one reused smtplib connection that sends the same ready-made message.

Both send to the same aiosmtpd in a process of its own. Ours is the whole product: rows on PostgreSQL, claimed,
marked, sent by a worker, recorded, and told to the other services. What counts is the time between the first and
the last message at the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import smtplib
import subprocess
import sys
import time
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from bench.harness import ROOT, Installation, Result, free_port, installation, process

MAILS = 1000
TARGET = 0.6
ROUNDS = 3
SETTLE_SECONDS = 3.0
"""Let the last events reach their listeners, so that the floor has the machine to itself, too."""

QUEUE = """
import sys
from wsgi import app
from app.email import commands
from app.email.commands import Order
from app.kit import db
with app.app_context(), db.transaction():  # one commit: all are due at the same moment
    for number in range(int(sys.argv[1])):
        commands.queue_email(Order(
            to=f"person{number}@example.com", template="welcome", language="es",
            variables={"name": "Lucía", "company": "Olivar S.L."},
        ))
"""


class Sink:
    """Counts messages and keeps the last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.times: list[float] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a message."""
        if not self.times:
            (self.folder / "message").write_bytes(envelope.original_content or b"")
        self.times.append(time.monotonic())
        if len(self.times) == MAILS:
            seconds = self.times[-1] - self.times[0]
            with (self.folder / "rounds").open("a") as file:
                file.write(json.dumps({"rate": (MAILS - 1) / seconds}) + "\n")
            self.times.clear()
        return "250 OK: queued as 1"


def sink() -> None:
    """The server, as a process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    controller = Controller(Sink(arguments.folder), hostname="127.0.0.1", port=arguments.port)
    controller.start()
    asyncio.new_event_loop().run_forever()


def run() -> list[Result]:
    """Ours and the floor by turns, so that both have the same neighbours."""
    port = free_port()
    mail = {
        "MAIL_SERVER": "127.0.0.1",
        "MAIL_PORT": str(port),
        "MAIL_DEFAULT_SENDER": "Embudo <ventas@example.com>",
        "MAIL_MAX_EMAILS": "10000",
        "LOG_LEVEL": "WARNING",
    }
    with installation(**mail) as made:
        made.flask("demo")
        command = (sys.executable, "-m", "bench.mail", "--port", str(port), "--folder", str(made.folder))
        with process(*command, env=made.env, log=made.log):
            _await(port)
            ours, floor = [], []
            made.start("worker")
            made.start("relay")
            for number in range(ROUNDS):
                _queue(made)
                ours.append(_rate(made.folder, 2 * number + 1))
                time.sleep(SETTLE_SECONDS)
                _floor(port, (made.folder / "message").read_bytes())
                floor.append(_rate(made.folder, 2 * number + 2))
            size = (made.folder / "message").stat().st_size
    best, base = max(ours), max(floor)
    return [
        Result(
            name=f"bulk mail over SMTP, {MAILS} messages of {size / 1000:.0f} kB",
            value=f"{best:.0f} mails/s ({', '.join(f'{rate:.0f}' for rate in ours)})",
            floor=f"smtplib {base:.0f}/s ({', '.join(f'{rate:.0f}' for rate in floor)})",
            ratio=best / base,
            target=TARGET,
        )
    ]


def _queue(made: Installation) -> None:
    """Put the mails into the queue."""
    command = [sys.executable, "-c", QUEUE, str(MAILS)]
    subprocess.run(command, cwd=ROOT, env=made.env, check=True)


def _floor(port: int, data: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", port, "localhost") as server:
        for number in range(MAILS):
            server.sendmail("ventas@example.com", f"person{number}@example.com", data)


def _rate(folder: Path, rounds: int) -> float:
    """Mails a second of round `rounds`, once it is over."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        path = folder / "rounds"
        lines = path.read_text().splitlines() if path.exists() else []
        if len(lines) >= rounds:
            return float(json.loads(lines[rounds - 1])["rate"])
        time.sleep(0.05)
    raise RuntimeError("the mails did not arrive:\n" + (folder / "log").read_text()[-3000:])


def _await(port: int) -> None:
    for _ in range(200):
        try:
            smtplib.SMTP("127.0.0.1", port, "localhost").quit()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the mail server does not start")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sink()
    else:
        for line in run():
            print(line)
