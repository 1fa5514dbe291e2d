"""The stand-in's rules: who may ask, how often, and what becomes of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from app.leads.providers import BATCH, CALLS_PER_SECOND, OFFSET_EXPIRED, PAGE, PENALTY_SECONDS
from app.leads.providers.fake.answers import Answer, Ask, Refusal, no_model, not_found
from app.leads.providers.fake.cells import accepted, iso, shown
from app.leads.providers.fake.hooks import Hooks, Ping
from app.leads.providers.fake.store import Store, new_id

READERS = frozenset({"read", "comment", "edit", "create"})
WRITERS = frozenset({"edit", "create"})
OFFSET_SECONDS = 300.0
"""How long an offset can be used: Airtable says no number, people report some minutes."""
_OFFSET = re.compile(r"itr(\d+)/(\d+)")  # the last record that was listed, and when
_IS_AFTER = re.compile(r"\s*IS_AFTER\(\s*\{((?:[^}\\]|\\.)*)\}\s*,\s*'([^']*)'\s*\)\s*")


class StandIn:
    """Answers requests. token: the only one that is accepted. clock: seconds since 1970; a test's may jump.

    ping: called with each notification of a webhook, which it must deliver; None: nobody is told.
    """

    def __init__(
        self,
        store: Store,
        *,
        token: str,
        clock: Callable[[], float] = time.time,
        ping: Callable[[Ping], None] | None = None,
    ) -> None:
        self.store = store
        self.refused = 0  # calls answered 429 so far
        self._token = token
        self._clock = clock
        self._hooks = Hooks(clock=clock)
        self._ping = ping

    def handle(self, ask: Ask) -> Answer:
        """Answer one request."""
        try:
            if not ask.token:
                raise Refusal(401, "AUTHENTICATION_REQUIRED", "Authentication required")
            if ask.token != self._token:
                raise Refusal(401, "AUTHENTICATION_REQUIRED", "Invalid authentication token")
            parts = [part for part in ask.path.split("/") if part]
            if not parts or parts[0] != "v0":
                raise not_found()
            answer, pings = self._dispatch(ask, parts[1:])
        except Refusal as refusal:
            if refusal.status == 429:
                self.refused += 1
            return refusal.answer()
        for ping in pings:
            if self._ping is not None:
                self._ping(ping)
        return answer

    def edit(self, table_id: str, record_id: str | None, cells: dict[str, Any]) -> str:
        """Change or add a record as a person in Airtable's own pages does: no limits, choices are made."""
        with self.store.transaction() as db:
            base_id, columns = self._table_row(db, table_id)
            names = {column["id"] for column in columns}
            made = self._write(
                db,
                table_id,
                columns,
                record_id,
                {k: v for k, v in cells.items() if k in names},
                typecast=True,
            )
            pings = self._hooks.note(db, base_id, table_id, [made], columns)
        for ping in pings:
            if self._ping is not None:
                self._ping(ping)
        return str(made["id"])

    def remove(self, table_id: str, record_ids: list[str]) -> int:
        """Delete records as a person does; how many of them there were."""
        with self.store.transaction() as db:
            base_id, columns = self._table_row(db, table_id)
            delete = "DELETE FROM record WHERE id = ? AND tabular = ?"
            gone = [key for key in record_ids if db.execute(delete, (key, table_id)).rowcount]
            pings = self._hooks.note(db, base_id, table_id, [], columns, destroyed=gone) if gone else []
        for ping in pings:
            if self._ping is not None:
                self._ping(ping)
        return len(gone)

    # --- where a request leads -----------------------------------------------------------------------------------------

    def _dispatch(self, ask: Ask, parts: list[str]) -> tuple[Answer, list[Ping]]:
        with self.store.transaction() as db:
            if parts == ["meta", "whoami"]:
                return Answer(body={"id": "usrEmbudoStandIn0"}), []
            if parts == ["meta", "bases"]:
                rows = db.execute(
                    "SELECT id, name, permission FROM base WHERE permission != 'none'"
                ).fetchall()
                found = [{"id": row[0], "name": row[1], "permissionLevel": row[2]} for row in rows]
                return Answer(body={"bases": found}), []
        if len(parts) == 4 and parts[:2] == ["meta", "bases"] and parts[3] == "tables":
            self._admit(parts[2])
            with self.store.transaction() as db:
                self._permission(db, parts[2], READERS)
                return Answer(body={"tables": self._schema(db, parts[2])}), []
        if len(parts) >= 3 and parts[0] == "bases" and parts[2] == "webhooks":
            self._admit(parts[1])
            with self.store.transaction() as db:
                self._permission(db, parts[1], WRITERS)
                return Answer(body=self._hooks.handle(db, ask, parts[1], parts[3:])), []
        if len(parts) not in (2, 3) or not parts[0].startswith("app"):
            raise not_found()
        self._admit(parts[0])
        with self.store.transaction() as db:
            return self._records(db, ask, parts)

    def _admit(self, base_id: str) -> None:
        """Five calls within a second; the sixth closes the base for half a minute."""
        now = self._clock()
        with self.store.transaction() as db:
            until = db.execute("SELECT until FROM penalty WHERE base = ?", (base_id,)).fetchone()
            closed = until is not None and until[0] > now
            if not closed:
                db.execute("DELETE FROM call WHERE base = ? AND at <= ?", (base_id, now - 1.0))
                seen = db.execute("SELECT count(*) FROM call WHERE base = ?", (base_id,)).fetchone()[0]
                if seen >= CALLS_PER_SECOND:
                    db.execute(
                        "INSERT OR REPLACE INTO penalty VALUES (?, ?)", (base_id, now + PENALTY_SECONDS)
                    )
                    closed = True
                else:
                    db.execute("INSERT INTO call VALUES (?, ?)", (base_id, now))
        if closed:
            raise Refusal(429, "RATE_LIMIT_REACHED", "Rate limit exceeded. Please try again later")

    def _permission(self, db: Any, base_id: str, levels: frozenset[str]) -> None:
        row = db.execute("SELECT permission FROM base WHERE id = ?", (base_id,)).fetchone()
        if row is None or row[0] == "none":
            raise no_model()
        if row[0] not in levels:
            raise Refusal(403, "INVALID_PERMISSIONS", "You are not permitted to perform this operation")

    def _schema(self, db: Any, base_id: str) -> list[dict[str, Any]]:
        rows = db.execute("SELECT id, name, columns FROM tabular WHERE base = ? ORDER BY rowid", (base_id,))
        return [
            {
                "id": row[0],
                "name": row[1],
                "primaryFieldId": (columns[0]["id"] if columns else ""),
                "fields": [{k: v for k, v in column.items() if k != "always"} for column in columns],
                "views": [],
            }
            for row in rows.fetchall()
            for columns in [json.loads(row[2])]
        ]

    def _table_row(
        self, db: Any, table_id: str, base_id: str | None = None
    ) -> tuple[str, list[dict[str, Any]]]:
        row = db.execute(
            "SELECT base, columns, id FROM tabular WHERE id = ? OR (name = ? AND base = ?)",
            (table_id, table_id, base_id),
        ).fetchone()
        if row is None or (base_id is not None and row[0] != base_id):
            raise no_model()
        return row[0], json.loads(row[1])

    # --- records -------------------------------------------------------------------------------------------------------

    def _records(self, db: Any, ask: Ask, parts: list[str]) -> tuple[Answer, list[Ping]]:
        base_id, table_id = parts[0], parts[1]
        writing = ask.method != "GET" and parts[2:] != ["listRecords"]
        self._permission(db, base_id, WRITERS if writing else READERS)
        _, columns = self._table_row(db, table_id, base_id)
        if ask.method == "GET" and len(parts) == 2:
            query = {name: ask.first(name) for name in ask.query}
            return Answer(
                body=self._page(db, table_id, columns, {**query, "fields": ask.query.get("fields[]")})
            ), []
        if ask.method == "GET":
            return Answer(body=self._one(db, ask, table_id, columns, parts[2])), []
        if ask.method == "POST" and parts[2:] == ["listRecords"]:
            return Answer(body=self._page(db, table_id, columns, ask.json())), []
        if ask.method == "DELETE":
            wanted = parts[2:] or ask.query.get("records[]") or ask.query.get("records") or []
            return self._delete(db, base_id, table_id, columns, wanted)
        if ask.method in ("PATCH", "PUT", "POST") and len(parts) == 2:
            return self._write_many(db, ask, base_id, table_id, columns)
        raise not_found()

    def _one(
        self, db: Any, ask: Ask, table_id: str, columns: list[dict[str, Any]], record_id: str
    ) -> dict[str, Any]:
        row = db.execute(
            "SELECT number, id, cells, created, modified FROM record WHERE tabular = ? AND id = ?",
            (table_id, record_id),
        ).fetchone()
        if row is None:
            raise Refusal(404, "MODEL_ID_NOT_FOUND", "Record not found")
        return self._shown(columns, row, by_id=bool(ask.first("returnFieldsByFieldId")))

    def _page(
        self, db: Any, table_id: str, columns: list[dict[str, Any]], query: dict[str, Any]
    ) -> dict[str, Any]:
        size = int(query.get("pageSize") or PAGE)
        if not 1 <= size <= PAGE:
            raise Refusal(422, "INVALID_REQUEST_UNKNOWN", "Invalid request: parameter validation failed.")
        wanted = self._wanted(columns, query.get("fields"))
        after = self._formula(columns, query.get("filterByFormula") or "")
        start = self._start(str(query.get("offset") or ""))
        rows = db.execute(
            "SELECT number, id, cells, created, modified FROM record WHERE tabular = ? AND number > ? AND modified > ?"
            " ORDER BY number LIMIT ?",
            (table_id, start, after, size + 1),
        ).fetchall()
        page: dict[str, Any] = {
            "records": [
                self._shown(columns, row, wanted, by_id=bool(query.get("returnFieldsByFieldId")))
                for row in rows[:size]
            ]
        }
        if len(rows) > size:
            page["offset"] = f"itr{rows[size - 1][0]}/{int(self._clock())}"
        return page

    def _start(self, offset: str) -> int:
        if not offset:
            return 0
        found = _OFFSET.fullmatch(offset)
        if found is None or self._clock() - int(found.group(2)) > OFFSET_SECONDS:
            raise Refusal(422, OFFSET_EXPIRED, "The iterator is no longer available.")
        return int(found.group(1))

    def _wanted(self, columns: list[dict[str, Any]], fields: list[str] | None) -> set[str] | None:
        if not fields:
            return None
        known = {column["id"]: column["id"] for column in columns} | {c["name"]: c["id"] for c in columns}
        for name in fields:
            if name not in known:
                raise Refusal(422, "UNKNOWN_FIELD_NAME", f'Unknown field name: "{name}"')
        return {known[name] for name in fields}

    def _formula(self, columns: list[dict[str, Any]], formula: str) -> float:
        """Only what we ask ourselves: records changed after a moment."""
        if not formula:
            return -1.0
        found = _IS_AFTER.fullmatch(formula)
        bad = "The formula for filtering records is invalid: "
        if found is None:
            raise Refusal(
                422, "INVALID_FILTER_BY_FORMULA", bad + "Invalid formula. Please check your formula text."
            )
        name = re.sub(r"\\(.)", r"\1", found.group(1))
        if name not in {column["name"] for column in columns if column["type"] == "lastModifiedTime"}:
            raise Refusal(422, "INVALID_FILTER_BY_FORMULA", f"{bad}Unknown field names: {name.lower()}")
        return datetime.fromisoformat(found.group(2)).timestamp()

    def _shown(
        self, columns: list[dict[str, Any]], row: Any, wanted: set[str] | None = None, *, by_id: bool
    ) -> dict[str, Any]:
        number, record_id, cells, created, modified = row
        names = {column["id"]: column["name"] for column in columns}
        found = shown(columns, json.loads(cells), created=created, modified=modified, number=number)
        fields = {
            (key if by_id else names[key]): value
            for key, value in found.items()
            if wanted is None or key in wanted
        }
        return {"id": record_id, "createdTime": iso(created), "fields": fields}

    def _write_many(
        self, db: Any, ask: Ask, base_id: str, table_id: str, columns: list[dict[str, Any]]
    ) -> tuple[Answer, list[Ping]]:
        body = ask.json()
        records = body.get("records")
        if not isinstance(records, list) or not records:
            raise Refusal(
                422, "INVALID_REQUEST_MISSING_FIELDS", 'Could not find field "records" in the request body'
            )
        if len(records) > BATCH:
            raise Refusal(422, "INVALID_RECORDS", f"You can only write up to {BATCH} records per request")
        merge_on = self._merge_columns(columns, body)
        self._wanted(columns, [name for item in records for name in item.get("fields", {})])
        known = {column["id"]: column["id"] for column in columns} | {c["name"]: c["id"] for c in columns}
        made = []
        for item in records:
            cells = {known[name]: value for name, value in item.get("fields", {}).items()}
            record_id = item.get("id") or (self._match(db, table_id, merge_on, cells) if merge_on else None)
            if item.get("id") is None and ask.method != "POST" and not merge_on:
                raise Refusal(422, "INVALID_RECORDS", "Each record must have an id")
            made.append(
                self._write(
                    db,
                    table_id,
                    columns,
                    record_id,
                    cells,
                    typecast=bool(body.get("typecast")),
                    clear=ask.method == "PUT",
                )
            )
        by_id = bool(body.get("returnFieldsByFieldId"))
        answer: dict[str, Any] = {
            "records": [self._shown(columns, item["row"], by_id=by_id) for item in made]
        }
        if merge_on:
            answer["createdRecords"] = [item["id"] for item in made if item["new"]]
            answer["updatedRecords"] = [item["id"] for item in made if not item["new"]]
        return Answer(body=answer), self._hooks.note(db, base_id, table_id, made, columns)

    def _merge_columns(self, columns: list[dict[str, Any]], body: dict[str, Any]) -> list[str]:
        upsert = body.get("performUpsert")
        if upsert is None:
            return []
        names = upsert.get("fieldsToMergeOn") or []
        if not 1 <= len(names) <= 3:
            raise Refusal(422, "INVALID_REQUEST_UNKNOWN", "fieldsToMergeOn must have one to three fields")
        return sorted(self._wanted(columns, names) or ())

    def _match(self, db: Any, table_id: str, merge_on: list[str], cells: dict[str, Any]) -> str | None:
        if any(cells.get(column) in (None, "") for column in merge_on):
            raise Refusal(422, "INVALID_RECORDS", "Each record must have a value for every field to merge on")
        rows = db.execute("SELECT id, cells FROM record WHERE tabular = ? AND instr(cells, ?)",
                          (table_id, json.dumps(cells[merge_on[0]]))).fetchall()  # fmt: skip
        found = [
            row[0]
            for row in rows
            for kept in [json.loads(row[1])]
            if all(kept.get(column) == cells[column] for column in merge_on)
        ]
        if len(found) > 1:
            raise Refusal(
                422,
                "INVALID_REQUEST_UNKNOWN",
                "Cannot upsert: more than one record matches the fields to merge on",
            )
        return found[0] if found else None

    def _write(
        self,
        db: Any,
        table_id: str,
        columns: list[dict[str, Any]],
        record_id: str | None,
        cells: dict[str, Any],
        *,
        typecast: bool,
        clear: bool = False,
    ) -> dict[str, Any]:
        by_id = {column["id"]: column for column in columns}
        before = json.dumps(columns)
        new = {key: accepted(by_id[key], value, typecast=typecast) for key, value in cells.items()}
        if json.dumps(columns) != before:
            db.execute("UPDATE tabular SET columns = ? WHERE id = ?", (json.dumps(columns), table_id))
        now = int(self._clock() * 1000) / 1000  # as precise as it is told
        old: dict[str, Any] = {}
        if record_id is None:
            record_id, is_new = new_id("rec"), True
            db.execute(
                "INSERT INTO record (id, tabular, cells, created, modified) VALUES (?, ?, '{}', ?, ?)",
                (record_id, table_id, now, now),
            )
        else:
            row = db.execute(
                "SELECT cells FROM record WHERE id = ? AND tabular = ?", (record_id, table_id)
            ).fetchone()
            if row is None:
                raise Refusal(404, "MODEL_ID_NOT_FOUND", "Record not found")
            old, is_new = json.loads(row[0]), False
        kept = {k: v for k, v in {**({} if clear else old), **new}.items() if v is not None}
        if kept != old or is_new:
            db.execute(
                "UPDATE record SET cells = ?, modified = ? WHERE id = ?", (json.dumps(kept), now, record_id)
            )
        row = db.execute(
            "SELECT number, id, cells, created, modified FROM record WHERE id = ?", (record_id,)
        ).fetchone()
        changed = {key for key in {*old, *kept} if old.get(key) != kept.get(key)}
        return {"id": record_id, "new": is_new, "changed": changed, "cells": kept, "row": row}

    def _delete(
        self, db: Any, base_id: str, table_id: str, columns: list[dict[str, Any]], wanted: list[str]
    ) -> tuple[Answer, list[Ping]]:
        if not 1 <= len(wanted) <= BATCH:
            raise Refusal(422, "INVALID_RECORDS", f"You can delete 1 to {BATCH} records per request")
        for record_id in wanted:
            done = db.execute("DELETE FROM record WHERE id = ? AND tabular = ?", (record_id, table_id))
            if not done.rowcount:
                raise Refusal(404, "MODEL_ID_NOT_FOUND", "Record not found")
        body = {"records": [{"id": record_id, "deleted": True} for record_id in wanted]}
        return Answer(body=body), self._hooks.note(db, base_id, table_id, [], columns, destroyed=wanted)
