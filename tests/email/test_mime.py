"""From parts to bytes: headers that cannot be abused, lines that servers accept."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default
from email.utils import parseaddr

import pytest

from app.email.mime import Letter, build

RFC5321_LINE = 998
"""Longest line a server must take, without its end."""


def letter(**changes: object) -> Letter:
    return Letter(
        **{
            "ref": "0198f000-0000-7000-8000-000000000001",
            "sender": "Embudo Ñandú <ventas@example.com>",
            "to": "lucia@example.com",
            "subject": "Hola, qué tal 👋",
            "text": "Hola\n.\n.punto",
            "html": "<p>" + "ñ€👋x" * 2000 + "</p>",
            "date": datetime(2030, 1, 31, 12, 0, tzinfo=UTC),
        }
        | changes
    )


def parsed(what: Letter) -> EmailMessage:
    message = message_from_bytes(build(what), policy=default)
    assert isinstance(message, EmailMessage)
    return message


def test_text_and_html_are_alternatives_and_come_back_unharmed() -> None:
    parsed = message_from_bytes(build(letter()), policy=default)

    assert parsed.get_content_type() == "multipart/alternative"
    assert parsed.get_body(("plain",)).get_content().splitlines() == ["Hola", ".", ".punto"]
    assert parsed.get_body(("html",)).get_content().strip() == letter().html
    assert parsed["Subject"] == "Hola, qué tal 👋"
    assert parsed["From"].addresses[0].display_name == "Embudo Ñandú"


def test_no_line_is_longer_than_servers_take_and_all_is_ascii() -> None:
    data = build(letter(subject="x" * 2000))

    assert max(map(len, data.split(b"\r\n"))) <= RFC5321_LINE
    assert data.isascii()


def test_the_message_id_is_ours_and_the_same_at_every_try() -> None:
    first, second = parsed(letter()), parsed(letter())

    assert first["Message-ID"] == second["Message-ID"] == "<0198f000-0000-7000-8000-000000000001@example.com>"


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "x\r\nBcc: evil@example.com"},
        {"to": "lucia@example.com\r\nBcc: evil@example.com"},
        {"sender": "A\nBcc: evil@example.com <a@example.com>"},
        {"reply_to": "a@example.com\nBcc: evil@example.com"},
        {"headers": {"X-Note": "a\r\nBcc: evil@example.com"}},
        {"to": ""},
    ],
)
def test_a_header_that_would_hold_a_line_break_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        build(letter(**changes))


def test_a_long_address_in_a_header_stays_whole_on_its_first_line() -> None:
    address = f"<https://crm.example.com/email/unsubscribe/{'a' * 60}>"

    assert f"\r\nList-Unsubscribe: {address}\r\n".encode() in build(
        letter(headers={"List-Unsubscribe": address})
    )


@pytest.mark.parametrize(
    "subject",
    ["Hello", "Hello there " * 30 + "end", "¿Qué tal? " * 40 + "fin", "👋" * 100, "x" * 300, "a  b   c", " "],
)
def test_every_subject_comes_back_as_it_was(subject: str) -> None:
    message = parsed(letter(subject=subject))

    assert message["Subject"].strip() == subject.strip()
    head = build(letter(subject=subject)).partition(b"\r\n\r\n")[0]
    assert max(map(len, head.split(b"\r\n"))) <= 78


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Hello", "7bit"),
        ("x" * 200, "quoted-printable"),
        ("Línea\r\nuno\rdos\n\n", "quoted-printable"),
        ("日本語のメール" * 30, "base64"),
        ("a\0b", "quoted-printable"),
        ("--=_0198f000-0000-7000-8000-000000000001--", "quoted-printable"),
        ("From me\n.\n..", "7bit"),
        ("ends with blanks   ", "7bit"),
        ("ñ\u2028\x0b\x0c", "base64"),
    ],
)
def test_every_text_comes_back_as_it_was(text: str, encoding: str) -> None:
    part = parsed(letter(text=text, html="<p>x</p>")).get_body(("plain",))

    assert part is not None
    assert part["Content-Transfer-Encoding"] == encoding
    wanted = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"
    assert part.get_payload(decode=True).decode().replace("\r\n", "\n") == wanted


@pytest.mark.parametrize(
    "name",
    [
        "Ventas",
        "Ventas España",
        "Ñ" * 60,
        'Ventas "Sur"',
        "Ventas y más ventas para todo el mundo y los demás",
    ],
)
def test_every_senders_name_comes_back_as_it_was(name: str) -> None:
    quoted = name.replace('"', '\\"')
    raw = message_from_bytes(build(letter(sender=f'"{quoted}" <ventas@example.com>')))["From"]

    # The old parser: the new one keeps the blanks between encoded words, which RFC 2047 §6.2 drops.
    shown, address = parseaddr(str(make_header(decode_header(raw))))
    assert (shown, address) == (name, "ventas@example.com")
