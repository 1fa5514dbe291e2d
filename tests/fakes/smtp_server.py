"""A real SMTP server (aiosmtpd) on loopback that does what a test tells it to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.fakes.ports import free_port

USERNAME, PASSWORD = "mailer", "right horse"

STALL_SECONDS = 30.0
"""Longer than any time-out a test sets; cut short when the server stops."""


@dataclass
class SmtpScript:
    """What the server does, and what it has seen.

    rcpt, mail, data: answers per command, taken one by one (an empty list means yes). Special answers for data:
    ``stall`` (read the message, never answer), ``keep`` (read it, keep it, answer when freed) and ``drop`` (read it,
    keep it, cut the line); for rcpt: ``hold`` (answer when freed). asked: recipients that were named, each time.
    """

    mail: list[str] = field(default_factory=list)
    rcpt: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    received: list[tuple[str, str, EmailMessage]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    on_data: Callable[[], None] | None = None  # something that happens once, while a message is being taken

    free: Callable[[], None] = lambda: None
    """Answer whoever is held."""

    def recipients(self) -> list[str]:
        """Who got mail, in order."""
        return [to for _, to, _ in self.received]


class _Handler:
    def __init__(self, script: SmtpScript) -> None:
        self.script = script
        self.stopping = asyncio.Event()
        self.freed = asyncio.Event()

    def free(self) -> None:
        """Answer whoever is held; called in the server's loop."""
        self.freed.set()
        self.freed = asyncio.Event()

    async def handle_EHLO(  # noqa: N802  named by aiosmtpd
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        if not getattr(session, "counted", False):
            self.script.connections += 1
            session.counted = True  # type: ignore[attr-defined]
        session.host_name = hostname
        return responses

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.script.mail.pop(0) if self.script.mail else "250 OK"
        if answer.startswith("250"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return answer

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.script.rcpt.pop(0) if self.script.rcpt else "250 OK"
        self.script.asked.append(address)
        if answer == "hold":
            await asyncio.wait_for(self.freed.wait(), STALL_SECONDS)
            return "421 gone"
        if answer == "drop":
            server.transport.abort()
            return "421 bye"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        happening, self.script.on_data = self.script.on_data, None
        if happening is not None:
            happening()
        answer = self.script.data.pop(0) if self.script.data else "250 OK: queued as Q1"
        if answer == "stall":
            await asyncio.wait_for(self.stopping.wait(), STALL_SECONDS)
            return "421 stopping"
        if answer.startswith("250") or answer in ("drop", "keep"):
            content: Any = envelope.original_content or envelope.content
            message = BytesParser(policy=default).parsebytes(content)
            assert isinstance(message, EmailMessage)
            self.script.raw.append(content)
            for recipient in envelope.rcpt_tos:
                self.script.received.append((envelope.mail_from or "", recipient, message))
        if answer == "drop":
            server.transport.abort()
            return "421 bye"
        if answer == "keep":
            await asyncio.wait_for(self.freed.wait(), STALL_SECONDS)
            return "250 OK: queued as Q1"
        return answer


def _authenticate(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (
        USERNAME.encode(),
        PASSWORD.encode(),
    )
    return AuthResult(success=good, handled=good)


@contextmanager
def smtp_server(
    *, certificate: tuple[str, str] | None = None, implicit_tls: bool = False, auth: bool = False
) -> Iterator[SmtpScript]:
    """Run a server while the block runs; yields its script (with the port).

    certificate: files (certificate, key) for STARTTLS, or for TLS from the start with implicit_tls.
    auth: demand USERNAME and PASSWORD.
    """
    script = SmtpScript()
    handler = _Handler(script)
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    controller = Controller(
        handler,
        hostname="127.0.0.1",
        port=0,
        ready_timeout=10,
        ssl_context=context if implicit_tls else None,
        tls_context=None if implicit_tls else context,
        require_starttls=bool(certificate) and not implicit_tls,
        authenticator=_authenticate if auth else None,
        auth_required=auth,
        auth_require_tls=bool(certificate) and not implicit_tls,
    )
    controller.port = free_port()
    script.port = controller.port
    controller.start()
    script.free = lambda: controller.loop.call_soon_threadsafe(handler.free)
    try:
        yield script
    finally:
        controller.loop.call_soon_threadsafe(handler.stopping.set)
        script.free()
        controller.stop()
