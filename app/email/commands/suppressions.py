"""Who gets no more mail: added by bounces, complaints, unsubscribing, or by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete

from app.contracts.problems import Problem, problem
from app.email import queries
from app.email.address import parse_address
from app.email.models import MANUAL, SCOPES, Suppression
from app.kit import telemetry
from app.kit.db import db, new_id, utcnow
from app.kit.errors import Conflict, Invalid
from app.kit.rows import insert_once

NOTE_LENGTH = 300

log = telemetry.get_logger("email")


def suppress(
    address: str,
    scope: str,
    reason: str,
    *,
    message_id: str | None = None,
    note: str = "",
    by: str = "system",
) -> bool:
    """Hold back mail to an address (ASCII form); False when that was so already."""
    added = insert_once(
        Suppression,
        {
            "id": new_id(),
            "address": address.lower(),
            "scope": scope,
            "reason": reason,
            "message_id": message_id,
            "note": note,
            "created_at": utcnow(),
            "created_by": by[:120],
        },
        ["address", "scope"],
    )
    if added:
        log.info("address suppressed", scope=scope, reason=reason, message_id=message_id)
    return added


def lift(address: str, scope: str, reason: str) -> None:
    """Take back a suppression, if that was its reason."""
    db.session.execute(
        delete(Suppression).where(
            Suppression.address == address.lower(), Suppression.scope == scope, Suppression.reason == reason
        )
    )


def add_suppression(values: Mapping[str, Any], *, by: str = "system") -> Suppression:
    """Hold back mail by hand. values: address, scope (all unless given), note.

    Raises Invalid with every problem, Conflict when the address is suppressed so already.
    """
    address = parse_address(values.get("address"), "/address")
    scope = str(values.get("scope") or SCOPES[0])
    note = str(values.get("note") or "").strip()
    problems = [address] if isinstance(address, Problem) else []
    if scope not in SCOPES:
        problems.append(
            problem(
                "/scope", "unknown_scope", "The scope must be one of: %(scopes)s.", scopes=", ".join(SCOPES)
            )
        )
    if len(note) > NOTE_LENGTH:
        problems.append(
            problem("/note", "too_long", "The note is longer than %(limit)s characters.", limit=NOTE_LENGTH)
        )
    if isinstance(address, Problem) or problems:
        raise Invalid(problems)
    if not suppress(address.ascii, scope, MANUAL, note=note, by=by):
        raise Conflict(problem("/address", "taken", "This address gets no such mail already."))
    found = queries.find_suppression(address.ascii, scope)
    assert found is not None  # added above
    return found


def remove_suppression(suppression_id: str, *, by: str = "system") -> None:
    """Let mail through again. Raises NotFound."""
    row = queries.get_suppression(suppression_id)
    db.session.delete(row)
    log.info("suppression removed", scope=row.scope, reason=row.reason, by=by)
