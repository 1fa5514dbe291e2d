"""The stand-in's webhooks: payloads with numbers, a week to read them, a week to live, a MAC on every ping."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.leads.providers import WEBHOOK_DAYS, WEBHOOKS_PER_BASE, mac
from app.leads.providers.fake.answers import Ask, Refusal, not_found
from app.leads.providers.fake.cells import iso
from app.leads.providers.fake.store import new_id

PAYLOADS = 50
LIFE = WEBHOOK_DAYS * 86_400.0


@dataclass(frozen=True, kw_only=True)
class Ping:
    """A notification to deliver: POST `body` to `url` with the MAC header's value `mac`."""

    url: str
    body: bytes
    mac: str


class Hooks:
    """Webhooks of all bases."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock

    def handle(self, db: Any, ask: Ask, base_id: str, parts: list[str]) -> Any:
        """Requests below /v0/bases/<base>/webhooks."""
        if not parts:
            return self._create(db, ask, base_id) if ask.method == "POST" else self._list(db, base_id)
        row = db.execute(
            "SELECT id, url, secret, specification, expires, next FROM hook WHERE id = ? AND base = ?",
            (parts[0], base_id),
        ).fetchone()
        if row is None:
            raise not_found()
        if len(parts) == 1 and ask.method == "DELETE":
            db.execute("DELETE FROM hook WHERE id = ?", (parts[0],))
            db.execute("DELETE FROM payload WHERE hook = ?", (parts[0],))
            return None
        if parts[1:] == ["refresh"] and ask.method == "POST":
            return {"expirationTime": self._prolong(db, row)}
        if parts[1:] == ["payloads"] and ask.method == "GET":
            return self._payloads(db, ask, row)
        raise not_found()

    def note(
        self,
        db: Any,
        base_id: str,
        table_id: str,
        made: Sequence[dict[str, Any]],
        columns: list[dict[str, Any]],
        *,
        destroyed: Sequence[str] = (),
    ) -> list[Ping]:
        """Write down what happened for every living webhook that watches; the pings to send."""
        now = self._clock()
        table = _changes(made, destroyed, columns)
        if not table:
            return []
        number = self._transaction(db)
        pings = []
        rows = db.execute(
            "SELECT id, url, secret, specification, expires, next FROM hook WHERE base = ? AND expires > ?",
            (base_id, now),
        ).fetchall()
        for hook_id, url, secret, specification, _expires, following in rows:
            scope = json.loads(specification)["options"]["filters"].get("recordChangeScope")
            if scope not in (None, table_id):
                continue
            payload = {
                "timestamp": iso(now),
                "baseTransactionNumber": number,
                "payloadFormat": "v0",
                "actionMetadata": {"source": "publicApi", "sourceMetadata": {}},
                "changedTablesById": {table_id: table},
            }
            db.execute(
                "INSERT INTO payload VALUES (?, ?, ?, ?)", (hook_id, following, now, json.dumps(payload))
            )
            db.execute("UPDATE hook SET next = next + 1 WHERE id = ?", (hook_id,))
            if url:
                body = json.dumps(
                    {"base": {"id": base_id}, "webhook": {"id": hook_id}, "timestamp": iso(now)}
                ).encode()
                pings.append(Ping(url=url, body=body, mac=mac(secret, body)))
        return pings

    def _transaction(self, db: Any) -> int:
        db.execute("INSERT OR IGNORE INTO counter VALUES ('transaction', 0)")
        db.execute("UPDATE counter SET value = value + 1 WHERE name = 'transaction'")
        return int(db.execute("SELECT value FROM counter WHERE name = 'transaction'").fetchone()[0])

    def _create(self, db: Any, ask: Ask, base_id: str) -> dict[str, Any]:
        body = ask.json()
        specification = body.get("specification")
        filters = ((specification or {}).get("options") or {}).get("filters") or {}
        if not filters.get("dataTypes"):
            raise Refusal(422, "INVALID_REQUEST_UNKNOWN", "Invalid request: parameter validation failed.")
        there = db.execute("SELECT count(*) FROM hook WHERE base = ?", (base_id,)).fetchone()[0]
        if there >= WEBHOOKS_PER_BASE:
            raise Refusal(422, "TOO_MANY_WEBHOOKS", "This base has the maximum number of webhooks")
        hook_id, secret = new_id("ach"), base64.b64encode(secrets.token_bytes(64)).decode()
        expires = self._clock() + LIFE
        db.execute(
            "INSERT INTO hook VALUES (?, ?, ?, ?, ?, ?, 1)",
            (hook_id, base_id, body.get("notificationUrl") or "", secret, json.dumps(specification), expires),
        )
        return {"id": hook_id, "macSecretBase64": secret, "expirationTime": iso(expires)}

    def _list(self, db: Any, base_id: str) -> dict[str, Any]:
        now = self._clock()
        rows = db.execute(
            "SELECT id, url, specification, expires, next FROM hook WHERE base = ?", (base_id,)
        ).fetchall()
        return {
            "webhooks": [
                {
                    "id": row[0],
                    "notificationUrl": row[1] or None,
                    "specification": json.loads(row[2]),
                    "cursorForNextPayload": row[4],
                    "isHookEnabled": row[3] > now,
                    "areNotificationsEnabled": True,
                    "expirationTime": iso(row[3]),
                    "lastSuccessfulNotificationTime": None,
                    "lastNotificationResult": None,
                }
                for row in rows
            ]
        }

    def _prolong(self, db: Any, row: Any) -> str:
        now = self._clock()
        if row[4] <= now:  # a disabled one does not come back
            return iso(row[4])
        db.execute("UPDATE hook SET expires = ? WHERE id = ?", (now + LIFE, row[0]))
        return iso(now + LIFE)

    def _payloads(self, db: Any, ask: Ask, row: Any) -> dict[str, Any]:
        hook_id, now = row[0], self._clock()
        cursor = int(ask.first("cursor", "1") or 1)
        limit = min(int(ask.first("limit", str(PAYLOADS)) or PAYLOADS), PAYLOADS)
        if cursor < 1 or limit < 1:
            raise Refusal(422, "INVALID_REQUEST_UNKNOWN", "Invalid request: parameter validation failed.")
        self._prolong(db, row)
        db.execute("DELETE FROM payload WHERE hook = ? AND at < ?", (hook_id, now - LIFE))
        rows = db.execute(
            "SELECT number, body FROM payload WHERE hook = ? AND number >= ? ORDER BY number LIMIT ?",
            (hook_id, cursor, limit + 1),
        ).fetchall()
        page = rows[:limit]
        return {
            "payloads": [json.loads(item[1]) for item in page],
            "cursor": page[-1][0] + 1 if page else max(cursor, row[5]),
            "mightHaveMore": len(rows) > limit,
        }


def _changes(
    made: Sequence[dict[str, Any]], destroyed: Sequence[str], columns: list[dict[str, Any]]
) -> dict[str, Any]:
    """A table's part of a payload; choices are objects here, where the REST interface writes their names."""
    kinds = {column["id"]: column for column in columns}

    def cell(key: str, value: Any) -> Any:
        if kinds[key]["type"] == "singleSelect" and value is not None:
            return {"id": _choice_id(kinds[key], value), "name": value}
        if kinds[key]["type"] == "multipleSelects" and value is not None:
            return [{"id": _choice_id(kinds[key], item), "name": item} for item in value]
        return value

    found: dict[str, Any] = {}
    for item in made:
        cells = {key: cell(key, value) for key, value in item["cells"].items() if key in kinds}
        if item["new"]:
            entry = {"createdTime": iso(item["row"][3]), "cellValuesByFieldId": cells}
            found.setdefault("createdRecordsById", {})[item["id"]] = entry
        elif item["changed"]:
            current = {key: cells.get(key) for key in item["changed"] if key in kinds}
            rest = {key: value for key, value in cells.items() if key not in current}
            found.setdefault("changedRecordsById", {})[item["id"]] = {
                "current": {"cellValuesByFieldId": current},
                "unchanged": {"cellValuesByFieldId": rest},
            }
    if destroyed:
        found["destroyedRecordIds"] = list(destroyed)
    return found


def _choice_id(column: dict[str, Any], name: str) -> str:
    choices = column.get("options", {}).get("choices", [])
    return str(next((choice.get("id") for choice in choices if choice["name"] == name), ""))
