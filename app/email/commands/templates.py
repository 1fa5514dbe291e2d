"""Templates: every save is a new version, and what is in use is always sendable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import select

from app.contracts.problems import Problem, problem
from app.email import queries
from app.email.models import CATEGORIES, LANGUAGES, TRANSACTIONAL, Template, TemplateVersion
from app.email.render import Source, Variable, check, is_warning
from app.email.render.values import read_variables
from app.kit import telemetry
from app.kit.db import db, utcnow
from app.kit.errors import Invalid, NotFound

NAME_LENGTH = 120
_KEY = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,58}[a-z0-9])?")

log = telemetry.get_logger("email")


def create_template(values: Mapping[str, Any], *, by: str = "system") -> Template:
    """Add a template with its first version.

    values: key, language, name, category, format, subject, body, text, variables (rows as Variable has fields).
    Raises Invalid with every problem that is not just a warning.
    """
    key = str(values.get("key") or "").strip().lower()
    language = str(values.get("language") or "").strip()
    source, problems = _read_source(values, Source(subject="", body="", language=language))
    category = str(values.get("category") or TRANSACTIONAL)
    problems = _check_identity(key, language, str(values.get("name") or "")) + problems
    problems += _check_category(category)
    if queries.template_exists(key, language):
        problems.append(
            problem(
                "/key",
                "taken",
                "There is a template “%(key)s” in this language already, perhaps an archived one.",
                key=key,
            )
        )
    _refuse(problems)
    template = Template(
        key=key,
        language=language,
        name=_name(values, key),
        category=category,
        version=0,
        subject=source.subject,
        updated_by=by[:120],
    )
    db.session.add(template)
    db.session.flush()
    _add_version(template, source, by)
    return template


def change_template(template_id: str, changes: Mapping[str, Any], *, by: str = "system") -> Template:
    """Change a template; a change of what it says makes a new version. Key and language stay.

    Raises NotFound, or Invalid with every problem that is not just a warning.
    """
    template, current = _locked(template_id)
    source, problems = _read_source(changes, current)
    if "name" in changes:
        problems = _check_identity(template.key, template.language, str(changes["name"] or "")) + problems
    category = str(changes.get("category") or template.category)
    problems += _check_category(category)
    _refuse(problems)
    template.category = category
    if "name" in changes:
        template.name = _name(changes, template.key)
    template.updated_at, template.updated_by = utcnow(), by[:120]
    if source != current:
        _add_version(template, source, by)
    return template


def restore_version(template_id: str, number: int, *, by: str = "system") -> Template:
    """Say again what an older version said, as a new version. Raises NotFound."""
    template, _ = _locked(template_id)
    old = db.session.scalar(
        select(TemplateVersion).where(
            TemplateVersion.template_id == template_id, TemplateVersion.number == number
        )
    )
    if old is None:
        raise NotFound("version", number)
    source = queries.source_of(old, template.language)
    _refuse([found for found in check(source) if not is_warning(found)])
    _add_version(template, source, by)
    return template


def archive_template(template_id: str, *, by: str = "system") -> Template:
    """Take a template out of use; what was sent with it stays readable. Raises NotFound."""
    template, _ = _locked(template_id)
    template.archived_at = template.archived_at or utcnow()
    template.updated_by = by[:120]
    return template


def restore_template(template_id: str, *, by: str = "system") -> Template:
    """Put an archived template back into use. Raises NotFound."""
    template, _ = _locked(template_id)
    template.archived_at = None
    template.updated_by = by[:120]
    return template


def _locked(template_id: str) -> tuple[Template, Source]:
    current = queries.template_by_id(template_id).source
    template = db.session.get(Template, template_id, with_for_update=True)
    assert template is not None  # read just before, and templates are never deleted
    return template, current


def _check_identity(key: str, language: str, name: str) -> list[Problem]:
    problems: list[Problem] = []
    if not _KEY.fullmatch(key):
        problems.append(
            problem("/key", "invalid_key", "A key has small letters, digits, - and _, at most 60: welcome-2.")
        )
    if language not in LANGUAGES:
        problems.append(
            problem(
                "/language",
                "unknown_language",
                "The language must be one of: %(languages)s.",
                languages=", ".join(LANGUAGES),
            )
        )
    if len(name.strip()) > NAME_LENGTH:
        problems.append(
            problem("/name", "too_long", "The name is longer than %(limit)s characters.", limit=NAME_LENGTH)
        )
    return problems


def _check_category(category: str) -> list[Problem]:
    if category in CATEGORIES:
        return []
    return [
        problem(
            "/category",
            "unknown_category",
            "The category must be one of: %(categories)s.",
            categories=", ".join(CATEGORIES),
        )
    ]


def _name(values: Mapping[str, Any], key: str) -> str:
    return str(values.get("name") or "").strip() or key.replace("-", " ").replace("_", " ").capitalize()


def _read_source(values: Mapping[str, Any], current: Source) -> tuple[Source, list[Problem]]:
    """What the template will say, and the problems that forbid it."""
    changes: dict[str, Any] = {
        key: str(values[key] or "").replace("\r\n", "\n")
        for key in ("subject", "body", "format", "text")
        if key in values
    }
    if "subject" in changes:
        changes["subject"] = changes["subject"].strip()
    problems: list[Problem] = []
    if "variables" in values:
        rows = values["variables"] or []
        if isinstance(rows, list | tuple) and all(isinstance(row, Mapping | Variable) for row in rows):
            plain = [row.as_json() if isinstance(row, Variable) else row for row in rows]
            changes["variables"] = read_variables([{"name": "", **row} for row in plain])
        else:
            problems.append(problem("/variables", "wrong_type", "Variables must be a list of objects."))
    source = replace(current, **changes)
    problems += [found for found in check(source) if not is_warning(found)]
    return source, problems


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise Invalid(problems)


def _add_version(template: Template, source: Source, by: str) -> None:
    template.version += 1
    template.subject = source.subject
    template.updated_at, template.updated_by = utcnow(), by[:120]
    db.session.add(
        TemplateVersion(
            template_id=template.id,
            number=template.version,
            subject=source.subject,
            format=source.format,
            body=source.body,
            text=source.text,
            variables=[variable.as_json() for variable in source.variables],
            created_by=by[:120],
        )
    )
    log.info("template saved", template_id=template.id, version=template.version)
