"""The team's own funnel: stages are added, renamed, reordered, and removed when no lead needs them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select

from app.contracts.problems import Problem, problem
from app.kit.db import db
from app.kit.errors import Conflict, Invalid, NotFound
from app.leads import matching
from app.leads.models import STAGE_KINDS, Lead, Stage

STAGE_LIMIT = 30
"""More columns than that are no funnel."""

STAGE_NAME_LENGTH = 80
POSITIONS = range(-1000, 1001)
_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
_COLOUR = re.compile(r"#[0-9a-f]{6}")


def add_stage(values: Mapping[str, Any]) -> str:
    """Make a stage from key, name_en, name_es, colour, kind, position; returns its key. Raises Invalid, Conflict."""
    key = str(values.get("key") or "").strip()
    fields = {"colour": "#64748b", "kind": "open", "position": 0, **values}
    fields.pop("key", None)
    clean, problems = _clean(fields)
    for field in ("name_en", "name_es"):
        if field not in fields:
            problems.append(_nameless(field))
    if not _KEY.fullmatch(key):
        problems.append(
            problem("/key", "invalid_key", "A key begins with a letter and has small letters, digits and _.")
        )
    if problems:
        raise Invalid(problems)
    if db.session.get(Stage, key) is not None:
        raise Conflict(problem("/key", "taken", "There is a stage with this key."))
    if (db.session.scalar(select(func.count()).select_from(Stage)) or 0) >= STAGE_LIMIT:
        raise Conflict(problem("", "too_many", "There may be at most %(limit)s of them.", limit=STAGE_LIMIT))
    db.session.add(Stage(key=key, **clean))
    db.session.flush()
    return key


def change_stage(key: str, values: Mapping[str, Any]) -> Stage:
    """Change anything but the key; raises NotFound, Invalid."""
    stage = _stage(key)
    clean, problems = _clean(values)
    if problems:
        raise Invalid(problems)
    for field, value in clean.items():
        setattr(stage, field, value)
    return stage


def remove_stage(key: str) -> None:
    """Take a stage away; raises NotFound, Conflict while a lead (also a deleted one) is in it or it is the first."""
    stage = _stage(key)
    if key == "new":
        raise Conflict(problem("", "first_stage", "New leads begin here; this stage stays."))
    if db.session.scalar(select(Lead.id).where(Lead.stage_key == key).limit(1)) is not None:
        raise Conflict(problem("", "stage_in_use", "Leads are in this stage; move them first."))
    db.session.delete(stage)
    db.session.flush()


def _stage(key: str) -> Stage:
    stage = db.session.get(Stage, key, with_for_update=True)
    if stage is None:
        raise NotFound("stage", key)
    return stage


def _clean(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    clean: dict[str, Any] = {}
    problems: list[Problem] = []
    for field, value in values.items():
        if field in ("name_en", "name_es"):
            clean[field] = matching.read_name(str(value or ""))
            if not 0 < len(clean[field]) <= STAGE_NAME_LENGTH:
                problems.append(_nameless(field))
        elif field == "kind":
            clean[field] = value
            if value not in STAGE_KINDS:
                problems.append(problem("/kind", "unknown_kind", "A stage is open, won or lost."))
        elif field == "colour":
            clean[field] = str(value or "").lower()
            if not _COLOUR.fullmatch(clean[field]):
                problems.append(problem("/colour", "invalid_colour", "A colour is written like #3b82f6."))
        elif field == "position":
            clean[field] = value
            if not isinstance(value, int) or value not in POSITIONS:
                problems.append(
                    problem(
                        "/position",
                        "invalid_position",
                        "The order is a whole number from %(least)s to %(most)s.",
                        least=POSITIONS[0],
                        most=POSITIONS[-1],
                    )
                )
    return clean, problems


def _nameless(field: str) -> Problem:
    return problem(
        f"/{field}", "invalid_name", "A stage's name has 1 to %(limit)s characters.", limit=STAGE_NAME_LENGTH
    )
