"""From rendered parts to the bytes of a message. Pure.

Flask-Mail's own Message lets header injection through in extra headers and sends lines longer than RFC 5321 allows.
The standard library's EmailMessage does neither, but takes ten times as long as the rest of sending a mail, and
turns the long address of List-Unsubscribe into an encoded word that no mail program understands.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime, formataddr, parseaddr
from functools import lru_cache

LINE = 76
"""Longest line we write, as RFC 2045 and 2047 want, where it can be broken at all."""

HEADER_LINE = 998
"""Longest line that servers must take (RFC 5322 §2.1.1)."""

PARTS = 32
"""Encoded parts that are kept: enough for the mailings of the moment."""

WORD_BYTES = 45
"""Bytes of text in an encoded word: with its frame 72 characters of the 75 allowed (RFC 2047 §2)."""

_WORD_START, _WORD_END = "=?utf-8?b?", "?="
_BOUNDARY = b"=_"  # neither quoted-printable nor base64 can hold this
_ASCII = bytes(range(128))
_CRLF = "\r\n"
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HEADER_NAME = re.compile(r"[!-9;-~]+")
_ADDRESS = re.compile(r"[^\s<>()\[\],;:\\\"@\x00-\x20\x7f]+@(?:[A-Za-z0-9-]+\.)*[A-Za-z0-9-]+")


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
        return _parsed(self.sender)[1]

    @property
    def message_id(self) -> str:
        """``<ref@sender's domain>``."""
        return f"<{self.ref}@{self.sender_address.rpartition('@')[2] or 'localhost'}>"


def build(letter: Letter) -> bytes:
    """The message with CRLF line ends and in ASCII only: text alone, or text and HTML as alternatives.

    Raises ValueError when a header would hold a line break (header injection) or an address is none.
    """
    lines = [
        _header("Message-ID", letter.message_id),
        _header("Date", format_datetime(letter.date)),
        _from(letter.sender),
        _header("To", _bare(letter.to)),
        _header("Subject", letter.subject),
        *([f"Reply-To: {_bare(parseaddr(_clean(letter.reply_to))[1])}"] if letter.reply_to else []),
        *(_header(name, value) for name, value in letter.headers.items()),
        "MIME-Version: 1.0",
    ]
    head = _CRLF.join(lines).encode("ascii")
    if not letter.html:
        return head + b"\r\n" + _part("plain", letter.text)
    boundary = _BOUNDARY + letter.ref.encode("ascii")
    return b"".join(
        (
            head, b'\r\nContent-Type: multipart/alternative;\r\n boundary="', boundary, b'"\r\n\r\n',
            b"--", boundary, b"\r\n", _part("plain", letter.text),
            b"\r\n--", boundary, b"\r\n", _part("html", letter.html),
            b"\r\n--", boundary, b"--\r\n",
        )
    )  # fmt: skip


@lru_cache(maxsize=PARTS)
def _part(subtype: str, text: str) -> bytes:
    """A text part with its headers; what is not personal is encoded once for all recipients."""
    lines = text.replace(_CRLF, "\n").replace("\r", "\n").rstrip("\n")
    data = f"{lines}\n".replace("\n", _CRLF).encode()
    if data.isascii() and _fits(data):
        encoding, body = b"7bit", data
    elif len(data.translate(None, _ASCII)) * 3 > len(data):
        encoding, body = b"base64", base64.encodebytes(data).replace(b"\n", b"\r\n")
    else:
        encoding, body = b"quoted-printable", binascii.b2a_qp(data, istext=True)
    return b"".join(
        (
            b"Content-Type: text/", subtype.encode(), b'; charset="utf-8"\r\n',
            b"Content-Transfer-Encoding: ", encoding, b"\r\n\r\n", body,
        )
    )  # fmt: skip


def _fits(data: bytes) -> bool:
    """Whether it can go as it is: short lines, and none that could be a boundary of ours."""
    return (
        b"\0" not in data and _BOUNDARY not in data and all(len(line) <= LINE for line in data.split(b"\r\n"))
    )


def _header(name: str, value: str) -> str:
    """``Name: value``, folded; words outside ASCII encoded. A long word without blanks (an address) stays whole."""
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("not a name for a header")
    _clean(value)
    line = f"{name}: {value}"
    if value.isascii() and len(line) <= LINE:
        return line
    longest = max(map(len, value.split()), default=0)
    if not value.isascii() or (name == "Subject" and longest > LINE):
        return f"{name}: {_encoded(value, LINE - len(name) - 2)}"
    if longest > HEADER_LINE - len(name) - 2:
        raise ValueError("a header is too long")
    return _folded(line)


def _folded(line: str) -> str:
    """Broken at blanks, as far as there are any, into lines of LINE; never right after the header's name."""
    name, _, first = line.partition(" ")
    head, *words = first.split(" ")
    done, current = [], f"{name} {head}"
    for word in words:
        if current.strip() and len(current) + 1 + len(word) > LINE:
            done.append(current)
            current = ""
        current += f" {word}"
    return _CRLF.join([*done, current])


def _encoded(text: str, room: int) -> str:
    """Encoded words of RFC 2047, base64, none longer than it allows; room: characters left in the first line."""
    done: list[str] = []
    piece = b""
    most = (room - len(_WORD_START) - len(_WORD_END)) // 4 * 3
    for char in text:
        data = char.encode()
        if len(piece) + len(data) > most:
            done.append(_word(piece))
            piece = b""
            most = WORD_BYTES
        piece += data
    return f"{_CRLF} ".join([*done, _word(piece)])


def _word(data: bytes) -> str:
    return _WORD_START + base64.b64encode(data).decode() + _WORD_END


@lru_cache(maxsize=64)
def _parsed(sender: str) -> tuple[str, str]:
    return parseaddr(sender)


@lru_cache(maxsize=64)
def _from(sender: str) -> str:
    name, address = _parsed(_clean(sender))
    if not name.isascii():
        return f"From: {_encoded(name, LINE - 6)}{_CRLF} <{_bare(address)}>"
    shown = formataddr((name, _bare(address)))
    return f"From: {shown}" if len(shown) < LINE else "From: " + f"{_CRLF} <".join(shown.rsplit(" <", 1))


def _bare(address: str) -> str:
    if not _ADDRESS.fullmatch(address) or not address.isascii():
        raise ValueError("not an address for a header")
    return address


def _clean(value: str) -> str:
    if _FORBIDDEN.search(value):
        raise ValueError("a header with a line break or a control character")
    return value
