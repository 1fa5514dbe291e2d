"""From parts to bytes: headers that cannot be abused, lines that servers accept."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

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
