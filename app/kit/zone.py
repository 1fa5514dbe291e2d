"""The installation's time zone: which moments are one day to the people who read lists, cards and charts.

Databases, events and the API speak UTC. Whoever says "today", counts by day, takes a day from a form or shows a moment
to a person asks here; with UTC's days, a team in Mexico would see an empty "today" from six in the evening on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flask import current_app
from sqlalchemy import ColumnElement, case

from app.kit.db import utcnow


def name() -> str:
    """The zone's name in the IANA's data, such as America/Mexico_City: the setting TIMEZONE."""
    return str(current_app.config["TIMEZONE"])


def current() -> ZoneInfo:
    """The zone itself."""
    return ZoneInfo(name())


def local(moment: datetime) -> datetime:
    """The same moment (aware) with the wall clock of the zone: to be shown, not to be added to.

    Python adds hours to the wall clock, which a change of the clocks between would make wrong.
    """
    return moment.astimezone(current())


def now() -> datetime:
    """This moment, with the wall clock of the zone."""
    return local(utcnow())


def today(at: datetime | None = None) -> date:
    """The day that it is in the zone, now or at another moment."""
    return (local(at) if at else now()).date()


def day_start(day: date, *, after: int = 0) -> datetime:
    """The first moment, in UTC, of the day that comes `after` days after this one.

    Where clocks change at midnight it is the first of both midnights, or the moment in which the missing one is passed.
    """
    try:
        return datetime.combine(day + timedelta(days=after), time.min, current()).astimezone(UTC)
    except OverflowError:  # east of Greenwich the first day of all begins before UTC's
        return datetime.min.replace(tzinfo=UTC)


def midnight(at: datetime | None = None) -> datetime:
    """The moment, in UTC, in which today began."""
    return day_start(today(at))


def last_days(count: int, at: datetime | None = None) -> list[date]:
    """The last `count` days, today's the last."""
    newest = today(at)
    return [newest - timedelta(days=before) for before in reversed(range(count))]


def day_number(moment: ColumnElement[Any] | Any, days: Sequence[date]) -> ColumnElement[int | None]:
    """SQL to group by: which of these days, ascending without a gap, the column's moment lies in, from 0.

    A moment from before the first is given to it, so select from its start on; after the last it is NULL. The borders
    are computed here because the databases' own date functions differ, and SQLite's know no zones.
    """
    return case(*((moment < day_start(day, after=1), number) for number, day in enumerate(days)), else_=None)
