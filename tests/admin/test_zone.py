"""What people see of days and moments is the installation's zone, on every screen the same."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.kit import zone
from app.kit.auth import SYSTEM
from app.kit.db import transaction
from app.leads.models import Lead
from app.leads.queries import funnel
from tests.admin.pages import words
from tests.leads.people import keep

EN, ES = {"Accept-Language": "en"}, {"Accept-Language": "es"}
MEXICO, KOLKATA, MADRID = "America/Mexico_City", "Asia/Kolkata", "Europe/Madrid"
EVENING = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
"""In Mexico City half past seven in the evening of the first; in Kolkata seven in the morning of the second."""


@pytest.fixture
def lives_in(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the installation be in a zone."""
    return lambda name: monkeypatch.setitem(app.config, "TIMEZONE", name)


def lead_of(moment: str | datetime, **values: Any) -> Lead:
    """A lead that was made at this moment (UTC when it has no zone)."""
    lead = keep(**values)
    moment = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    with transaction() as session:
        row = session.get_one(Lead, lead.id)
        row.created_at = row.updated_at = row.stage_changed_at = moment.replace(tzinfo=moment.tzinfo or UTC)
    return lead


@pytest.mark.parametrize(("name", "day"), [(MEXICO, "2026-03-01"), (KOLKATA, "2026-03-02")])
def test_a_filter_by_day_finds_the_rows_that_show_that_day(
    admin: FlaskClient, lives_in: Callable[[str], None], name: str, day: str
) -> None:
    lives_in(name)
    lead_of(EVENING, name="Evening")
    other = {"2026-03-01": "2026-03-02", "2026-03-02": "2026-03-01"}[day]
    shown = admin.get(f"/admin/leads/list/?f.created_at.from={day}&f.created_at.to={day}", headers=EN)
    assert "Evening" in shown.text
    assert f"Mar {int(day[-2:])}, 2026" in words(shown.text)
    assert f"Created ({name})" in words(shown.text)
    hidden = admin.get(f"/admin/leads/list/?f.created_at.from={other}&f.created_at.to={other}", headers=EN)
    assert "Evening" not in hidden.text


def test_a_moment_is_shown_by_the_zones_clock_and_its_tooltip_names_the_zone(
    admin: FlaskClient, lives_in: Callable[[str], None]
) -> None:
    lives_in(MEXICO)
    lead_of(EVENING, name="Evening")
    english, spanish = (admin.get("/admin/leads/list/", headers=language).text for language in (EN, ES))
    assert 'title="2026-03-01 19:30:00-06:00 America/Mexico_City">Mar 1, 2026, 7:30\u202fPM</time>' in english
    assert 'title="2026-03-01 19:30:00-06:00 America/Mexico_City">1 mar 2026, 19:30</time>' in spanish
    assert f'data-timezone="{MEXICO}"' in english


def test_what_happened_lately_names_the_zone_in_its_tooltip(
    admin: FlaskClient, lives_in: Callable[[str], None]
) -> None:
    lives_in(KOLKATA)
    keep(name="Just now")
    assert "+05:30 Asia/Kolkata" in admin.get("/admin/leads/list/", headers=EN).text


def test_the_export_holds_the_rows_of_the_filtered_days_with_the_zones_clock(
    admin: FlaskClient, lives_in: Callable[[str], None]
) -> None:
    lives_in(MEXICO)
    lead_of(EVENING, name="Evening")
    day = "f.created_at.from=2026-03-01&f.created_at.to=2026-03-01"
    text = admin.get(f"/admin/leads/export.csv?{day}").text.lstrip("\ufeff")
    assert [row["created_at"] for row in csv.DictReader(io.StringIO(text))] == ["2026-03-01T19:30:00-06:00"]
    assert "Evening" not in admin.get("/admin/leads/export.csv?f.created_at.from=2026-03-02").text


def test_the_first_day_of_all_is_a_filter_like_another(
    admin: FlaskClient, lives_in: Callable[[str], None]
) -> None:
    lives_in(KOLKATA)
    keep(name="Ann")
    for path in ("/admin/leads/list/", "/admin/leads/export.csv"):
        assert "Ann" in admin.get(f"{path}?f.created_at.from=0001-01-01&f.created_at.to=9999-12-31").text


def test_leads_of_today_and_of_this_month_are_those_of_the_zone(lives_in: Callable[[str], None]) -> None:
    lives_in(MEXICO)
    lead_of("2026-03-01T05:59:59", name="February", stage="won")
    lead_of("2026-03-01T06:00", name="March", stage="won")
    lead_of(EVENING, name="Evening")
    seen = funnel.numbers(SYSTEM, now=EVENING)
    assert (seen.today, seen.won_this_month) == (2, 1)


@pytest.mark.parametrize(
    ("name", "now", "moments", "counts"),
    [
        (MEXICO, "2026-03-02T01:30", ["2026-02-28T05:59", "2026-02-28T06:00", "2026-03-01T05:59", "2026-03-02T01:29"],
         [1, 2, 1]),
        (KOLKATA, "2026-03-02T01:30", ["2026-02-27T18:30", "2026-02-28T18:29", "2026-02-28T18:30", "2026-03-01T18:30"],
         [2, 1, 1]),
        # Madrid's 29 March has 23 hours, its 25 October has 25.
        (MADRID, "2026-03-30T12:00", ["2026-03-28T22:59", "2026-03-28T23:00", "2026-03-29T21:59", "2026-03-29T22:00"],
         [1, 2, 1]),
        (MADRID, "2026-10-26T12:00", ["2026-10-24T21:59", "2026-10-24T22:00", "2026-10-25T22:59", "2026-10-25T23:00"],
         [1, 2, 1]),
    ],
)  # fmt: skip
def test_charts_count_the_days_of_the_zone(
    lives_in: Callable[[str], None], name: str, now: str, moments: list[str], counts: list[int]
) -> None:
    lives_in(name)
    lead_of("2020-01-01T12:00", name="Long ago")
    then = datetime.fromisoformat(now).replace(tzinfo=UTC)
    for number, moment in enumerate(moments):
        lead_of(moment, name=f"Lead {number}")
    days = zone.last_days(3, then)
    assert funnel.per_day(SYSTEM, days=3, now=then) == list(zip(days, counts, strict=True))
