"""Airtable's changes come in: by webhook where Airtable can reach us, by asking for what changed where it cannot.

Once a day everything is compared, because a webhook can be lost and a formula does not count as a change.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from app.kit import telemetry
from app.kit.db import transaction
from app.kit.errors import Misconfigured, Permanent
from app.kit.jobs import drain_until, is_over, ring
from app.leads.commands import airtable_gone as gone
from app.leads.commands import airtable_pull as commands
from app.leads.commands import airtable_reading as readings
from app.leads.commands import airtable_turns as turns
from app.leads.commands.airtable_pull import News
from app.leads.commands.airtable_turns import Turn
from app.leads.jobs.calls import Calls, calls_of
from app.leads.providers import WEBHOOK_DAYS, WEBHOOKS_PER_BASE, Change, Changes, Record
from app.leads.queries import airtable as queries

REFRESH_BEFORE = timedelta(hours=48)
"""A webhook that ends sooner is prolonged."""

WITH_WEBHOOK = timedelta(hours=1)
"""How often a table with a webhook is asked all the same: pings can be lost, and reading keeps the webhook alive."""

ONLY_WRITTEN = timedelta(days=1)
"""How often a table into which we only write is compared."""

PAYLOAD_PAGES = 20
"""Pages of payloads read at once (1,000 changes); with more it is cheaper to read the table."""

OVERLAP = timedelta(seconds=2)
"""How much of the last reading is read again: changes within Airtable's clock tick must not fall between two."""

JOB = "leads.pull_airtable"

log = telemetry.get_logger("leads")


def pull_all() -> None:
    """Read every table that is due."""
    deadline = drain_until()
    done: set[str] = set()
    while not is_over(deadline):
        with transaction():
            turn = turns.take_turn("pull", but=frozenset(done))
        if turn is None:
            return
        done.add(turn.connection_id)
        pull(turn, deadline)
    ring(JOB)


def pull(turn: Turn, deadline: float) -> None:
    """One connection's turn."""
    with calls_of(turn) as calls:
        if turn.reads:
            read_changes(turn, calls, deadline)
        elif turn.full_due:
            _compare(turn, calls, deadline)
        else:
            with transaction():
                commands.finish_pull(turn, since="", full=False, wait=ONLY_WRITTEN, calls=0)


def read_changes(turn: Turn, calls: Calls, deadline: float, *, to_write: bool = False) -> bool:
    """Take over what changed in the table. False when that is not done: it goes on in the next turn, or asks something.

    to_write: leads wait to be written. Where a webhook tells what is new, they need not wait until a table that was
    read before has been compared as a whole.
    """
    alive = _webhook(turn, calls) if turn.webhook_wanted else False
    fresh = alive and not turn.webhook_id  # just made: it knows nothing of before
    try:
        if alive and not fresh and (not turn.full_due or (to_write and turn.pulled_seconds is not None)):
            return _by_webhook(turn, calls, deadline)
        if not alive and not turn.full_due and turn.modified_name and turn.pull_since:
            return _by_time(turn, calls, deadline)
        return _whole(turn, calls, deadline, alive=alive)
    except Permanent as error:
        calls.check_schema(error)
        raise


def _wait(turn: Turn, *, alive: bool) -> timedelta:
    return WITH_WEBHOOK if alive else timedelta(minutes=queries.connection(turn.connection_id).poll_minutes)


# --- by asking ----------------------------------------------------------------------------------------------------------


def _by_time(turn: Turn, calls: Calls, deadline: float) -> bool:
    """Records whose last-modified column is later than the latest we have seen; Airtable's clock on both sides."""
    after = readings.as_airtable(datetime.fromisoformat(turn.pull_since) - OVERLAP)
    return _read(turn, calls, deadline, after=after, wait=_wait(turn, alive=False))


def _whole(turn: Turn, calls: Calls, deadline: float, *, alive: bool) -> bool:
    """Every record; also tells which are gone."""
    return _read(turn, calls, deadline, after="", wait=_wait(turn, alive=alive))


def _compare(turn: Turn, calls: Calls, deadline: float) -> None:
    """A table into which we only write: see what people changed or deleted there, so that it is written again."""
    try:
        _read(turn, calls, deadline, after="", wait=ONLY_WRITTEN)
    except Permanent as error:
        calls.check_schema(error)
        raise


def _read(turn: Turn, calls: Calls, deadline: float, *, after: str, wait: timedelta) -> bool:
    """Page after page, from where an earlier turn ended; False when the next turn has to go on, or a person to answer.

    after: only what changed after this moment (ISO); "" for everything.
    """
    with transaction():
        reading = readings.go_on(turn, after=after)
    resumed_at = reading.offset
    while reading.offset is not None:
        try:
            page = calls(
                lambda api, at=reading.offset: api.page(  # type: ignore[misc]
                    turn.base_id,
                    turn.table_id,
                    turn.wanted_columns,
                    changed_since=(turn.modified_name, after) if after else None,
                    offset=at or None,
                )
            )
        except Permanent as error:
            # An offset from an earlier turn may be too old by now, or of a token or a column that was changed since;
            # one from this turn is not.
            if not resumed_at or reading.offset != resumed_at:
                raise
            log.warning(
                "airtable refuses the offset, reading from the start",
                connection_id=turn.connection_id,
                code=error.code,
            )
            with transaction():
                reading = readings.begin_again(turn, after=after)
            continue
        with transaction():
            reading = readings.note_page(turn, reading, page, calls=calls.take())
        if reading.offset is not None and is_over(deadline):
            ring(JOB)
            return False
    with transaction():
        readings.end(turn, reading)
        if not after and not gone.note_missing(turn, reading.id):
            turns.count_calls(turn.base_id, calls.take())
            return False
        since = reading.since if turn.reads else ""
        commands.finish_pull(turn, since=since, full=not after, wait=wait, calls=calls.take())
    return True


# --- by webhook ---------------------------------------------------------------------------------------------------------


def _webhook(turn: Turn, calls: Calls) -> bool:
    """Whether there is a living webhook; makes or prolongs it. Without one the table is polled, and it says why."""
    try:
        if not turn.webhook_id:
            return _make_webhook(turn, calls)
        left = turn.webhook_expires_in
        if left is not None and left < REFRESH_BEFORE.total_seconds():
            expires = calls(lambda api: api.refresh_webhook(turn.base_id, turn.webhook_id))
            with transaction():
                gone.prolong_webhook(turn, expires, calls=calls.take())
            if left <= 0:  # it was over already, and what happened since is not in it
                _drop(turn, calls, None, retry=True)
                return False
    except (Permanent, Misconfigured) as error:
        # 404: removed by somebody; anything else: this token or base may not have one.
        _drop(turn, calls, error.detail if turn.webhook_id == "" else None, retry=turn.webhook_id != "")
        return False
    return True


def _make_webhook(turn: Turn, calls: Calls) -> bool:
    there = calls(lambda api: api.webhooks(turn.base_id))
    for hook in there:
        if (
            hook.url == turn.webhook_url
        ):  # ours, of an installation whose memory of it was lost: its secret is, too
            calls(lambda api, old=hook.id: api.delete_webhook(turn.base_id, old))  # type: ignore[misc]
    if len([hook for hook in there if hook.url != turn.webhook_url]) >= WEBHOOKS_PER_BASE:
        _drop(turn, calls, "full", retry=False)
        return False
    made = calls(lambda api: api.create_webhook(turn.base_id, turn.table_id, turn.webhook_url))
    with transaction():
        gone.keep_webhook(turn, made, calls=calls.take())
    return True


def _drop(turn: Turn, calls: Calls, reason: str | None, *, retry: bool) -> None:
    with transaction():
        gone.drop_webhook(turn, reason, calls=calls.take(), retry=retry)


def _by_webhook(turn: Turn, calls: Calls, deadline: float) -> bool:
    """What one turn can read since the cursor, taken together: of several changes to a record the last counts."""
    cursor, items, pages = turn.webhook_cursor, [], 0
    while True:
        try:
            page = calls(
                lambda api, at=cursor: api.changes(  # type: ignore[misc]
                    turn.base_id, turn.webhook_id, turn.table_id, at
                )
            )
        except Permanent:
            _drop(turn, calls, None, retry=True)
            return _whole(turn, calls, deadline, alive=False)
        pages += 1
        if page.error:
            log.warning("airtable webhook is broken", connection_id=turn.connection_id, code=page.error)
            _drop(turn, calls, None, retry=True)
            return _whole(turn, calls, deadline, alive=False)
        if _is_gap(page, cursor) or pages > PAYLOAD_PAGES:
            log.warning("airtable webhook has a gap, reading everything", connection_id=turn.connection_id)
            with transaction():
                readings.demand_whole(turn, cursor=page.cursor, calls=calls.take())
            return _whole(turn, calls, deadline, alive=True)
        items += list(page.items)
        cursor = page.cursor
        if not page.more or is_over(deadline):
            break
    if any(item.columns_changed for item in items):
        calls.check_schema(Permanent("", code="UNKNOWN_FIELD_NAME"))
    return _apply(turn, calls, items, cursor, more=page.more)


def _is_gap(page: Changes, cursor: int) -> bool:
    """Payloads are kept for a week: when the first is later than the one we asked for, some are lost."""
    return bool(page.items) and page.first > cursor


def _apply(turn: Turn, calls: Calls, items: list[Change], cursor: int, *, more: bool) -> bool:
    """Take over what payloads say. more: there are others, for the next turn."""
    news, destroyed = _gathered(items)
    # The cursor moves with the last of what it stands for, in the same transaction.
    with transaction():
        commands.apply_records(turn, news, calls=calls.take())
        if not gone.note_gone(turn, destroyed, cursor=cursor):
            return False
        if more:
            commands.leave_rest(turn)
            return False
        wait = _wait(turn, alive=True)
        commands.finish_pull(turn, since="", full=False, wait=wait, calls=0)
    return True


def _gathered(items: list[Change]) -> tuple[list[News], list[str]]:
    """Each record as it is after all of them, and the records that are gone: what a record met last counts."""
    found: dict[str, News] = {}
    destroyed: set[str] = set()
    for item in items:
        moment = datetime.fromisoformat(item.at)
        for record_id, given in (*item.created.items(), *item.changed.items()):
            known = found.get(record_id)
            edited = given if record_id in item.created else item.edited.get(record_id, ())
            found[record_id] = News(
                record=Record(id=record_id, cells={**(known.record.cells if known else {}), **given}),
                partial=record_id not in item.created and (known is None or known.partial),
                edited_at={**(known.edited_at or {} if known else {}), **dict.fromkeys(edited, moment)},
            )
            destroyed.discard(record_id)  # somebody undid the deletion: the record has its old id
        for record_id in item.destroyed:
            found.pop(record_id, None)
            destroyed.add(record_id)
    return list(found.values()), sorted(destroyed)


assert timedelta(days=WEBHOOK_DAYS) > REFRESH_BEFORE
