"""Changed leads go to Airtable, ten at a time; a lead that Airtable refuses keeps nobody else back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.kit import telemetry
from app.kit.db import transaction
from app.kit.errors import Permanent, ProviderError
from app.kit.jobs import drain_until, is_over, ring
from app.leads.commands import airtable_pull
from app.leads.commands import airtable_push as commands
from app.leads.commands import airtable_turns as turns
from app.leads.commands.airtable_push import Batch, Planned, Removal
from app.leads.commands.airtable_turns import Turn
from app.leads.jobs.calls import Calls, calls_of
from app.leads.jobs.pull import read_changes
from app.leads.providers import BATCH, AirtableApi, Record
from app.leads.providers.airtable import Airtable

FRESH_SECONDS = 30.0
"""A table that was read longer ago is read before it is written, so that we do not write over news."""

JOB = "leads.push_airtable"
GONE_RECORD = frozenset(
    {"MODEL_ID_NOT_FOUND", "ROW_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND"}
)
"""What Airtable says of a record that is not there, once it is certain that its table is."""

log = telemetry.get_logger("leads")


def push_all() -> None:
    """Write everything that is due, connection by connection."""
    deadline = drain_until()
    while True:
        with transaction():
            if not commands.route_new():
                break
    done: set[str] = set()
    while not is_over(deadline):
        with transaction():
            turn = turns.take_turn("push", but=frozenset(done))
        if turn is None:
            return
        done.add(turn.connection_id)
        push(turn, deadline)
    ring(JOB)


def push(turn: Turn, deadline: float) -> None:
    """One connection's turn."""
    with calls_of(turn) as calls:
        _push(turn, calls, deadline)


def _push(turn: Turn, calls: Calls, deadline: float) -> None:
    if _should_read(turn) and not read_changes(turn, calls, deadline, to_write=True):
        return
    _look(turn, calls)
    refusing: set[str] = set()
    while not is_over(deadline):
        _write_all(turn, calls, deadline)
        with transaction():
            batch = commands.next_batch(turn)
        if batch == Batch():
            return
        for removals in _by_table(batch.removals):
            _remove_or_put_off(turn, calls, removals, refusing)
    ring(JOB)


def _should_read(turn: Turn) -> bool:
    """Where asking for changes is one call; a table without a last-modified column is only read as a whole."""
    if not turn.reads or turn.pulled_seconds is None:
        return turn.reads
    return turn.pulled_seconds > FRESH_SECONDS and bool(turn.webhook_id or turn.modified_name)


def _look(turn: Turn, calls: Calls) -> None:
    """Read the records of leads that a person wants in step, so that what differs in truth is written."""
    with transaction():
        wanted = commands.to_look_at(turn)
    for record_id in wanted:
        try:
            record = _read(turn, calls, record_id)
        except Permanent as error:
            calls.check_schema(error)
            if error.code not in GONE_RECORD:
                raise
            with transaction():
                commands.note_not_there(turn, record_id, calls=calls.take())
        else:
            with transaction():
                airtable_pull.note_looked_at(turn, record, calls=calls.take())


def _read(turn: Turn, calls: Calls, record_id: str) -> Record:
    return calls(lambda api: api.record(turn.base_id, turn.table_id, record_id))


def _write_all(turn: Turn, calls: Calls, deadline: float) -> None:
    """Ten at a time; while a call is under way the one before is recorded and the next are planned."""
    answered: tuple[Sequence[Planned], Sequence[Record]] | None = None
    waiting = _plan(turn, (), deadline)
    while waiting:
        part, waiting = waiting[:BATCH], waiting[BATCH:]
        flight = calls.start(_upsert(turn, part))
        if answered is not None:
            _record(turn, calls, *answered)
            answered = None
        waiting = waiting or _plan(turn, part, deadline)
        try:
            answered = part, flight.result()
        except Permanent as error:
            _refused(turn, calls, part, error)
    if answered is not None:
        _record(turn, calls, *answered)


def _plan(turn: Turn, under_way: Sequence[Planned], deadline: float) -> Sequence[Planned]:
    if is_over(deadline):
        return ()
    with transaction():
        return commands.next_batch(turn, but=[item.lead_id for item in under_way]).writes


def _upsert(turn: Turn, planned: Sequence[Planned]) -> Callable[[AirtableApi], list[Record]]:
    writes = [item.write for item in planned]
    return lambda api: api.upsert(
        turn.base_id, turn.table_id, turn.id_column, writes, typecast=turn.create_options
    )


def _record(turn: Turn, calls: Calls, planned: Sequence[Planned], records: Sequence[Record]) -> None:
    with transaction():
        commands.note_written(turn, planned, records, calls=calls.take())


def _refused(turn: Turn, calls: Calls, planned: Sequence[Planned], error: Permanent) -> None:
    """Airtable names no record when it refuses a batch: try its halves, until the one that is meant stands alone."""
    calls.check_schema(error)
    if len(planned) == 1:
        with transaction():
            commands.note_refused(turn, planned[0], error, calls=calls.take())
        return
    middle = len(planned) // 2
    for half in (planned[:middle], planned[middle:]):
        try:
            records = calls(_upsert(turn, half))
        except Permanent as smaller:
            _refused(turn, calls, half, smaller)
        else:
            _record(turn, calls, half, records)


def _by_table(removals: Sequence[Removal]) -> list[list[Removal]]:
    found: dict[str, list[Removal]] = {}
    for item in removals:
        found.setdefault(item.connection_id, []).append(item)
    return [group[start : start + BATCH] for group in found.values() for start in range(0, len(group), BATCH)]


def _remove_or_put_off(turn: Turn, calls: Calls, removals: Sequence[Removal], refusing: set[str]) -> None:
    """Another connection's trouble is not this turn's: its rows wait. refusing: those that had trouble in this turn."""
    owner = removals[0].connection_id
    if owner not in refusing:
        try:
            _remove(turn, calls, removals)
        except ProviderError as error:
            if owner == turn.connection_id:
                raise
            log.warning("airtable keeps a row that was left behind", connection_id=owner, code=error.code)
            refusing.add(owner)
        else:
            return
    with transaction():
        commands.put_off(turn, removals, calls=calls.take())


def _remove(turn: Turn, calls: Calls, removals: Sequence[Removal]) -> None:
    first = removals[0]
    api = Airtable(first.token, endpoint=first.endpoint) if first.elsewhere else calls.api
    ids = [item.record_id for item in removals]
    try:
        calls.elsewhere(first.base_id, api, lambda api: api.delete(first.base_id, first.table_id, ids))
    except Permanent as error:
        if error.code not in GONE_RECORD and not first.elsewhere:
            calls.check_schema(error)
        if len(removals) > 1:
            for item in removals:
                _remove(turn, calls, [item])
            return
    with transaction():
        commands.note_removed(turn, removals, calls=calls.take())
