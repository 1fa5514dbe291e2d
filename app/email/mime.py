"""From rendered parts to the bytes of a message. Pure.

Flask-Mail's own Message lets header injection through in extra headers and sends lines longer than RFC 5321
allows; the standard library's EmailMessage with policy SMTP refuses the first and wraps the second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

_POLICY = SMTP.clone(cte_type="7bit")
"""Quoted-printable or base64 for all that is not ASCII: a server without 8BITMIME must not garble it."""


@dataclass(frozen=True, kw_only=True)
class Letter:
    """One message to one recipient.

    ref: our id of the message; it makes the Message-ID, which therefore stays the same at every try, so that a
    mail delivered twice is recognised as one by the receiving side.
    sender: ``Name <address>`` or an address; to: an ASCII address; date: aware.
    """

    ref: str
    sender: str
    to: str
    subject: str
    text: str
    html: str | None
    date: datetime
    reply_to: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def sender_address(self) -> str:
        """The bare address of the sender, for the envelope."""
        return parseaddr(self.sender)[1]

    @property
    def message_id(self) -> str:
        """``<ref@sender's domain>``."""
        return f"<{self.ref}@{self.sender_address.rpartition('@')[2] or 'localhost'}>"


def build(letter: Letter) -> EmailMessage:
    """The MIME message: text alone, or text and HTML as alternatives.

    Raises ValueError when a header would hold a line break (header injection) or an address is none.
    """
    message = EmailMessage(policy=_POLICY)
    message["Message-ID"] = letter.message_id
    message["Date"] = format_datetime(letter.date)
    message["From"] = _address(letter.sender)
    message["To"] = _address(letter.to)
    message["Subject"] = letter.subject
    if letter.reply_to:
        message["Reply-To"] = _address(letter.reply_to)
    for name, value in letter.headers.items():
        message[name] = value
    message.set_content(letter.text)
    if letter.html:
        message.add_alternative(letter.html, subtype="html")
    return message


def _address(text: str) -> Address:
    name, address = parseaddr(text)
    if not address or "\r" in text or "\n" in text:
        raise ValueError("not an address for a header")
    return Address(display_name=name, addr_spec=address)
