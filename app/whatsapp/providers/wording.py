"""Fitting our text into a provider's limits, and keeping its answers free of personal data.

A text one character too long is refused as a whole, two equal button titles too: both would lose the message.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from app.whatsapp.providers.base import Choice

DETAIL_CHARS = 300  # of a provider's sentence kept for the admin
ELLIPSIS = "…"
LINE_UNITS = 120  # of a numbered choice: ten of them fit into Twilio's 1600 with room for a text
LEAST_PRIVATE = 4  # a shorter text is no secret, and removing it would make a sentence unreadable
SCARCE = 40  # a part shorter than this beside many choices would be silly; the choices then stand alone

_BREAKS = ("\n\n", "\n", ". ", "? ", "! ", "; ", ", ", " ")  # where to split, the best place first
_JOINERS = {
    "\u200d",
    "\ufe0e",
    "\ufe0f",
    "\u20e3",
}  # zero-width joiner, variation selectors, keycap: parts of an emoji
_SURROGATE_OR_NUL = re.compile("[\ud800-\udfff\x00]")
_NUMBER = re.compile(r"\+?\d(?:[\s().-]?\d){6,}")
_MAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")


def units(text: str) -> int:
    """Length in UTF-16 units: never less than how a provider may count."""
    return len(text) + sum(1 for c in text if ord(c) > 0xFFFF)


def _prefix(text: str, limit: int) -> int:
    """How many characters of text fit into limit units without tearing an emoji or an accent from its
    letter."""
    size = 0
    end = 0
    for end, char in enumerate(text):  # noqa: B007  # end is used after the loop
        size += 2 if ord(char) > 0xFFFF else 1
        if size > limit:
            break
    else:
        return len(text)
    cut = end
    while cut > 0 and _sticks(text, cut):
        cut -= 1
    return cut or end or 1  # one endless cluster is torn rather than never sent


def _sticks(text: str, cut: int) -> bool:
    """Whether a cut before text[cut] would fall inside what a reader sees as one character."""
    following, before = text[cut], text[cut - 1]
    if following in _JOINERS or before == "\u200d" or unicodedata.combining(following):
        return True
    if "\U0001f3fb" <= following <= "\U0001f3ff":  # skin tone
        return True
    if _is_flag(following) and _is_flag(before):  # a flag is a pair of letters: count those before
        run = 0
        while run < cut and _is_flag(text[cut - 1 - run]):
            run += 1
        return run % 2 == 1
    return False


def _is_flag(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def split(text: str, limit: int, last: int | None = None) -> list[str]:
    """The text in parts of at most limit units, the last one of at most `last`, broken where a reader would.

    Parts are stripped of the white space at which they were broken; an empty text is one empty part.
    """
    last = limit if last is None else last
    parts: list[str] = []
    rest = text.strip()
    while units(rest) > last:
        room = min(
            limit, units(rest) - last // 2
        )  # what stands above the choices should not be one stray word
        end = _prefix(rest, room)
        part = rest[:end]
        for mark in _BREAKS:
            at = part.rfind(mark)
            if at >= end // 2:
                end = at + len(mark)
                break
        parts.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    parts.append(rest)
    return [part for part in parts if part] or [""]


def cut(text: str, limit: int) -> str:
    """The text, or as much of it as fits followed by an ellipsis."""
    text = " ".join(text.split())
    if units(text) <= limit:
        return text
    return text[: _prefix(text, limit - 1)].rstrip() + ELLIPSIS


def titles(labels: Sequence[str], limit: int) -> list[str]:
    """Each label cut to limit and different from the others, as providers refuse two equal titles."""
    taken: set[str] = set()
    out: list[str] = []
    for position, label in enumerate(labels, 1):
        title = cut(label, limit) or str(position)
        number = 2
        while title.casefold() in taken:
            suffix = f" {number}"
            title = cut(label, limit - len(suffix)) + suffix
            number += 1
        taken.add(title.casefold())
        out.append(title)
    return out


def numbered(choices: Iterable[Choice]) -> str:
    """The choices as lines "1. …": the flow engine understands the number and the label."""
    return "\n".join(f"{n}. {cut(c.label, LINE_UNITS)}" for n, c in enumerate(choices, 1))


def with_numbers(text: str, choices: Sequence[Choice]) -> str:
    """The text followed by its choices as numbered lines."""
    return "\n\n".join(part for part in (text.rstrip(), numbered(choices)) if part)


def split_numbered(text: str, choices: Sequence[Choice], limit: int) -> list[str]:
    """As split, leaving room for the numbered lines below the last part."""
    room = limit - units(numbered(choices)) - 2
    if room >= SCARCE:
        return split(text, limit, room)
    return [*split(text, limit), ""]  # the choices fill a message alone


def clean(value: Any) -> Any:
    """JSON-plain data without what a database refuses: NUL, lone surrogates, infinite numbers, non-text
    keys."""
    if isinstance(value, str):
        return _SURROGATE_OR_NUL.sub("\ufffd", value)
    if isinstance(value, dict):
        return {clean(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def scrub(sentence: str, *private: str | None) -> str:
    """A provider's sentence fit for logs and the admin: without the given texts, phone numbers and
    addresses."""
    for text in sorted((p for p in private if p and len(p) >= LEAST_PRIVATE), key=len, reverse=True):
        sentence = sentence.replace(text, ELLIPSIS)
    sentence = _MAIL.sub(ELLIPSIS, _NUMBER.sub(ELLIPSIS, sentence))
    return cut(sentence, DETAIL_CHARS)


def coordinates(latitude: object, longitude: object) -> tuple[float, float] | None:
    """Two values as degrees on the globe, None when they are none."""
    if isinstance(latitude, bool) or isinstance(longitude, bool):
        return None
    if not isinstance(latitude, str | int | float) or not isinstance(longitude, str | int | float):
        return None
    try:
        place = (float(latitude), float(longitude))
    except (ValueError, OverflowError):
        return None
    return place if abs(place[0]) <= 90 and abs(place[1]) <= 180 else None
