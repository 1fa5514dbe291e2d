"""Mail over SMTP, configured by Flask-Mail's MAIL_* keys.

Flask-Mail's own connection has no time-out, does not verify TLS, and cannot tell a refused recipient from a broken
account; a mail that was lost after DATA looks to it like one that was never sent. So its configuration is kept and
the conversation with the server is our own.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Any

from flask_mail import Mail

from app.email.mime import Letter, build
from app.email.providers import Result, without_addresses
from app.kit.errors import Misconfigured, Permanent, ProviderError, RateLimited, Temporary, Unknown
from app.kit.http import Standing

TIMEOUT = 20.0
"""Seconds to wait for a connection or for any answer but the last one."""

ACCEPTANCE_FACTOR = 3
"""The answer after the message's end may take so many times longer: servers scan mail before they accept it."""

MAX_EMAILS = 100
"""Messages over one connection when MAIL_MAX_EMAILS is not set; many servers close it after that many."""

_QUEUED_AS = re.compile(r"queued as ([\w.-]+)", re.IGNORECASE)
_TOO_FAST = re.compile(r"throttl|rate.?limit|4\.7\.28", re.IGNORECASE)
_MAYBE_TOO_FAST = re.compile(r"too many|try again later", re.IGNORECASE)
"""Said of us unless it is said of a mailbox: a full one is no reason to rest, or one recipient would stop all."""
_OF_MAILBOX = re.compile(r"\b4\.[12]\.\d")
"""RFC 3463: the answer is about the recipient's address or mailbox, at whatever stage it comes."""
_NO_MAILBOX = re.compile(r"\b5\.1\.(?:1|2|3|6|10)\b")
"""RFC 3463 and RFC 7505: mailbox or domain unknown, address impossible, moved away, takes no mail at all."""


@dataclass(frozen=True, kw_only=True)
class SmtpSettings:
    """Where and how to hand mail over.

    timeout: seconds. tls_ca: file with the certificates of a private authority, beside the system's.
    max_emails: messages per connection.
    """

    host: str
    port: int
    use_tls: bool = False
    use_ssl: bool = False
    username: str | None = None
    password: str | None = None
    max_emails: int = MAX_EMAILS
    timeout: float = TIMEOUT
    tls_ca: str | None = None
    helo: str | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SmtpSettings:
        """Read MAIL_* as Flask-Mail does (MAIL_PORT 25 and so on), and our MAIL_TIMEOUT and MAIL_TLS_CA."""
        mail = Mail().init_mail(dict(config))
        sender = parseaddr(str(mail.default_sender or ""))[1]
        return cls(
            host=mail.server,
            port=int(mail.port or smtplib.SMTP_PORT),
            use_tls=bool(mail.use_tls),
            use_ssl=bool(mail.use_ssl),
            username=mail.username or None,
            password=mail.password or None,
            max_emails=int(mail.max_emails or MAX_EMAILS),
            timeout=float(config.get("MAIL_TIMEOUT") or TIMEOUT),
            tls_ca=config.get("MAIL_TLS_CA") or None,
            helo=sender.rpartition("@")[2] or None,
        )


class SmtpSender:
    """One connection to one server, kept while a batch is sent."""

    name = "smtp"

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings
        self._server: smtplib.SMTP | None = None
        self._sent = 0

    def open(self) -> None:
        """Connect and log in, unless that is done. Raises Temporary or Misconfigured."""
        self._connected()

    def check(self) -> Standing:
        """Connect and log in, and go again. SMTP servers tell no time."""
        try:
            self.open()
        finally:
            self.close()
        return Standing()

    def rate(self) -> float | None:
        """SMTP servers do not tell."""
        return None

    def send(self, batch: Iterable[Letter], handing_over: Callable[[str], None]) -> Iterator[Result]:
        """Send each letter; see MailSender.send."""
        for letter in batch:
            yield self._send_one(letter, handing_over)

    def close(self) -> None:
        """Say goodbye; a server that is gone already is no error."""
        server, self._server, self._sent = self._server, None, 0
        if server is None:
            return
        try:
            server.quit()
        except (smtplib.SMTPException, OSError):
            server.close()

    def _drop(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server, self._sent = None, 0

    def _connected(self) -> smtplib.SMTP:
        if self._server is not None and self._sent >= self._settings.max_emails:
            self.close()
        if self._server is None:
            self._server = self._connect()
        return self._server

    def _connect(self) -> smtplib.SMTP:
        settings = self._settings
        server: smtplib.SMTP | None = None
        try:
            context = ssl.create_default_context()
            if settings.tls_ca:
                context.load_verify_locations(cafile=settings.tls_ca)
            # smtplib would ask the DNS for our own name, which can take as long as any time-out.
            helo = settings.helo or socket.gethostname()
            if settings.use_ssl:
                server = smtplib.SMTP_SSL(
                    settings.host, settings.port, helo, timeout=settings.timeout, context=context
                )
            else:
                server = smtplib.SMTP(settings.host, settings.port, helo, timeout=settings.timeout)
            assert server.sock is not None  # connected by the constructor
            server.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if settings.use_tls:
                server.starttls(context=context)
            if settings.username and settings.password:
                server.login(settings.username, settings.password)
            server.ehlo_or_helo_if_needed()
        except Exception as error:
            if server is not None:
                server.close()
            raise _connection_error(error) from error
        return server

    def _send_one(self, letter: Letter, handing_over: Callable[[str], None]) -> Result:
        try:
            data = build(letter)
        except ValueError as error:
            return Result(ref=letter.ref, error=Permanent(str(error), code="bad_message"))
        is_reused = self._server is not None
        server = self._connected()
        try:
            try:
                self._envelope(server, letter, len(data))
            except smtplib.SMTPServerDisconnected:
                # A server may close an idle connection at any time; nothing was handed over on it yet.
                if not is_reused:
                    raise
                self._drop()
                server = self._connected()
                self._envelope(server, letter, len(data))
            handing_over(letter.ref)
            queued_as = self._data(server, data)
        except ProviderError as error:
            self._reset(error)
            return Result(
                ref=letter.ref,
                error=error,
                at_provider=isinstance(error, Misconfigured | RateLimited | Unknown) or error.code == "421",
                no_such_mailbox=isinstance(error, Permanent) and bool(_NO_MAILBOX.search(error.detail)),
            )
        except (smtplib.SMTPServerDisconnected, OSError) as error:
            self._drop()
            return Result(
                ref=letter.ref, error=Temporary(_plain(error), code=type(error).__name__), at_provider=True
            )
        self._sent += 1
        return Result(ref=letter.ref, provider_message_id=queued_as)

    def _envelope(self, server: smtplib.SMTP, letter: Letter, size: int) -> None:
        # Not server.mail() and rcpt(): they parse addresses that build() has checked, slower than all of our own work.
        size_option = f" SIZE={size}" if server.has_extn("size") else ""
        code, reply = server.docmd("MAIL", f"FROM:<{letter.sender_address}>{size_option}")
        if code != 250:
            raise _refusal(code, reply, at="sender")
        code, reply = server.docmd("RCPT", f"TO:<{letter.to}>")
        if code not in (250, 251):
            raise _refusal(code, reply, at="recipient")

    def _data(self, server: smtplib.SMTP, data: bytes) -> str | None:
        """Send the message and wait for its acceptance; the server's queue id, when it tells one."""
        code, reply = server.docmd("DATA")
        if code != 354:
            raise _refusal(code, reply, at="message")
        # An error in here means that the end of the message never left: the server cannot have accepted it.
        server.send(_stuffed(data) + (b"" if data.endswith(b"\r\n") else b"\r\n") + b".\r\n")
        assert server.sock is not None  # we have just written to it
        try:
            server.sock.settimeout(self._settings.timeout * ACCEPTANCE_FACTOR)
            code, reply = server.getreply()
            server.sock.settimeout(self._settings.timeout)
        except (smtplib.SMTPException, OSError) as error:
            self._drop()
            raise Unknown(
                "The server did not answer after it got the message; it may have been sent.",
                code=type(error).__name__,
            ) from error
        if code != 250:
            raise _refusal(code, reply, at="message")
        queued = _QUEUED_AS.search(reply.decode("utf-8", "replace"))
        return queued[1] if queued else None

    def _reset(self, error: ProviderError) -> None:
        """Make the connection usable for the next letter, or give it up."""
        if self._server is None:
            return
        if error.code == "421":  # RFC 5321: the server closes the channel after this code
            self._drop()
            return
        try:
            code, _ = self._server.rset()
        except (smtplib.SMTPException, OSError):
            self._drop()
            return
        if code != 250:
            self._drop()


def _stuffed(data: bytes) -> bytes:
    """With a dot before each line that begins with one (RFC 5321 §4.5.2)."""
    stuffed = data.replace(b"\n.", b"\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def _refusal(code: int, reply: bytes, *, at: str) -> ProviderError:
    """What an answer that is not yes means (RFC 5321 §4.2.1, RFC 3463)."""
    text = without_addresses(reply.decode("utf-8", "replace"))
    if code < 500:
        is_of_mailbox = at == "recipient" or _OF_MAILBOX.search(text)
        is_too_fast = _TOO_FAST.search(text) or (not is_of_mailbox and _MAYBE_TOO_FAST.search(text))
        return (RateLimited if is_too_fast else Temporary)(text, code=str(code))
    is_about_us = code in (530, 535, 538) or (at == "sender" and code != 552) or "relay" in text.lower()
    return (Misconfigured if is_about_us else Permanent)(text, code=str(code))


def _connection_error(error: Exception) -> ProviderError:
    """What it means that no usable connection came about."""
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, smtplib.SMTPResponseException):
        text = without_addresses(_decoded(error.smtp_error))
        is_account = isinstance(error, smtplib.SMTPAuthenticationError) and error.smtp_code >= 500
        return (Misconfigured if is_account else Temporary)(text, code=str(error.smtp_code))
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return Misconfigured(_plain(error), code="not_supported")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Misconfigured(f"certificate not accepted: {error.verify_message}", code="certificate")
    if isinstance(error, ssl.SSLError):
        return Misconfigured(f"TLS failed: {error.reason or 'no TLS on this port'}", code="tls")
    if isinstance(error, FileNotFoundError):
        return Misconfigured("the file named by MAIL_TLS_CA does not exist", code="tls_ca")
    if isinstance(error, OSError | smtplib.SMTPException):
        return Temporary(_plain(error), code=type(error).__name__)
    raise error


def _decoded(reply: bytes | str) -> str:
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply


def _plain(error: Exception) -> str:
    return without_addresses(str(error) or type(error).__name__)
