"""1.234,5 is a number in Madrid and 1,234.5 is one in London; both mean what their writer meant."""

from __future__ import annotations

import re
from typing import Final

NUMBER = re.compile(
    r"(?<![\w.,])[-+]?\s?\d(?:[\d.,']|(?<=\d)[ \u00a0\u202f](?=\d{3}(?!\d)))*+(?!e\d)", re.IGNORECASE
)
MAX_DIGITS: Final = 15  # beyond, a float (and JavaScript) no longer knows every whole number
DECIMAL_MARK: Final = {"es": ",", "en": "."}


def read_number(text: str, language: str) -> int | float | None:
    """The one number in the text; None when there is none, more than one, or one that cannot be told.

    Words and signs around it ("unos 1.200 €", "$5") are allowed. A single mark before exactly three digits is
    read as the language has it, otherwise by its shape.
    """
    found = NUMBER.findall(text)
    if len(found) != 1:
        return None
    token = re.sub(r"[\s']", "", found[0]).rstrip(".,")
    sign = -1 if token.startswith("-") else 1
    whole, _, fraction = _split(token.lstrip("+-"), DECIMAL_MARK.get(language, "."))
    digits = whole + fraction
    if not digits.isdecimal() or len(digits) > MAX_DIGITS:
        return None
    return sign * float(f"{whole or '0'}.{fraction}") if fraction.strip("0") else sign * int(whole or "0")


def _split(token: str, mark: str) -> tuple[str, str, str]:
    """Whole part, mark, fraction; a whole part that keeps a mark is no number."""
    comma, dot = token.rfind(","), token.rfind(".")
    if comma < 0 and dot < 0:
        return token, "", ""
    if comma >= 0 and dot >= 0:
        decimal = "," if comma > dot else "."
        return _parts(token, decimal)
    used = "," if comma >= 0 else "."
    groups = token.split(used)
    if len(groups) > 2 or (
        used != mark and len(groups[1]) == 3 and 1 <= len(groups[0]) <= 3 and groups[0] != "0"
    ):
        return _parts(token, "." if used == "," else ",")
    return _parts(token, used)


def _parts(token: str, decimal: str) -> tuple[str, str, str]:
    whole, mark, fraction = token.partition(decimal)
    thousands = "." if decimal == "," else ","
    groups = whole.split(thousands)
    if len(groups) > 1 and (not 1 <= len(groups[0]) <= 3 or any(len(group) != 3 for group in groups[1:])):
        return whole, mark, fraction
    return "".join(groups), mark, fraction
