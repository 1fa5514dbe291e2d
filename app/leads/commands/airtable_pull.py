"""What Airtable says becomes leads: each page of records is taken over in one transaction.

Changes go through the same commands as everybody's, so the same rules hold and the same events leave; who made them
is "Airtable". A value that a lead cannot have (no e-mail address, no stage of ours) is left out and told, the rest of
the record is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from app.contracts.events import AirtableConflict as ConflictFound
from app.contracts.problems import Problem
from app.kit import telemetry
from app.kit.db import db, utcnow
from app.kit.errors import Conflict, EmbudoError, Invalid, NotFound
from app.kit.jobs import ring
from app.kit.outbox import publish
from app.leads import mapping
from app.leads.commands.airtable_marks import AIRTABLE, make_due
from app.leads.commands.airtable_turns import Turn, heal, keep_turn, links_of, tell
from app.leads.commands.change import change_lead
from app.leads.commands.create import create_lead
from app.leads.mapping import Mapped, Policy, differs
from app.leads.models import AirtableConflict, AirtableLink, Lead
from app.leads.providers import Record
from app.leads.queries import airtable as queries
from app.leads.queries.cached import canonical

CUSTOM = "custom."
FULL_EVERY = timedelta(hours=24)
"""A whole comparison finds what changes alone cannot tell: deleted records, and whatever a lost webhook meant."""

log = telemetry.get_logger("leads")


@dataclass(frozen=True, kw_only=True)
class News:
    """A record as it came. partial: absent cells say nothing (a webhook's payload).

    edited_at: when which column was changed, by its id, as payloads tell it; None: all that is known is in the
    record's last-modified column.
    """

    record: Record
    partial: bool = False
    edited_at: Mapping[str, datetime] | None = None


@dataclass
class _Page:
    """What is loaded for one page, so that no record costs a query of its own."""

    by_record: dict[str, AirtableLink] = field(default_factory=dict)
    by_lead: dict[str, AirtableLink] = field(default_factory=dict)
    leads: dict[str, Lead] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)


def apply_records(turn: Turn, news: Sequence[News], *, calls: int) -> None:
    """Take over a page of records."""
    row = keep_turn(turn, calls=calls)
    heal(row)
    page = _load(turn, news)
    for item in news:
        _apply(turn, page, item)
        if row.reading_id is not None and (link := page.by_record.get(item.record.id)) is not None:
            link.seen_in = row.reading_id
    tell(turn.connection_id, "in", page.done)


def note_looked_at(turn: Turn, record: Record, *, calls: int) -> None:
    """Take over a record that was read for its own sake; whatever still differs is written then."""
    apply_records(turn, [News(record=record)], calls=calls)
    for link in links_of(turn, [record.id]):
        link.status = "synced"


def finish_pull(turn: Turn, *, since: str, full: bool, wait: timedelta, calls: int) -> None:
    """A pull is complete: remember up to where, and when the next one is."""
    row = keep_turn(turn, calls=calls)
    heal(row)
    now = utcnow()
    row.pulled_at, row.next_pull_at = now, now + wait
    if row.webhook_pinged not in ("", turn.webhook_pinged):
        row.next_pull_at = now  # the ping came after we had asked, so its change may not be in what we read
        ring("leads.pull_airtable")
    if not full and queries.whole_is_due(row, now):
        row.next_pull_at = now
    row.pull_since = max(row.pull_since, since)
    if full:
        row.next_full_at = now + FULL_EVERY


def leave_rest(turn: Turn) -> None:
    """There is more to read than one turn can: the next one goes on at once."""
    keep_turn(turn).next_pull_at = utcnow()
    ring("leads.pull_airtable")


def _load(turn: Turn, news: Sequence[News]) -> _Page:
    page = _Page()
    record_ids = [item.record.id for item in news]
    told = [_lead_id(turn, item.record) for item in news]
    lead_ids = {lead_id for lead_id in told if lead_id}
    links = {link.lead_id: link for link in links_of(turn, record_ids)}
    missing = lead_ids - links.keys()
    if missing:
        for link in db.session.scalars(
            select(AirtableLink)
            .where(AirtableLink.lead_id.in_(missing))
            .execution_options(populate_existing=True)
        ):
            links[link.lead_id] = link
    page.by_lead = links
    page.by_record = {
        link.record_id: link
        for link in links.values()
        if link.record_id and link.connection_id == turn.connection_id
    }
    # Leads first, then links: the order in which the other commands lock.
    for lead in db.session.scalars(
        select(Lead)
        .where(Lead.id.in_(lead_ids | links.keys()))
        .order_by(Lead.id)
        .with_for_update(of=Lead)
        .execution_options(populate_existing=True)
    ):
        page.leads[lead.id] = lead
    return page


def _lead_id(turn: Turn, record: Record) -> str | None:
    told = record.cells.get(turn.id_column)
    try:
        return canonical(told) if isinstance(told, str) else None
    except NotFound:
        return None


def _apply(turn: Turn, page: _Page, news: News) -> None:
    record = news.record
    link = page.by_record.get(record.id)
    if not turn.reads:
        if link is not None and (lead := page.leads.get(link.lead_id)) is not None:
            _compare(turn, link, lead, record)
        return
    told = _lead_id(turn, record)
    if link is None and told is not None:
        link = _adopt(turn, page, record, told)
        if link is None:
            return
    if link is None:
        _make_lead(turn, page, news)
        return
    lead = page.leads.get(link.lead_id)
    if lead is None or lead.deleted_at is not None:
        return
    if told != link.lead_id and not (news.partial and turn.id_column not in record.cells):
        # Somebody emptied or changed the column with our id; it is written again, to exactly this record.
        link.tagged = False
        make_due(link, utcnow(), at_once=True)
    _merge(turn, page, link, lead, news)


def _compare(turn: Turn, link: AirtableLink, lead: Lead, record: Record) -> None:
    """A table into which we only write: what people changed there is no news, but no longer what we wrote."""
    outward = [item for item in turn.pairs if item.goes_out]
    theirs, _ = mapping.from_airtable(record.cells, outward)
    ours = queries.values_for(lead, outward)
    shadow = dict(link.shadow)
    for name, value in theirs.items():
        if name in shadow and differs(value, shadow[name][1]):
            shadow[name] = [value, value]
        elif name not in shadow and not differs(ours[name], None):
            shadow[name] = [ours[name], value]  # it was there before us, and we have nothing to say
    link.shadow = shadow
    link.synced_at = utcnow()
    if any(name in shadow and differs(ours[name], shadow[name][0]) for name in theirs):
        make_due(link, utcnow(), at_once=True)


def _adopt(turn: Turn, page: _Page, record: Record, lead_id: str) -> AirtableLink | None:
    """The link of a record that carries a lead's id but is not known: our answer was lost, or a row was copied."""
    lead, link = page.leads.get(lead_id), page.by_lead.get(lead_id)
    if lead is None or lead.deleted_at is not None:
        return None
    if link is None:
        link = AirtableLink(
            lead_id=lead_id, connection_id=turn.connection_id, status="new", shadow={}, changed_at={}, elsewhere=[],
            revision=1,
        )  # fmt: skip
        db.session.add(link)
        page.by_lead[lead_id] = link
    elif link.status == "unlinked" or link.connection_id not in (None, turn.connection_id):
        return None
    elif link.record_id is not None:
        link.error_code, link.last_error = "copied", record.id
        return None
    link.connection_id, link.record_id, link.tagged, link.status = (
        turn.connection_id,
        record.id,
        True,
        "synced",
    )
    page.by_record[record.id] = link
    return link


def _make_lead(turn: Turn, page: _Page, news: News) -> None:
    """A record that somebody added in Airtable becomes a lead, or is found to be one we have."""
    if turn.new_records != "create":
        return
    values, unread = mapping.from_airtable(news.record.cells, _inward(turn))
    values = {name: value for name, value in values.items() if value not in (None, "", [], False)}
    lead, refused = _created(values)
    if lead is None:
        return  # an empty row, or one without name, address and number: nobody yet
    db.session.flush()
    link = db.session.get(AirtableLink, lead.id, with_for_update=True, populate_existing=True)
    if link is not None and (link.record_id is not None or link.status == "unlinked"):
        if link.status != "unlinked":
            link.error_code, link.last_error = "double", news.record.id
        return
    if link is None:
        link = AirtableLink(lead_id=lead.id, status="new", shadow={}, changed_at={}, elsewhere=[], revision=1)
        db.session.add(link)
    link.connection_id, link.record_id, link.tagged = turn.connection_id, news.record.id, False
    link.status = "synced"
    page.by_record[news.record.id] = page.by_lead[lead.id] = link
    page.leads[lead.id] = lead
    _note_unread(link, [*unread, *refused], turn.pairs)
    _merge(turn, page, link, lead, news)
    make_due(link, utcnow(), at_once=True)  # the record must get our lead's id


def _created(values: dict[str, Any]) -> tuple[Lead | None, list[Problem]]:
    """A lead of what can be taken of these values; None when that is nobody."""
    refused: list[Problem] = []
    for _ in range(2):
        try:
            lead, _ = create_lead({**_as_input(values), "source": "airtable"}, by=AIRTABLE)
        except (Invalid, Conflict) as error:
            refused = error.problems
            bad = _fields_of(refused)
            if not bad & values.keys():
                return None, []
            values = {name: value for name, value in values.items() if name not in bad}
        else:
            return lead, refused
    return None, []


def _merge(turn: Turn, page: _Page, link: AirtableLink, lead: Lead, news: News) -> None:
    """Three-way merge of one record into its lead."""
    theirs, unread = mapping.from_airtable(news.record.cells, turn.pairs, partial=news.partial)
    ours = queries.values_for(lead, turn.pairs)
    result = mapping.merge(
        link.shadow,
        ours,
        theirs,
        Policy(
            conflict=turn.policy,
            outward=frozenset(item.field for item in turn.pairs if item.goes_out),
            inward=frozenset(item.field for item in turn.pairs if item.comes_in),
            ours_at={name: moment for name, text in link.changed_at.items() if (moment := _moment(text))},
            theirs_at=_edits(turn, news),
        ),
    )
    refused = _take(lead, result.pull)
    shadow = dict(result.new_shadow)
    now_ours = queries.values_for(lead, turn.pairs)
    for name in result.pull:
        shadow[name] = [now_ours[name], theirs[name]]
    for name in result.push:
        # Not written yet: until it is, what we have differs from what both agreed on, so that it will be.
        shadow[name] = [theirs[name], theirs[name]]
    link.shadow = shadow
    link.synced_at = utcnow()
    if result.pull or unread or (link.error_code or "").startswith("unread"):
        _note_unread(link, [*unread, *refused], turn.pairs)
    for clash in result.conflicts:
        _note_conflict(turn, lead, clash)
    if result.push or (turn.many and result.pull):
        make_due(link, utcnow(), at_once=True)
    if any(differs(ours.get(name), now_ours.get(name)) for name in result.pull):
        page.done.append(lead.id)


def _edits(turn: Turn, news: News) -> dict[str, datetime]:
    """When each field was changed in Airtable, as far as that is known."""
    if news.edited_at is not None:
        columns = {item.field: item.column for item in turn.pairs if item.column in news.edited_at}
        return {name: news.edited_at[column] for name, column in columns.items()}
    at = _moment(news.record.cells.get(turn.modified_column))
    return {item.field: at for item in turn.pairs} if at else {}


def _take(lead: Lead, values: dict[str, Any]) -> list[Problem]:
    """Change the lead; gives the problems of what it cannot have."""
    refused: list[Problem] = []
    for _ in range(3):
        if not values:
            break
        try:
            change_lead(lead.id, _as_input(values), by=AIRTABLE)
        except (Invalid, Conflict) as error:
            refused += error.problems
            bad = _fields_of(error.problems) & values.keys()
            if not bad:
                break
            values = {name: value for name, value in values.items() if name not in bad}
        except EmbudoError as error:
            log.warning("airtable change not taken", lead_id=lead.id, error=type(error).__name__)
            break
        else:
            break
    return refused


def _as_input(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the commands take them; empty text of an optional field is None."""
    given = {name: value for name, value in values.items() if not name.startswith(CUSTOM)}
    for name in ("email", "phone"):
        if name in given and not given[name]:
            given[name] = None
    custom = {name.removeprefix(CUSTOM): value for name, value in values.items() if name.startswith(CUSTOM)}
    return given | ({"custom": custom} if custom else {})


def _fields_of(problems: Iterable[Problem]) -> set[str]:
    found = set()
    for item in problems:
        first, _, rest = item.where.strip("/").partition("/")
        found.add(f"{CUSTOM}{rest}" if first == "custom" and rest else first)
        if first == "" and item.code == "nobody":
            found |= {"name", "email", "phone"}
    return found


def _inward(turn: Turn) -> list[Mapped]:
    return [item for item in turn.pairs if item.comes_in]


def _note_unread(link: AirtableLink, problems: Sequence[Problem], pairs: tuple[Mapped, ...]) -> None:
    """Tell on the link which columns' values were not taken; no value is told."""
    if not problems:
        if link.error_code == "unread":
            link.error_code = link.last_error = None
        return
    names = {item.field: item.column_name or item.column for item in pairs}
    fields = {item.where.strip("/").replace("/", ".", 1) for item in problems}
    link.error_code = "unread"
    link.last_error = ", ".join(sorted(names.get(name, name) for name in fields if name))[:500]


def _note_conflict(turn: Turn, lead: Lead, clash: mapping.Clash) -> None:
    db.session.add(
        AirtableConflict(
            connection_id=turn.connection_id,
            lead_id=lead.id,
            field=clash.field[:80],
            ours=clash.ours,
            theirs=clash.theirs,
            winner=clash.winner,
        )
    )
    publish(
        ConflictFound(
            lead_id=lead.id,
            connection_id=turn.connection_id,
            field_name=clash.field[:80],
            winner=clash.winner,
        )
    )


def _moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) and text else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
