"""What is written into Airtable, and what is noted when it was: the two transactions around a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from app.kit import telemetry, zone
from app.kit.db import db, utcnow
from app.kit.errors import Permanent
from app.kit.secrets import Undecryptable
from app.leads import mapping
from app.leads.commands.airtable_turns import Turn, heal, keep_turn, links_of, tell
from app.leads.mapping import Mapped, differs
from app.leads.models import AirtableConnection, AirtableLink, Lead
from app.leads.providers import Record, Write
from app.leads.queries import airtable as queries

PLANNED = 50
"""Records planned at a time: five calls, little more than a second's work that another may have to repeat."""

ROUTED = 500
"""Links without a table that are given one at a time."""

LEFT_BEHIND = timedelta(minutes=5)
"""How long a row in a table that its lead has left waits when that table's connection takes no call."""

log = telemetry.get_logger("leads")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One record to write: the values behind its cells, and the lead's revision that they are from."""

    lead_id: str
    revision: int
    values: dict[str, Any]
    write: Write


@dataclass(frozen=True, kw_only=True)
class Removal:
    """A record to delete: in the turn's own table, or (elsewhere) in one that the lead has left.

    revision: the lead's, when this was found to be all that is left to do.
    """

    lead_id: str
    revision: int
    record_id: str
    connection_id: str
    base_id: str
    table_id: str
    elsewhere: bool = False
    endpoint: str | None = None
    token: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What to do next, some calls' worth; both empty: nothing is due any more."""

    writes: Sequence[Planned] = ()
    removals: Sequence[Removal] = ()


def route_new() -> int:
    """Give leads that have no table yet the one they belong to; how many were looked at."""
    now = utcnow()
    links = db.session.scalars(
        select(AirtableLink)
        .where(AirtableLink.connection_id.is_(None), AirtableLink.due_at <= now)
        .order_by(AirtableLink.due_at)
        .limit(ROUTED)
        .with_for_update(skip_locked=True)
    ).all()
    if not links:
        return 0
    leads = _leads(links)
    rules = queries.rules()
    for link in links:
        lead = leads.get(link.lead_id)
        target = queries.target_of(lead, rules) if lead is not None and lead.deleted_at is None else None
        if target is None:
            db.session.delete(link)  # no table wants it; the next change asks again
        else:
            link.connection_id = target
    return len(links)


def to_look_at(turn: Turn) -> list[str]:
    """Records that are to be read before anything is written to them: a person asked to bring the lead in step."""
    keep_turn(turn)
    found = db.session.scalars(
        select(AirtableLink.record_id)
        .where(
            AirtableLink.connection_id == turn.connection_id,
            AirtableLink.status == "new",
            AirtableLink.record_id.is_not(None),
            AirtableLink.due_at <= utcnow(),
        )
        .order_by(AirtableLink.due_at)
        .limit(PLANNED)
    )
    return [record_id for record_id in found if record_id]


def note_not_there(turn: Turn, record_id: str, *, calls: int) -> None:
    """A record that is to be written is gone: it is written anew."""
    keep_turn(turn, calls=calls)
    for link in links_of(turn, [record_id]):
        _detach(link)


def _detach(link: AirtableLink) -> None:
    link.record_id, link.tagged, link.shadow = None, False, {}


def next_batch(turn: Turn, *, but: Sequence[str] = ()) -> Batch:
    """The next records to write or delete; settles on the way what needs no call. but: leads that are under way."""
    keep_turn(turn)
    now = utcnow()
    rules = queries.rules() if turn.many else []
    while True:
        links = db.session.scalars(
            select(AirtableLink)
            .where(
                AirtableLink.connection_id == turn.connection_id,
                AirtableLink.due_at <= now,
                AirtableLink.lead_id.not_in(but),
            )
            .order_by(AirtableLink.due_at, AirtableLink.lead_id)
            .limit(PLANNED)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).all()
        if not links:
            return Batch()
        leads = _leads(links)
        writes: list[Planned] = []
        removals: list[Removal] = []
        for link in links:
            lead = leads.get(link.lead_id)
            if lead is None or lead.deleted_at is not None:
                removals += _forget(link, turn)
            elif rules and _moved(link, lead, rules, turn):
                continue
            elif link.elsewhere and link.record_id is not None and not _changed(link, lead, turn):
                removals += _left_behind(link)
            elif (planned := _plan(link, lead, turn)) is not None:
                writes.append(planned)
        if writes or removals:
            return Batch(writes=writes, removals=removals)
        db.session.flush()


def _leads(links: Sequence[AirtableLink]) -> dict[str, Lead]:
    ids = [link.lead_id for link in links]
    rows = db.session.scalars(select(Lead).where(Lead.id.in_(ids)).execution_options(populate_existing=True))
    return {lead.id: lead for lead in rows}


def _moved(link: AirtableLink, lead: Lead, rules: list[Any], turn: Turn) -> bool:
    """Send a lead that belongs elsewhere by now to its new table; the old record is remembered until it is dealt with."""
    target = queries.target_of(lead, rules)
    if target is None or target == turn.connection_id:
        return False
    if link.record_id is not None:
        link.elsewhere = [*link.elsewhere, {"connection_id": turn.connection_id, "record_id": link.record_id}]
    link.connection_id, link.record_id, link.tagged = target, None, False
    link.shadow, link.status = {}, "new"
    return True


def _changed(link: AirtableLink, lead: Lead, turn: Turn) -> dict[str, Any]:
    """The mapped values that differ from what was last agreed on; for a new record all that are not empty."""
    values = queries.values_for(lead, [item for item in turn.pairs if item.goes_out])
    if link.record_id is None:
        return {name: value for name, value in values.items() if differs(value, None)}
    return {
        name: value for name, value in values.items() if differs(value, link.shadow.get(name, (None,))[0])
    }


def _plan(link: AirtableLink, lead: Lead, turn: Turn) -> Planned | None:
    values = _changed(link, lead, turn)
    if turn.direction == "in" or (not values and link.record_id is not None and link.tagged):
        _settle(link)  # "in": the table is only read; its records make leads, not the other way round
        return None
    cells, problems = mapping.to_airtable(values, turn.pairs, zone=zone.current())
    if problems:
        refuse(link, "unwritable", problems[0].params.get("column", ""))
        return None
    record_id = link.record_id if link.record_id is not None and not link.tagged else None
    return Planned(
        lead_id=link.lead_id,
        revision=link.revision,
        values=values,
        write=Write(lead_id=link.lead_id, cells=cells, record_id=record_id),
    )


def _settle(link: AirtableLink) -> None:
    link.due_at = link.dirty_since = None
    if link.status == "blocked":
        link.status = "synced"
    if link.error_code is not None and link.record_id is not None:
        link.error_code = link.last_error = None


def _forget(link: AirtableLink, turn: Turn) -> list[Removal]:
    """A deleted lead: its record goes too where the connection says so, else only the link goes."""
    row = db.session.get(AirtableConnection, turn.connection_id)
    if link.record_id is None or row is None or row.local_deletions != "delete" or turn.direction == "in":
        db.session.delete(link)
        return []
    return [
        Removal(
            lead_id=link.lead_id,
            revision=link.revision,
            record_id=link.record_id,
            connection_id=turn.connection_id,
            base_id=turn.base_id,
            table_id=turn.table_id,
        )
    ]


def _left_behind(link: AirtableLink) -> list[Removal]:
    found: list[Removal] = []
    is_wanted = False
    for item in link.elsewhere:
        row = db.session.get(AirtableConnection, item["connection_id"])
        if row is None or row.local_deletions != "delete":
            continue
        is_wanted = True
        token = _token(row)
        if not token:
            _put_off(link, row.name)
            continue
        found.append(
            Removal(
                lead_id=link.lead_id,
                revision=link.revision,
                record_id=item["record_id"],
                connection_id=row.id,
                base_id=row.base_id,
                table_id=row.table_id,
                elsewhere=True,
                endpoint=queries.endpoint_of(row),
                token=token,
            )
        )
    if not is_wanted:
        link.elsewhere = []
        _settle(link)
    return found


def _token(row: AirtableConnection) -> str:
    """Another connection's token, "" without one that can be read: that it tells itself, when its turn comes."""
    try:
        return queries.token_of(row)
    except Undecryptable:
        return ""


def _put_off(link: AirtableLink, name: str) -> None:
    """Try a row that was left behind later. name: of the connection that it belongs to."""
    link.due_at, link.dirty_since = utcnow() + LEFT_BEHIND, None
    link.error_code, link.last_error = "left_behind", name


def put_off(turn: Turn, removals: Sequence[Removal], *, calls: int) -> None:
    """Another connection's table did not let its rows be deleted: they wait, the leads that they were of do not."""
    keep_turn(turn, calls=calls)
    row = db.session.get(AirtableConnection, removals[0].connection_id)
    links = {link.lead_id: link for link in _locked([item.lead_id for item in removals])}
    for item in removals:
        link = links.get(item.lead_id)
        # One that was changed during the call has something to write first.
        if link is not None and row is not None and link.revision == item.revision and _is_left(link, item):
            _put_off(link, row.name)


def _is_left(link: AirtableLink, item: Removal) -> bool:
    return any(left["record_id"] == item.record_id for left in link.elsewhere)


def note_written(turn: Turn, planned: Sequence[Planned], records: Sequence[Record], *, calls: int) -> None:
    """Write down what Airtable has now; changes made during the call stay due."""
    row = keep_turn(turn, calls=calls)
    heal(row)
    row.pushed_at = utcnow()
    links = {link.lead_id: link for link in _locked([item.lead_id for item in planned])}
    others = _owners(turn, [record.id for record in records])
    done = []
    for item, record in zip(planned, records, strict=True):
        link = links.get(item.lead_id)
        if link is None or link.connection_id != turn.connection_id:
            continue
        if others.get(record.id, link.lead_id) != link.lead_id:
            refuse(link, "duplicate", "")
            continue
        # The row was deleted in Airtable, and the upsert made another with nothing in it but this change.
        is_anew = link.record_id not in (None, record.id)
        link.record_id, link.tagged, link.status = record.id, True, "synced"
        link.error_code = link.last_error = None
        link.shadow = {**({} if is_anew else link.shadow), **_agreed(item.values, record, turn.pairs)}
        link.synced_at = row.pushed_at
        if link.elsewhere or is_anew:
            link.due_at = row.pushed_at
        elif link.revision == item.revision:
            link.due_at = link.dirty_since = None
        done.append(link.lead_id)
        log.info(
            "lead written to airtable",
            lead_id=link.lead_id,
            connection_id=turn.connection_id,
            request_id=link.request_id,
        )
    tell(turn.connection_id, "out", done)


def _agreed(values: dict[str, Any], record: Record, pairs: tuple[Mapped, ...]) -> dict[str, list[Any]]:
    """Our value and what the column made of it."""
    theirs, _ = mapping.from_airtable(record.cells, [item for item in pairs if item.field in values])
    return {name: [value, theirs.get(name, value)] for name, value in values.items()}


def _locked(lead_ids: list[str]) -> Sequence[AirtableLink]:
    return db.session.scalars(
        select(AirtableLink)
        .where(AirtableLink.lead_id.in_(lead_ids))
        .order_by(AirtableLink.lead_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()


def _owners(turn: Turn, record_ids: list[str]) -> dict[str, str]:
    rows = db.session.execute(
        select(AirtableLink.record_id, AirtableLink.lead_id).where(
            AirtableLink.connection_id == turn.connection_id, AirtableLink.record_id.in_(record_ids)
        )
    )
    return {record_id: lead_id for record_id, lead_id in rows if record_id}


def note_refused(turn: Turn, planned: Planned, error: Permanent, *, calls: int) -> None:
    """One record that Airtable will not take; it waits for a change or a person and blocks nobody else."""
    heal(keep_turn(turn, calls=calls))
    for link in _locked([planned.lead_id]):
        if error.code in ("ROW_DOES_NOT_EXIST", "MODEL_ID_NOT_FOUND") and planned.write.record_id:
            _detach(link)  # gone meanwhile: write it anew
            continue
        refuse(link, error.code or "refused", error.detail)


def refuse(link: AirtableLink, code: str, detail: str) -> None:
    """Set a lead aside with the reason."""
    link.status, link.due_at, link.dirty_since = "blocked", None, None
    link.error_code, link.last_error = code[:60], detail[:500]
    log.warning("airtable refuses a lead", lead_id=link.lead_id, code=code, request_id=link.request_id)


def note_removed(turn: Turn, removals: Sequence[Removal], *, calls: int) -> None:
    """The records are gone (or were already)."""
    keep_turn(turn, calls=calls)
    links = {link.lead_id: link for link in _locked([item.lead_id for item in removals])}
    for item in removals:
        link = links.get(item.lead_id)
        if link is None:
            continue
        if item.elsewhere:
            link.elsewhere = [left for left in link.elsewhere if left["record_id"] != item.record_id]
        else:
            db.session.delete(link)
