"""Connections to Airtable as a person sets them up: token, table, columns, rules, and what to do when in doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, literal, select, update

from app.contracts.problems import Problem, problem
from app.kit.auth import Principal
from app.kit.db import Json, UtcDateTime, db, utcnow
from app.kit.errors import Conflict, Invalid, NotFound
from app.kit.jobs import ring
from app.leads import mapping
from app.leads.commands.airtable_marks import make_due
from app.leads.commands.airtable_reading import forget
from app.leads.commands.change import change_lead
from app.leads.mapping import Condition, Mapped
from app.leads.models import (
    AirtableConflict,
    AirtableConnection,
    AirtableLink,
    AirtableRoute,
    Lead,
    Stage,
)
from app.leads.providers import BaseInfo, TableInfo
from app.leads.queries import airtable as queries

NAME_LENGTH = 120
TOKEN_LENGTH = 500
POLL_MINUTES = (1, 1440)
ROUTES = 50
FIRST_CUSTOM = "custom."

CHOICES: Mapping[str, tuple[str, ...]] = {
    "direction": mapping.DIRECTIONS,
    "policy": mapping.POLICIES,
    "new_records": ("create", "ignore"),
    "remote_deletions": ("ignore", "unlink", "delete"),
    "local_deletions": ("ignore", "delete"),
}
"""What a connection's settings may be."""

FLAGS = ("create_options", "webhook_wanted")


def add_connection(*, name: str, token: str = "", stand_in: bool = False) -> AirtableConnection:
    """A draft: it has a token, its table is chosen next. Raises Invalid."""
    problems = _name_problems(name)
    if len(token) > TOKEN_LENGTH:
        problems.append(problem("/token", "too_long", "At most %(limit)s characters.", limit=TOKEN_LENGTH))
    if problems:
        raise Invalid(problems)
    row = AirtableConnection(name=name.strip(), token={"token": token.strip()} if token.strip() else None)
    row.stand_in = stand_in
    db.session.add(row)
    db.session.flush()
    return row


def choose_table(
    connection_id: str, base: BaseInfo, table: TableInfo, columns: list[dict[str, Any]]
) -> AirtableConnection:
    """Point a connection to a table and propose what goes where. Raises Conflict when leads are linked to another."""
    row = _locked(connection_id)
    linked = db.session.scalar(
        select(AirtableLink.lead_id).where(
            AirtableLink.connection_id == row.id, AirtableLink.record_id.is_not(None)
        )
    )
    if (row.base_id, row.table_id) != (base.id, table.id):
        if linked is not None:
            raise Conflict(
                problem(
                    "", "linked", "Leads are linked to this table already; make another connection instead."
                )
            )
        twin = db.session.scalar(
            select(AirtableConnection).where(
                AirtableConnection.base_id == base.id,
                AirtableConnection.table_id == table.id,
                AirtableConnection.id != row.id,
            )
        )
        if twin is not None:
            raise Conflict(problem("", "taken", "“%(name)s” uses this table already.", name=twin.name))
    pairs, id_column, modified = mapping.propose(table.columns, stages=stage_names())
    row.base_id, row.base_name = base.id, base.name[:200]
    row.table_id, row.table_name = table.id, table.name[:200]
    row.columns = columns
    row.field_map = [item.plain() for item in pairs]
    row.id_column, row.modified_column = id_column or "", modified or ""
    row.pull_since, row.next_full_at = "", None
    forget(row)
    return row


def save_fields(
    connection_id: str, pairs: Sequence[Mapped], *, id_column: str, modified_column: str
) -> AirtableConnection:
    """Say which field is kept in which column; raises Invalid with every problem."""
    row = _locked(connection_id)
    known = {column.id: column for column in queries.columns(row)}
    problems: list[Problem] = []
    if id_column not in known or known[id_column].type not in ("singleLineText", "multilineText"):
        problems.append(
            problem(
                "/id_column",
                "required",
                "Choose a text column for our lead's id; add one named “Lead ID” in Airtable if there is none.",
            )
        )
    if modified_column and (
        modified_column not in known or known[modified_column].type != "lastModifiedTime"
    ):
        problems.append(problem("/modified_column", "wrong_type", "This is no last-modified column."))
    seen: dict[str, str] = {}
    for number, item in enumerate(pairs):
        where = f"/fields/{number}"
        column = known.get(item.column)
        if column is None:
            problems.append(problem(where, "unknown_column", "This column is not in the table any more."))
        elif item.field not in mapping.LEAD_FIELDS and not (
            item.field.startswith(FIRST_CUSTOM) and len(item.field) > len(FIRST_CUSTOM)
        ):
            problems.append(problem(where, "unknown_field", "There is no field %(field)s.", field=item.field))
        elif item.direction not in mapping.DIRECTIONS:
            problems.append(problem(where, "unknown_direction", "Choose in which direction values go."))
        elif not mapping.fits(item.field, column.type):
            problems.append(
                problem(
                    where,
                    "unfit",
                    "The column “%(column)s” cannot hold this field's values.",
                    column=column.name,
                )
            )
        if item.field in seen:
            problems.append(
                problem(
                    where, "twice", "This field is already kept in “%(column)s”.", column=seen[item.field]
                )
            )
        seen[item.field] = column.name if column else item.column
        if item.column in (id_column, modified_column):
            problems.append(problem(where, "reserved", "This column is already used for the sync itself."))
    if problems:
        raise Invalid(problems)
    changed = {item.field for item in pairs} - {item["field"] for item in row.field_map}
    row.field_map = [
        {**item.plain(), "column_name": known[item.column].name, "type": known[item.column].type}
        for item in pairs
    ]
    row.id_column, row.modified_column = id_column, modified_column
    forget(row)  # of the pages that were read other columns count now
    if row.state != "draft" and changed:
        _everything_due(row)
    return row


def change_connection(connection_id: str, values: Mapping[str, Any]) -> AirtableConnection:
    """Change name, token (empty keeps it), poll_minutes, and the settings in CHOICES and FLAGS. Raises Invalid."""
    row = _locked(connection_id)
    problems = _name_problems(values["name"]) if "name" in values else []
    for name, allowed in CHOICES.items():
        if name in values and values[name] not in allowed:
            problems.append(problem(f"/{name}", "unknown_choice", "Choose one of the options."))
    minutes = values.get("poll_minutes", row.poll_minutes)
    if not isinstance(minutes, int) or not POLL_MINUTES[0] <= minutes <= POLL_MINUTES[1]:
        problems.append(
            problem(
                "/poll_minutes",
                "out_of_range",
                "From %(low)s to %(high)s minutes.",
                low=1,
                high=POLL_MINUTES[1],
            )
        )
    token = str(values.get("token") or "").strip()
    if len(token) > TOKEN_LENGTH:
        problems.append(problem("/token", "too_long", "At most %(limit)s characters.", limit=TOKEN_LENGTH))
    if problems:
        raise Invalid(problems)
    if values.get("direction", row.direction) != row.direction:
        forget(row)
    for name in (*CHOICES, *FLAGS, "poll_minutes"):
        if name in values:
            setattr(row, name, values[name])
    row.name = str(values.get("name", row.name)).strip()
    if values.get("webhook_wanted"):
        row.webhook_error = None
    if token:
        row.token = {"token": token}
        row.held_until = None  # whatever was wrong with the old one, try the new one at once
    return row


def start(connection_id: str) -> AirtableConnection:
    """Begin, or go on after a pause or a stop; raises Invalid while something is missing."""
    row = _locked(connection_id)
    problems = []
    if not row.table_id:
        problems.append(problem("/table", "required", "Choose a base and a table first."))
    elif not row.id_column:
        problems.append(problem("/id_column", "required", "Choose the column for our lead's id first."))
    elif not row.field_map:
        problems.append(problem("/fields", "required", "Say which field is kept in which column first."))
    if row.asked_deletions:
        problems.append(problem("", "asked", "Answer first what to do about the records that are gone."))
    if problems:
        raise Invalid(problems)
    first = row.state == "draft"
    row.state, row.held_until, row.failures = "active", None, 0
    row.error_code = row.last_error = None
    row.next_pull_at = utcnow()
    if first:
        if not db.session.scalar(select(AirtableRoute.id).limit(1)):
            db.session.add(AirtableRoute(connection_id=row.id, conditions=[], position=ROUTES))
            db.session.flush()
        _link_all()
    ring("leads.pull_airtable")
    ring("leads.push_airtable")
    return row


def pause(connection_id: str) -> None:
    """Touch nothing in Airtable until somebody says start; what changes meanwhile waits."""
    row = _locked(connection_id)
    if row.state == "active":
        row.state = "paused"
        row.claimed_until = row.claim_token = None


def remove_connection(connection_id: str) -> None:
    """Forget a connection with its links, rules and conflicts; leads and records stay as they are."""
    row = _locked(connection_id)
    for table in (AirtableConflict, AirtableRoute, AirtableLink):
        db.session.execute(
            delete(table)
            .where(table.connection_id == row.id)  # type: ignore[attr-defined]
            .execution_options(synchronize_session=False)
        )
    db.session.delete(row)


def resync(connection_id: str) -> None:
    """Compare everything again, both ways, as soon as possible; also what was blocked."""
    row = _locked(connection_id)
    _everything_due(row)
    row.next_pull_at = row.next_full_at = utcnow()
    row.held_until = None
    forget(row)
    _link_all()
    ring("leads.pull_airtable")
    ring("leads.push_airtable")


def resync_lead(lead_id: str) -> None:
    """Bring one lead in step, also when it was blocked or unlinked: its record is read, then what differs is written.

    Raises NotFound.
    """
    lead = db.session.get(Lead, lead_id)
    if lead is None or lead.deleted_at is not None:
        raise NotFound("lead", lead_id)
    link = db.session.get(AirtableLink, lead.id, with_for_update=True, populate_existing=True)
    if link is None:
        link = AirtableLink(lead_id=lead.id, status="new", shadow={}, changed_at={}, elsewhere=[], revision=0)
        db.session.add(link)
    link.status = "new"  # with a record: look at it first, whatever we remember of it
    link.error_code = link.last_error = None
    make_due(link, utcnow(), at_once=True)
    ring("leads.push_airtable")


def save_routes(rules: Sequence[tuple[str, Sequence[Condition]]]) -> None:
    """Replace the routing rules: (connection id, conditions) in their order. Raises Invalid with every problem."""
    problems: list[Problem] = []
    known = {row.id for row in queries.connections()}
    if len(rules) > ROUTES:
        problems.append(problem("", "too_many", "There may be at most %(limit)s of them.", limit=ROUTES))
    for number, (target, conditions) in enumerate(rules):
        if target not in known:
            problems.append(problem(f"/rules/{number}", "unknown_connection", "Choose where these leads go."))
        problems += [
            Problem(
                where=f"/rules/{number}{item.where}",
                code=item.code,
                template=item.template,
                params=item.params,
            )
            for item in mapping.problems_of(conditions)
        ]
    if sum(1 for _, conditions in rules if not conditions) > 1:
        problems.append(problem("", "two_defaults", "Only one rule can take all other leads."))
    if problems:
        raise Invalid(problems)
    db.session.execute(delete(AirtableRoute).execution_options(synchronize_session=False))
    for number, (target, conditions) in enumerate(rules):
        plain = [{"field": c.field, "operator": c.operator, "value": c.value} for c in conditions]
        db.session.add(AirtableRoute(connection_id=target, conditions=plain, position=number))
    db.session.flush()
    _link_all()
    _all_due(AirtableLink.status != "unlinked")
    ring("leads.push_airtable")


def resolve_conflict(conflict_id: str, choice: str, *, by: Principal) -> None:
    """Take our value or Airtable's, whoever had won. Raises NotFound, Invalid when it cannot be taken."""
    row = db.session.get(AirtableConflict, conflict_id, with_for_update=True, populate_existing=True)
    if row is None or row.resolved_at is not None:
        raise NotFound("conflict", conflict_id)
    if choice not in ("ours", "airtable"):
        raise Invalid([problem("", "unknown_choice", "Choose one of the options.")])
    value = row.ours if choice == "ours" else row.theirs
    if row.field in mapping.LEAD_FIELDS:
        given: dict[str, Any] = {row.field: None if row.field in ("email", "phone") and not value else value}
    else:
        given = {"custom": {row.field.removeprefix(FIRST_CUSTOM): value}}
    change_lead(row.lead_id, given, by=by)
    row.resolved_at, row.resolved_by = utcnow(), by.name[:130]


def stage_names() -> dict[str, tuple[str, ...]]:
    """Each stage's key and the names it goes by."""
    rows = db.session.scalars(select(Stage).order_by(Stage.position, Stage.key))
    return {stage.key: (stage.name_es, stage.name_en) for stage in rows}


def _everything_due(row: AirtableConnection) -> None:
    _all_due(AirtableLink.connection_id == row.id, AirtableLink.status != "unlinked")


def _all_due(*where: Any) -> None:
    now = utcnow()
    db.session.execute(
        update(AirtableLink)
        .where(*where)
        .values(due_at=now, dirty_since=now, revision=AirtableLink.revision + 1)
        .execution_options(synchronize_session=False)
    )


def _link_all() -> None:
    """Every living lead gets a link, due now: one statement, however many there are."""
    now = utcnow()
    missing = (
        select(
            Lead.id,
            literal("new"),
            literal(False),
            literal({}, Json),
            literal({}, Json),
            literal([], Json),
            literal(1),
            literal(now, UtcDateTime),
            literal(now, UtcDateTime),
        )
        .outerjoin(AirtableLink, AirtableLink.lead_id == Lead.id)
        .where(Lead.deleted_at.is_(None), AirtableLink.lead_id.is_(None))
    )
    names = [
        "lead_id", "status", "tagged", "shadow", "changed_at", "elsewhere", "revision", "dirty_since", "due_at",
    ]  # fmt: skip
    db.session.execute(
        insert(AirtableLink).from_select(names, missing, include_defaults=False),
        execution_options={"synchronize_session": False},
    )


def _locked(connection_id: str) -> AirtableConnection:
    queries.connection(connection_id)
    row: AirtableConnection | None = db.session.get(
        AirtableConnection, connection_id, with_for_update=True, populate_existing=True
    )
    if row is None:
        raise NotFound("Airtable connection", connection_id)
    return row


def _name_problems(name: Any) -> list[Problem]:
    if not isinstance(name, str) or not name.strip():
        return [problem("/name", "required", "Give the connection a name.")]
    if len(name.strip()) > NAME_LENGTH:
        return [problem("/name", "too_long", "At most %(limit)s characters.", limit=NAME_LENGTH)]
    return []
