"""What administrators decide about the ways out, and what is remembered of their faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.contracts.problems import Problem, problem
from app.email.models import Provider
from app.email.providers.ways import WAYS, Variable
from app.kit import telemetry
from app.kit.db import db, utcnow
from app.kit.errors import Invalid, NotFound, ProviderError

VALUE_LENGTH = 2000
RATE_LIMITS = (0.01, 10_000.0)
"""Mails a second that one may set."""

log = telemetry.get_logger("email")


def change_provider(name: str, changes: Mapping[str, Any], *, by: str = "system") -> Provider:
    """Change a way out. changes: enabled, rate (None: what the provider says), settings (variable → text, None to
    forget it; a variable left out stays). Raises NotFound, Invalid with every problem."""
    if name not in WAYS:
        raise NotFound("mail provider", name)
    row = _row(name)
    problems: list[Problem] = []
    known = {variable.name: variable for variable in WAYS[name].variables}
    settings = _stored_settings(row)
    for key, value in dict(changes.get("settings") or {}).items():
        if value is None or str(value).strip() == "":
            settings.pop(key, None)
            continue
        settings[key] = _read(known[key], str(value).strip(), problems) if key in known else None
        if key not in known:
            problems.append(
                problem(f"/{key}", "unknown_field", "There is no field “%(name)s” here.", name=key)
            )
    rate = changes.get("rate", row.rate)
    low, high = RATE_LIMITS
    if rate is not None and not low <= rate <= high:
        problems.append(
            problem(
                "/rate", "out_of_range", "The rate must be from %(low)s to %(high)s.", low=low, high=int(high)
            )
        )
    if settings.get("MAIL_USE_TLS") and settings.get("MAIL_USE_SSL"):
        problems.append(
            problem("/MAIL_USE_SSL", "exclusive", "MAIL_USE_TLS and MAIL_USE_SSL exclude each other.")
        )
    if problems:
        raise Invalid(problems)
    row.rate, row.settings = rate, settings
    if "enabled" in changes:
        row.enabled = bool(changes["enabled"])
    row.error_code = row.last_error = row.last_error_at = None  # it speaks of what was before
    row.updated_at, row.updated_by = utcnow(), by[:120]
    log.info("mail provider changed", provider=name, by=by)
    return row


def order_providers(names: Sequence[str], *, by: str = "system") -> None:
    """Try the ways out in this order; those that are not named come last. Raises NotFound."""
    for name in names:
        if name not in WAYS:
            raise NotFound("mail provider", name)
    for position, name in enumerate(names):
        row = _row(name)
        row.position, row.updated_at, row.updated_by = position, utcnow(), by[:120]


def note_fault(name: str, error: ProviderError) -> None:
    """Remember what last went wrong with a provider, for its page."""
    row = _row(name)
    row.error_code, row.last_error = (error.code or "")[:60] or None, error.detail[:500]
    row.last_error_at = utcnow()


def _row(name: str) -> Provider:
    row: Provider | None = db.session.get(Provider, name, with_for_update=True, populate_existing=True)
    if row is None:
        row = Provider(name=name)
        db.session.add(row)
    return row


def _stored_settings(row: Provider) -> dict[str, Any]:
    return dict(row.settings or {})


def _read(variable: Variable, text: str, problems: list[Problem]) -> Any:
    where = f"/{variable.name}"
    if len(text) > VALUE_LENGTH or any(not char.isprintable() for char in text):
        problems.append(problem(where, "invalid", "This is no value for %(name)s.", name=variable.name))
    if variable.kind == "switch":
        return text.lower() in {"1", "true", "yes", "on", "y"}
    if variable.kind == "number":
        if text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= 65_535:
            return int(text)
        problems.append(problem(where, "not_a_port", "A port is a number from 1 to 65535."))
    if variable.name.endswith("_URL") and not text.startswith(("https://", "http://")):
        problems.append(problem(where, "not_a_url", "An address begins with https://."))
    return text
