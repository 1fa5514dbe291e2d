"""What counts as an e-mail address."""

from __future__ import annotations

import pytest

from app.contracts.problems import Problem
from app.email.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "normalized", "ascii_"),
    [
        ("lucia@example.com", "lucia@example.com", "lucia@example.com"),
        ("  Lucia.Perez+news@Example.COM ", "Lucia.Perez+news@example.com", "Lucia.Perez+news@example.com"),
        ("ventas@ñandú.es", "ventas@ñandú.es", "ventas@xn--and-6ma2c.es"),
    ],
)
def test_a_good_address_is_kept_in_both_forms(text: str, normalized: str, ascii_: str) -> None:
    assert parse_address(text) == Address(normalized=normalized, ascii=ascii_)


@pytest.mark.parametrize(
    "text",
    [
        "lucia",
        "lucia@",
        "@example.com",
        "a@b@example.com",
        "lucia@example",
        "lucia@localhost",
        "lucia@exa mple.com",
        "lucia@example.com\nBcc: x@example.com",
        "Lucia <lucia@example.com>",
        "x" * 65 + "@example.com",
        "lucia@" + "x" * 250 + ".com",
        "lucía@example.com",
        "lucia@[127.0.0.1]",
    ],
)
def test_a_bad_address_is_told(text: str) -> None:
    found = parse_address(text)

    assert isinstance(found, Problem)
    assert (found.where, found.code) == ("/to", "invalid_address")
    assert found.params == {}, "what the library says is English only"


@pytest.mark.parametrize("text", ["", "  ", None, 7, ["lucia@example.com"]])
def test_a_missing_address_is_told(text: object) -> None:
    found = parse_address(text)

    assert isinstance(found, Problem)
    assert found.code == "missing"
