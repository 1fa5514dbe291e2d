"""Days of the installation's zone: west of UTC, with half hours, and across changes of the clocks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from flask import Flask

from app.kit import zone


def at(text: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "day", "start", "hours"),
    [
        ("UTC", "2026-03-01", "2026-03-01T00:00", 24),
        ("America/Mexico_City", "2026-03-01", "2026-03-01T06:00", 24),
        ("Asia/Kolkata", "2026-03-01", "2026-02-28T18:30", 24),
        ("Europe/Madrid", "2026-03-29", "2026-03-28T23:00", 23),  # at two the clocks say three
        ("Europe/Madrid", "2026-10-25", "2026-10-24T22:00", 25),  # at three they say two
        (
            "America/Santiago",
            "2026-09-06",
            "2026-09-06T04:00",
            23,
        ),  # there is no midnight: at twelve they say one
        ("America/Havana", "2026-11-01", "2026-11-01T04:00", 25),  # there are two: at one they say twelve
    ],
)
def test_a_day_begins_at_the_zones_midnight(
    app: Flask, monkeypatch: pytest.MonkeyPatch, name: str, day: str, start: str, hours: int
) -> None:
    monkeypatch.setitem(app.config, "TIMEZONE", name)
    begun = zone.day_start(date.fromisoformat(day))
    assert begun == at(start)
    assert zone.day_start(date.fromisoformat(day), after=1) - begun == timedelta(hours=hours)
    assert zone.today(begun) == date.fromisoformat(day)
    assert zone.today(begun - timedelta(microseconds=1)) == date.fromisoformat(day) - timedelta(days=1)
    assert zone.midnight(begun + timedelta(hours=hours, microseconds=-1)) == begun


def test_the_first_day_of_all_has_a_beginning_in_every_zone(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("America/Mexico_City", "Asia/Kolkata"):
        monkeypatch.setitem(app.config, "TIMEZONE", name)
        assert zone.day_start(date.min).year == 1


def test_the_last_days_end_with_the_zones_today(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.config, "TIMEZONE", "America/Mexico_City")
    evening = at("2026-03-02T03:00")
    assert zone.last_days(2, evening) == [date(2026, 2, 28), date(2026, 3, 1)]
