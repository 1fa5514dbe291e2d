"""Dates as people write them in Spanish and English; ISO always."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Final

from app.whatsapp.engine.folding import fold

ISO = re.compile(r"(?<!\d)(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)")
NUMERIC = re.compile(r"(?<!\d)(\d{1,2})\s?[-/.]\s?(\d{1,2})(?:\s?[-/.]\s?(\d{4}|\d{2}))?(?!\d)")
DAY_MONTH = re.compile(
    r"(?<!\d)(\d{1,2})(?:st|nd|rd|th|º|°)?\s+(?:de\s+|of\s+)?([a-z]{3,10})\.?,?"
    r"(?:\s+(?:de\s+|del\s+)?(\d{4}))?(?!\d)"
)
MONTH_DAY = re.compile(r"([a-z]{3,10})\.?\s+(\d{1,2})(?:st|nd|rd|th)?,?(?:\s+(\d{4}))?(?!\d)")

MONTHS: Final = {
    name: number
    for names in (
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        "january february march april may june july august september october november december",
        "ene feb mar abr may jun jul ago sep oct nov dic",
        "jan feb mar apr may jun jul aug sep oct nov dec",
    )
    for number, name in enumerate(names.split(), 1)
} | {"setiembre": 9, "sept": 9}
RELATIVE: Final = {
    "hoy": 0, "manana": 1, "pasado manana": 2, "ayer": -1,
    "today": 0, "tomorrow": 1, "day after tomorrow": 2, "yesterday": -1,
}  # fmt: skip
FUTURE_YEARS: Final = 20  # a two-digit year lies at most so far ahead; "85" is 1985, "30" is 2030


def read_date(text: str, language: str, today: date) -> date | None:
    """The date in the text; None when there is none or it does not exist.

    Day before month in Spanish, month before day in English, unless only the other order exists. Without a
    year it is the next such day, today included.
    """
    words = fold(text).strip(" .!")
    if words in RELATIVE:
        return today + timedelta(days=RELATIVE[words])
    if found := ISO.search(words):
        return _date(int(found[1]), int(found[2]), int(found[3]))
    if found := NUMERIC.search(words):
        return _numeric(int(found[1]), int(found[2]), found[3], language, today)
    if (found := DAY_MONTH.search(words)) and found[2] in MONTHS:
        return _with_year(found[3], MONTHS[found[2]], int(found[1]), today)
    if (found := MONTH_DAY.search(words)) and found[1] in MONTHS:
        return _with_year(found[3], MONTHS[found[1]], int(found[2]), today)
    return None


def _numeric(first: int, second: int, year: str | None, language: str, today: date) -> date | None:
    day_first = _with_year(year, second, first, today)
    month_first = _with_year(year, first, second, today)
    return (month_first or day_first) if language == "en" else (day_first or month_first)


def _with_year(year: str | None, month: int, day: int, today: date) -> date | None:
    if year is None:
        this_year = _date(today.year, month, day)
        if this_year is not None and this_year >= today:
            return this_year
        return _date(today.year + 1, month, day) or this_year
    number = int(year)
    if len(year) == 2:
        number += 2000 if number <= today.year % 100 + FUTURE_YEARS else 1900
    return _date(number, month, day)


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None
