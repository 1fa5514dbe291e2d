"""A POST that is sent again because its answer was lost must not happen twice.

The key, the request's fingerprint and the answer are stored in the same transaction as what the request did
(draft-ietf-httpapi-idempotency-key-header-07). Refused requests store nothing and may be corrected and sent again.
The answer is stored encrypted: some hold a secret that is shown once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from flask import Response, request
from sqlalchemy import LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.contracts.problems import problem
from app.kit import auth, db, rows, secrets
from app.kit.errors import BadRequest, Invalid

KEEP = timedelta(hours=24)
"""How long an answer can be replayed."""

KEY_LENGTH = 255

KEPT_HEADERS = ("Location", "ETag", "Content-Type")

_tables: dict[str, Any] = {}


class _Again(Exception):
    """Ends the joinable transaction when the key was known."""


class _Refused(Exception):
    """Ends the joinable transaction when the view answered with a refusal instead of raising one."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def idempotency_table(base: Any, service: str) -> Any:
    """Declare the table of answered keys on a service's base; called once, in the service's models."""

    class Idempotency(base):
        """Answers by Idempotency-Key."""

        __tablename__ = f"{service}_idempotency"

        key: Mapped[str] = mapped_column(String(64), primary_key=True)
        fingerprint: Mapped[str] = mapped_column(String(64))
        status: Mapped[int]
        headers: Mapped[Any] = mapped_column(db.Json)
        body: Mapped[bytes] = mapped_column(LargeBinary)
        created_at: Mapped[datetime] = mapped_column(db.UtcDateTime, default=db.utcnow, index=True)

    Idempotency.__name__ = f"{service.title()}Idempotency"
    _tables[service] = Idempotency
    return Idempotency


def once(service: str, answer: Callable[[], Response]) -> Response:
    """Answer the running request, or replay what the same key was answered before.

    Raises BadRequest for an unusable key, Invalid (422) when the key was used for another request.
    """
    given = request.headers.get("Idempotency-Key")
    if given is None or service not in _tables:
        return answer()
    if not given.strip() or len(given) > KEY_LENGTH:
        raise BadRequest(f"Idempotency-Key must have 1 to {KEY_LENGTH} characters.")
    table = _tables[service]
    key = hashlib.sha256(f"{auth.current().identity}|{given}".encode()).hexdigest()
    seen = hashlib.sha256(f"{request.method} {request.full_path}\n".encode() + request.get_data()).hexdigest()
    try:
        with db.transaction(joinable=True) as session:
            row = {
                "key": key,
                "fingerprint": seen,
                "status": 0,
                "headers": {},
                "body": b"",
                "created_at": db.utcnow(),
            }
            if not rows.insert_once(table, row, ["key"]):
                raise _Again
            response = answer()
            if response.status_code >= 400:
                raise _Refused(response)
            session.execute(
                table.__table__.update()
                .where(table.key == key)
                .values(
                    status=response.status_code,
                    headers={
                        name: response.headers[name] for name in KEPT_HEADERS if name in response.headers
                    },
                    body=secrets.encrypt(response.get_data(as_text=True)),
                )
            )
            return response
    except _Refused as refused:
        return refused.response
    except _Again:
        return _replay(table, key, seen)


def _replay(table: Any, key: str, seen: str) -> Response:
    row = db.db.session.get(table, key)
    if row is None or row.fingerprint != seen:
        raise Invalid(
            [
                problem(
                    "/headers/Idempotency-Key",
                    "key_reused",
                    "This Idempotency-Key was used for another request.",
                )
            ]
        )
    response = Response(secrets.decrypt(row.body), status=row.status, headers=row.headers)
    response.headers["Idempotency-Replayed"] = "true"
    return response


def purge(service: str) -> bool:
    """Forget a batch of answers older than KEEP; whether there may be more."""
    if service not in _tables:
        return False
    return rows.purge_older(_tables[service], _tables[service].created_at, db.utcnow() - KEEP)
