"""A table is read page by page, in as many turns as it takes: each page is taken over with the place where it ends.

A table of 50,000 rows takes minutes, a turn only seconds. Were a reading to begin at the first page in every turn, it
would never come to its end, spend the month's calls, and keep back what is to be written after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.kit.db import new_id, utcnow
from app.leads.commands.airtable_pull import News, apply_records
from app.leads.commands.airtable_turns import LostTurn, Turn, keep_turn
from app.leads.models import AirtableConnection
from app.leads.providers import Page

CLOCKS_APART = timedelta(minutes=10)
"""How far Airtable's clock may be behind ours when we say from when on changes must be asked for."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A reading that is under way.

    after: only records changed after this moment (ISO, Airtable's clock); "" means the whole table. offset: where it
    goes on: "" at the first page, None when there is no page left. since: from which change on the next one must ask.
    """

    id: str
    after: str
    offset: str | None
    since: str
    began_at: datetime


def go_on(turn: Turn, *, after: str) -> Reading:
    """The reading that an earlier turn began, or a new one when there is none or it was for something else."""
    row = keep_turn(turn)
    if row.reading_id is None or row.reading_after != after:
        return _begin(row, after)
    return _reading(row)


def begin_again(turn: Turn, *, after: str) -> Reading:
    """A new reading in place of one whose offset Airtable has forgotten."""
    return _begin(keep_turn(turn), after)


def note_page(turn: Turn, reading: Reading, page: Page, *, calls: int) -> Reading:
    """Take over a page, and that the reading goes on behind it. Raises LostTurn, as end() does."""
    _under_way(turn, reading)
    apply_records(turn, [News(record=record) for record in page.records], calls=calls)
    row = keep_turn(turn)
    told = [record.cells.get(turn.modified_column) for record in page.records]
    since = max([reading.since, *(text for text in told if isinstance(text, str))])
    if reading.offset or page.offset:
        # Of several pages the first may have changed while the others were read.
        since = min(since, as_airtable(reading.began_at - CLOCKS_APART))
    row.reading_offset, row.reading_since = page.offset, since
    row.next_pull_at = utcnow()  # other tables that are due have their turn before this one goes on
    return _reading(row)


def end(turn: Turn, reading: Reading) -> None:
    """Every page has been read."""
    forget(_under_way(turn, reading))


def demand_whole(turn: Turn, *, cursor: int, calls: int) -> None:
    """Changes up to the webhook's cursor are lost or too many: the whole table is read, from the first page on."""
    row = keep_turn(turn, calls=calls)
    row.webhook_cursor, row.next_full_at = cursor, utcnow()
    row.next_pull_at = row.next_full_at
    forget(row)


def forget(row: AirtableConnection) -> None:
    """No reading is under way any more: what is read next begins at the first page."""
    row.reading_id = row.reading_after = row.reading_offset = row.reading_since = row.reading_began_at = None


def as_airtable(moment: datetime) -> str:
    """A moment as Airtable writes it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _under_way(turn: Turn, reading: Reading) -> AirtableConnection:
    """The connection, locked. Raises LostTurn when somebody had it read anew during a call: what was seen counts no more."""
    row = keep_turn(turn)
    if row.reading_id != reading.id:
        raise LostTurn(turn.connection_id)
    return row


def _begin(row: AirtableConnection, after: str) -> Reading:
    row.reading_id, row.reading_after, row.reading_offset, row.reading_since = new_id(), after, "", ""
    row.reading_began_at = utcnow()
    return _reading(row)


def _reading(row: AirtableConnection) -> Reading:
    return Reading(
        id=row.reading_id or "",
        after=row.reading_after or "",
        offset=row.reading_offset,
        since=row.reading_since or "",
        began_at=row.reading_began_at or utcnow(),
    )
