"""What a door hands over about a lead, made storable, with every problem told at once.

The API, forms, imports and conversations all come through here, so that a value that one of them refuses cannot
get in by another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any

from babel.numbers import is_currency
from flask import current_app
from sqlalchemy import select

from app.contracts.problems import Problem, escaped, problem
from app.kit.db import db
from app.kit.storable import storable, storable_json
from app.leads import matching
from app.leads.models import NAME_LENGTH, SOURCES, Stage
from app.leads.queries.people import default_country

NOTES_LENGTH = 10_000
# Custom fields are for what the team adds, not for storing documents.
CUSTOM_KEYS = 50
CUSTOM_KEY_LENGTH = 60
CUSTOM_VALUE_LENGTH = 2_000
# Integers beyond this do not survive JavaScript and other JSON readers (RFC 8259 §6).
SAFE_INTEGER = 2**53 - 1
TAGS_PER_LEAD = 20
TAG_LENGTH = 60
# Twelve digits before the point: the sum of a whole pipeline still fits a BIGINT of cents.
LARGEST_AMOUNT = Decimal("999999999999.99")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")

_BLANK: dict[str, Any] = {
    "name": "",
    "company": "",
    "email": None,
    "phone": None,
    "stage": "new",
    "owner_id": None,
    "amount": None,
    "currency": "EUR",
    "next_contact_on": None,
    "notes": "",
}


def default_language() -> str:
    """The language of a lead of whom nobody said one."""
    return str(current_app.config.get("DEFAULT_LANGUAGE") or "es")


def blank() -> dict[str, Any]:
    """What a new lead begins with, and what PUT gives to a field that the request leaves out.

    Where a lead came from is not in it: that stays.
    """
    return {**_BLANK, "custom": {}, "tags": [], "language": default_language()}


def tidy(
    values: Mapping[str, Any], *, country: str | None = None, owner_now: int | None = None
) -> tuple[dict[str, Any], list[Problem]]:
    """Split what can be stored from what is wrong.

    owner_now: the present owner, who is not questioned again: they may have left the team since.
    Returns the clean values of the fields that were given (absent stays absent) and the problems of the others;
    the caller decides whether a problem refuses the whole or is put aside.
    """
    clean: dict[str, Any] = {}
    problems: list[Problem] = []
    for field, value in values.items():
        read = _READERS.get(field)
        found = (
            problem(f"/{escaped(field)}", "unknown_field", "There is no field %(field)s.", field=field)
            if read is None
            else (
                _phone(value, country or default_country()) if field == "phone" else read(value, f"/{field}")
            )
        )
        if isinstance(found, Problem):
            problems.append(found)
        elif isinstance(found, _Several):
            problems += found.problems
        else:
            clean[field] = found
    if clean.get("owner_id") not in (None, owner_now):
        problems += _name_owner(clean)
    return clean, problems


def _name_owner(clean: dict[str, Any]) -> list[Problem]:
    """The owner's name is the platform's to tell, whatever the door says; only without a platform it is believed."""
    find_user = current_app.extensions.get("embudo_find_user")
    if find_user is None:
        return []
    user = find_user(clean["owner_id"])
    if user is None:
        return [problem("/owner_id", "unknown_owner", "There is no user with this number.")]
    clean["owner_name"] = str(user[0])[:130]
    return []


class _Several:
    """More than one problem in one field."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems


def _phone(value: Any, country: str) -> str | Problem | None:
    if not isinstance(value, str | None):
        return _wrong("/phone", "text")
    if value is None or not value.strip():
        return None
    return matching.read_phone(value, country)


def _email(value: Any, where: str) -> str | Problem | None:
    if not isinstance(value, str | None):
        return _wrong(where, "text")
    if value is None or not value.strip():
        return None
    return matching.read_email(value, where=where)


def _line(limit: int) -> Any:
    def read(value: Any, where: str) -> str | Problem:
        if not isinstance(value, str | None):
            return _wrong(where, "text")
        text = matching.read_name(value or "")
        return text if len(text) <= limit else _long(where, limit)

    return read


def _id(value: Any, where: str) -> str | Problem | None:
    if not isinstance(value, str | None):
        return _wrong(where, "text")
    text = storable(value or "").strip()
    return (text or None) if len(text) <= 36 else _long(where, 36)


def _notes(value: Any, where: str) -> str | Problem:
    if not isinstance(value, str | None):
        return _wrong(where, "text")
    text = storable(value or "").strip()
    return text if len(text) <= NOTES_LENGTH else _long(where, NOTES_LENGTH)


def _stage(value: Any, where: str) -> str | Problem:
    if isinstance(value, str) and value in stage_keys():
        return value
    known = ", ".join(stage_keys())
    return problem(where, "unknown_stage", "There is no such stage; known are: %(known)s.", known=known)


def _source(value: Any, where: str) -> str | Problem:
    if isinstance(value, str) and value in SOURCES:
        return value
    return problem(where, "unknown_source", "The source must be one of: %(known)s.", known=", ".join(SOURCES))


def _language(value: Any, where: str) -> str | Problem:
    if isinstance(value, str) and len(value) <= 10 and _LANGUAGE.fullmatch(value.strip()):
        return value.strip()
    return problem(where, "invalid_language", "A language is a code such as es, en or pt-BR.")


def _owner(value: Any, where: str) -> int | Problem | None:
    if value is None or value == "":
        return None
    # 32 bits: what the platform's user ids are, and what an INTEGER column takes
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31:
        return value
    return problem(where, "invalid_owner", "An owner is the number of a user.")


def _amount(value: Any, where: str) -> Decimal | Problem | None:
    if value is None or value == "":
        return None
    wrong = problem(
        where, "invalid_amount", "The amount must be a number from 0 to %(most)s.", most=str(LARGEST_AMOUNT)
    )
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return wrong
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        return wrong
    if not amount.is_finite() or not 0 <= amount <= LARGEST_AMOUNT:
        return wrong
    return amount.quantize(Decimal("0.01"))


def _currency(value: Any, where: str) -> str | Problem:
    code = value.strip().upper() if isinstance(value, str) else ""
    if len(code) == 3 and is_currency(code):
        return code
    return problem(where, "unknown_currency", "A currency is an ISO 4217 code such as EUR or MXN.")


def _day(value: Any, where: str) -> date | Problem | None:
    if value is None or value == "":
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        return problem(where, "invalid_date", "A date is written like 2026-12-31.")


def _custom(value: Any, where: str) -> dict[str, Any] | _Several:
    if value is None:
        return {}
    if not isinstance(value, dict):
        return _Several([_wrong(where, "an object")])
    problems: list[Problem] = []
    if len(value) > CUSTOM_KEYS:
        problems.append(
            problem(where, "too_many", "There may be at most %(limit)s of them.", limit=CUSTOM_KEYS)
        )
    clean: dict[str, Any] = {}
    for key, item in islice(value.items(), CUSTOM_KEYS):
        name = matching.read_name(str(key))
        at = f"{where}/{escaped(name[:CUSTOM_KEY_LENGTH])}"
        if not name or len(name) > CUSTOM_KEY_LENGTH:
            problems.append(_long(at, CUSTOM_KEY_LENGTH))
        elif isinstance(item, str) and len(item) > CUSTOM_VALUE_LENGTH:
            problems.append(_long(at, CUSTOM_VALUE_LENGTH))
        elif not _plain(item):
            problems.append(_wrong(at, "text, a number, true, false or null"))
        else:
            clean[name] = storable_json(item)
    return _Several(problems) if problems else clean


def _plain(item: Any) -> bool:
    if isinstance(item, int) and not isinstance(item, bool):
        return abs(item) <= SAFE_INTEGER
    if isinstance(item, float):
        return math.isfinite(item)
    return item is None or isinstance(item, str | bool)


def _tags(value: Any, where: str) -> list[str] | _Several:
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        return _Several([_wrong(where, "a list")])
    problems: list[Problem] = []
    if len(value) > TAGS_PER_LEAD:
        problems.append(
            problem(where, "too_many", "There may be at most %(limit)s of them.", limit=TAGS_PER_LEAD)
        )
    clean: dict[str, str] = {}
    for number, item in enumerate(value[:TAGS_PER_LEAD]):
        name = matching.read_name(item) if isinstance(item, str) else ""
        if not name or len(name) > TAG_LENGTH or len(matching.fold(name)) > TAG_LENGTH:
            problems.append(
                problem(
                    f"{where}/{number}",
                    "invalid_tag",
                    "A tag has 1 to %(limit)s characters.",
                    limit=TAG_LENGTH,
                )
            )
            continue
        clean.setdefault(matching.fold(name), name)
    return _Several(problems) if problems else list(clean.values())


def stage_keys() -> list[str]:
    """Keys of the stages, in the funnel's order."""
    return list(db.session.scalars(select(Stage.key).order_by(Stage.position, Stage.key)))


_SENTENCES = {
    item.params["kind"]: item.template
    for item in (
        problem("", "wrong_type", "This must be a text.", kind="text"),
        problem("", "wrong_type", "This must be an object.", kind="an object"),
        problem("", "wrong_type", "This must be a list.", kind="a list"),
        problem(
            "",
            "wrong_type",
            "This must be a text, a number, true, false or null.",
            kind="text, a number, true, false or null",
        ),
    )
}
"""Whole sentences: a translated one with an English word in it helps nobody."""


def _wrong(where: str, kind: str) -> Problem:
    return Problem(where, "wrong_type", _SENTENCES[kind], {"kind": kind})


def _long(where: str, limit: int) -> Problem:
    return problem(where, "too_long", "At most %(limit)s characters are allowed.", limit=limit)


_READERS: dict[str, Any] = {
    "name": _line(NAME_LENGTH),
    "company": _line(NAME_LENGTH),
    "email": _email,
    "phone": _phone,
    "stage": _stage,
    "source": _source,
    "language": _language,
    "owner_id": _owner,
    "owner_name": _line(130),
    "amount": _amount,
    "currency": _currency,
    "next_contact_on": _day,
    "notes": _notes,
    "custom": _custom,
    "tags": _tags,
    "contact_id": _id,
    "conversation_id": _id,
}
