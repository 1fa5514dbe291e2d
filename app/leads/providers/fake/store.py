"""Where the stand-in keeps its tables: a SQLite file, because several web processes answer for it, or memory.

The standard library's sqlite3 and not the product's databases: this is somebody else's data, and it may be deleted
at any time by deleting the file.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import string
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ALPHABET = string.ascii_letters + string.digits
BUSY_SECONDS = 15.0
LEADS_BASE = "appEmbudoStandIn0"
LEADS_TABLE = "tblEmbudoLeads000"

_TABLES = """
CREATE TABLE IF NOT EXISTS base (id TEXT PRIMARY KEY, name TEXT, permission TEXT);
CREATE TABLE IF NOT EXISTS tabular (id TEXT PRIMARY KEY, base TEXT, name TEXT, columns TEXT);
CREATE TABLE IF NOT EXISTS record (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, tabular TEXT, cells TEXT, created REAL, modified REAL);
CREATE INDEX IF NOT EXISTS record_tabular ON record (tabular, number);
CREATE TABLE IF NOT EXISTS hook (
  id TEXT PRIMARY KEY, base TEXT, url TEXT, secret TEXT, specification TEXT, expires REAL, next INTEGER);
CREATE TABLE IF NOT EXISTS payload (hook TEXT, number INTEGER, at REAL, body TEXT, PRIMARY KEY (hook, number));
CREATE TABLE IF NOT EXISTS call (base TEXT, at REAL);
CREATE INDEX IF NOT EXISTS call_base ON call (base, at);
CREATE TABLE IF NOT EXISTS penalty (base TEXT PRIMARY KEY, until REAL);
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER);
"""

STAGES = ("Nuevo", "Contactado", "Cualificado", "Propuesta", "Ganado", "Perdido")

DEMO_COLUMNS: tuple[dict[str, Any], ...] = (
    {"id": "fldEmbudoName0000", "name": "Nombre", "type": "singleLineText"},
    {"id": "fldEmbudoCompany0", "name": "Empresa", "type": "singleLineText"},
    {"id": "fldEmbudoEmail000", "name": "Correo", "type": "email"},
    {"id": "fldEmbudoPhone000", "name": "Teléfono", "type": "phoneNumber"},
    {
        "id": "fldEmbudoStage000",
        "name": "Etapa",
        "type": "singleSelect",
        "options": {"choices": [{"id": f"sel{n:014d}", "name": name} for n, name in enumerate(STAGES)]},
    },
    {
        "id": "fldEmbudoAmount00",
        "name": "Importe",
        "type": "currency",
        "options": {"precision": 2, "symbol": "€"},
    },
    {
        "id": "fldEmbudoNextCon0",
        "name": "Próximo contacto",
        "type": "date",
        "options": {"dateFormat": {"name": "iso", "format": "YYYY-MM-DD"}},
    },
    {"id": "fldEmbudoTags0000", "name": "Etiquetas", "type": "multipleSelects", "options": {"choices": []}},
    {"id": "fldEmbudoNotes000", "name": "Notas", "type": "multilineText"},
    {"id": "fldEmbudoOwner000", "name": "Responsable", "type": "singleLineText"},
    {"id": "fldEmbudoLeadId00", "name": "Lead ID", "type": "singleLineText"},
    {
        "id": "fldEmbudoModified",
        "name": "Última modificación",
        "type": "lastModifiedTime",
        "options": {"isValid": True, "referencedFieldIds": []},
    },
)
"""A table as a small sales team would make it; what `seed_demo` begins with."""


class Store:
    """The stand-in's memory. path: a file, or None for memory that ends with the process."""

    def __init__(self, path: str | None = None) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(
            path or ":memory:", timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        if path:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_TABLES)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, one at a time."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def add_base(self, base_id: str, name: str, *, permission: str = "create") -> None:
        """A base without tables; permission is what the token's user may do: none, read, comment, edit, create."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO base VALUES (?, ?, ?)", (base_id, name, permission))

    def put_table(self, base_id: str, table_id: str, name: str, columns: list[dict[str, Any]]) -> None:
        """A table with columns in the form of Airtable's schema; one of this id is changed."""
        with self.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO tabular VALUES (?, ?, ?, ?)",
                (table_id, base_id, name, json.dumps(columns)),
            )

    def drop_table(self, table_id: str) -> None:
        """Remove a table with its records, as a user of the base may at any time."""
        with self.transaction() as db:
            db.execute("DELETE FROM record WHERE tabular = ?", (table_id,))
            db.execute("DELETE FROM tabular WHERE id = ?", (table_id,))

    def columns(self, table_id: str) -> list[dict[str, Any]]:
        """A table's columns."""
        with self._lock:
            row = self._db.execute("SELECT columns FROM tabular WHERE id = ?", (table_id,)).fetchone()
        return json.loads(row[0]) if row else []

    def records(self, table_id: str) -> list[tuple[str, dict[str, Any]]]:
        """Every record of a table with its cells, oldest first: what a person sees who opens it."""
        with self._lock:
            rows = self._db.execute(
                "SELECT id, cells FROM record WHERE tabular = ? ORDER BY number", (table_id,)
            ).fetchall()
        return [(row[0], json.loads(row[1])) for row in rows]

    def seed_demo(self) -> None:
        """The base that the demo connects to, unless it is there already."""
        with self._lock:
            known = self._db.execute("SELECT 1 FROM base WHERE id = ?", (LEADS_BASE,)).fetchone()
        if not known:
            self.add_base(LEADS_BASE, "Ventas (demo)")
            self.put_table(LEADS_BASE, LEADS_TABLE, "Leads", [dict(column) for column in DEMO_COLUMNS])

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()


def new_id(prefix: str) -> str:
    """An id as Airtable makes them: three letters and fourteen characters."""
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(14))
