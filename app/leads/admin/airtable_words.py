"""How the Airtable sync is spoken of: states, errors and choices in plain words."""

from __future__ import annotations

from typing import Any

from flask_babel import gettext
from flask_babel import lazy_gettext as _l

from app.admin.home import age
from app.kit.db import utcnow
from app.leads.admin import words
from app.leads.mapping import LEAD_FIELDS
from app.leads.models import AirtableConnection
from app.leads.queries.airtable import Figures

STATES = {
    "draft": (_l("Not set up yet"), "grey"),
    "active": (_l("In step"), "green"),
    "waiting": (_l("Waiting"), "amber"),
    "paused": (_l("Paused"), "grey"),
    "stopped": (_l("Stopped"), "red"),
}

DIRECTIONS = {
    "both": _l("Both ways"),
    "out": _l("Only into Airtable"),
    "in": _l("Only from Airtable"),
}
POLICIES = {
    "newest": _l("The later edit wins"),
    "ours": _l("Always our value"),
    "airtable": _l("Always Airtable's value"),
}
NEW_RECORDS = {"create": _l("Becomes a lead"), "ignore": _l("Is left alone")}
REMOTE_DELETIONS = {
    "unlink": _l("Keep the lead, stop keeping it in step"),
    "ignore": _l("Keep the lead, write it again when it changes"),
    "delete": _l("Delete the lead"),
}
LOCAL_DELETIONS = {"ignore": _l("Leave the record"), "delete": _l("Delete the record")}

OPERATORS = {
    "equals": _l("is"),
    "not_equals": _l("is not"),
    "contains": _l("contains"),
    "not_contains": _l("does not contain"),
    "starts_with": _l("starts with"),
    "matches": _l("matches the pattern"),
    "greater": _l("is greater than"),
    "less": _l("is less than"),
    "is_set": _l("is filled in"),
    "is_blank": _l("is empty"),
}

WINNERS = {"ours": _l("Our value"), "airtable": _l("Airtable's value")}

_CODES: dict[str, Any] = {
    "base_gone": _l(
        "The base is gone, or the token may not see it any more. Changes wait here; restore access, then resume."
    ),
    "table_gone": _l(
        "The table is not in the base any more. Changes wait here; restore it, or connect another one."
    ),
    "column_gone": _l(
        "Columns that we use are not in the table any more: %(detail)s. Restore them in Airtable or take them out of the mapping, then resume."
    ),
    "many_deletions": _l(
        "%(detail)s linked records are gone from the table at once. Nothing was done yet: decide below."
    ),
    "undecryptable": _l("The stored token cannot be read: SECRET_KEY has changed. Enter the token again."),
    "no_token": _l("There is no token. Enter one, or set AIRTABLE_API_KEY."),
    "429": _l("Airtable asked us to slow down. We go on by ourselves within a minute."),
    "busy": _l("Another connection uses the same base right now. We go on by ourselves."),
    "AUTHENTICATION_REQUIRED": _l(
        "Airtable does not accept the token. It may have been revoked: enter another one."
    ),
    "INVALID_PERMISSIONS": _l(
        "The token may not do this. It needs the right to write records and to read the schema of this base."
    ),
    "connect": _l("Airtable cannot be reached. We try again by ourselves."),
    "no_answer": _l(
        "The connection broke before Airtable's answer came. We repeat the call; nothing is doubled."
    ),
    "breaker_open": _l("Airtable keeps failing. We try again by ourselves."),
    "bug": _l("A fault in our own program; the log says more. We try again by ourselves."),
    "unreadable": _l("Airtable's answer could not be read. We try again by ourselves."),
    "incomplete": _l("Airtable's answer was incomplete. We try again by ourselves."),
    "unwritable": _l("A value does not fit the Airtable column “%(detail)s”."),
    "unread": _l("Values from Airtable that a lead cannot have, left out: %(detail)s."),
    "duplicate": _l("The record in Airtable belongs to another lead already."),
    "copied": _l("A second row in Airtable carries this lead's id. Delete one of the two."),
    "double": _l("Another row in Airtable describes the same person. Merge the two there."),
    "left_behind": _l(
        "The row in “%(detail)s”, which this lead has left, cannot be deleted now. We try again by ourselves."
    ),
    "INVALID_MULTIPLE_CHOICE_OPTIONS": _l("Airtable has no such choice in this column: %(detail)s"),
    "INVALID_VALUE_FOR_COLUMN": _l("Airtable does not take a value: %(detail)s"),
    "unknown": _l("Airtable refuses it: %(detail)s"),
}
"""Error code → sentence; what Airtable itself said stands in detail."""

_WEBHOOK = {
    "full": _l(
        "This base has ten webhooks already, made by other programs; the table is asked regularly instead."
    ),
    "": _l("Airtable did not give us a webhook; the table is asked regularly instead: %(detail)s"),
}


def explain(code: str | None, detail: str | None) -> str:
    """An error in plain words, or ""."""
    if not code:
        return ""
    if code.isdigit() and code.startswith("5"):
        return gettext("Airtable has a problem of its own. We try again by ourselves.")
    if code in ("401", "403"):
        code = {"401": "AUTHENTICATION_REQUIRED", "403": "INVALID_PERMISSIONS"}[code]
    text = str(_CODES.get(code, _CODES["unknown"]))
    return text % {"detail": detail or code} if "%(detail)s" in text else text


def webhook_trouble(row: AirtableConnection) -> str:
    """Why there is no webhook although one was wanted, or ""."""
    if not row.webhook_error:
        return ""
    text = str(_WEBHOOK.get(row.webhook_error, _WEBHOOK[""]))
    return text % {"detail": row.webhook_error} if "%(detail)s" in text else text


def state_of(row: AirtableConnection) -> str:
    """Key of STATES; an active one that rests is waiting."""
    if row.state == "active" and (row.error_code or (row.held_until and row.held_until > utcnow())):
        return "waiting"
    return str(row.state)


def lag(figures: Figures) -> str:
    """How far behind a table is."""
    if figures.lag_seconds is None:
        return gettext("up to date") if not figures.waiting else gettext("a moment")
    return age(figures.lag_seconds)


def field_name(name: str) -> str:
    """A lead's field in words."""
    return str(words.FIELDS.get(name, name.removeprefix("custom.")))


def fields() -> dict[str, str]:
    """Every field that can be mapped or asked about."""
    return {name: field_name(name) for name in LEAD_FIELDS}


def value(found: Any) -> str:
    """A value as a person reads it in a conflict."""
    if found in (None, "", []):
        return "—"
    return ", ".join(map(str, found)) if isinstance(found, list) else str(found)
