"""Endpoints come, change, are switched off and on, and get new secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import update

from app.contracts.events import EndpointDisabled
from app.contracts.problems import Problem, problem
from app.kit import interest, outbox, telemetry
from app.kit.db import db, utcnow
from app.kit.errors import Invalid, PreconditionFailed
from app.webhooks import matching, queries
from app.webhooks.models import (
    BY_HAND,
    DESCRIPTION_LENGTH,
    FAILED,
    PENDING,
    URL_LENGTH,
    Delivery,
    Endpoint,
)
from app.webhooks.signing import new_secret

ROTATION = timedelta(hours=24)
"""How long the secret before the last signs as well, so that receivers can change theirs in peace."""

FIELDS = ("url", "description", "events", "enabled")
"""What a person may say about an endpoint."""

ENDPOINTS = 100
"""So many there may be: each of them gets a copy of every event it listens to."""

ENDPOINT_DISABLED = "endpoint_disabled"
"""Error of the deliveries that were waiting when their endpoint was switched off."""

SERVICE = "webhooks"

log = telemetry.get_logger("webhooks")


def create_endpoint(
    values: Mapping[str, Any], *, by: str, problems: Iterable[Problem] = ()
) -> tuple[Endpoint, str]:
    """Add an endpoint; gives it and its secret, which is shown this one time.

    problems: what the door found about the address. Raises Invalid with every problem.
    """
    clean, found = _read({"url": "", "events": [], **values})
    found = [*found, *problems]
    if queries.count_endpoints() >= ENDPOINTS:
        found.append(problem("", "too_many", "There may be at most %(limit)s of them.", limit=ENDPOINTS))
    if found:
        raise Invalid(found)
    secret = new_secret()
    interest.changed(SERVICE)
    enabled = clean.pop("enabled", True)
    endpoint = Endpoint(
        **clean,
        secrets={"current": secret},
        created_by=by[:120],
        enabled=enabled,
        disabled_reason=None if enabled else BY_HAND,
        disabled_at=None if enabled else utcnow(),
    )
    db.session.add(endpoint)
    db.session.flush()
    log.info("endpoint added", endpoint_id=endpoint.id)
    return endpoint, secret


def change_endpoint(
    endpoint_id: str,
    changes: Mapping[str, Any],
    *,
    version: int | None = None,
    problems: Iterable[Problem] = (),
) -> Endpoint:
    """Change what is given; version: the one that was seen, None for any.

    Raises NotFound, PreconditionFailed, or Invalid with every problem.
    """
    endpoint = _locked(endpoint_id, version)
    clean, found = _read(changes)
    found = [*found, *problems]
    if found:
        raise Invalid(found)
    enabled = clean.pop("enabled", None)
    for name, value in clean.items():
        setattr(endpoint, name, value)
    _touch(endpoint)
    if enabled is True:
        _enable(endpoint)
    elif enabled is False:
        switch_off(endpoint, BY_HAND)
    return endpoint


def delete_endpoint(endpoint_id: str, *, version: int | None = None) -> None:
    """Remove an endpoint with its log. Raises NotFound, PreconditionFailed."""
    db.session.delete(_locked(endpoint_id, version))
    db.session.flush()
    log.info("endpoint deleted", endpoint_id=endpoint_id)


def enable_endpoint(endpoint_id: str) -> Endpoint:
    """Switch on; the failures of the past are forgotten, what was missed can be replayed. Raises NotFound."""
    endpoint = _locked(endpoint_id)
    _enable(endpoint)
    _touch(endpoint)
    return endpoint


def disable_endpoint(endpoint_id: str) -> Endpoint:
    """Switch off by hand. Raises NotFound."""
    endpoint = _locked(endpoint_id)
    switch_off(endpoint, BY_HAND)
    _touch(endpoint)
    return endpoint


def rotate_secret(endpoint_id: str, *, now: datetime | None = None) -> tuple[Endpoint, str]:
    """Give the endpoint a new secret, shown this one time; the old one signs too for ROTATION. Raises NotFound."""
    endpoint = _locked(endpoint_id)
    secret = new_secret()
    endpoint.secrets = {"current": secret, "previous": endpoint.secrets["current"]}
    endpoint.previous_until = (now or utcnow()) + ROTATION
    _touch(endpoint)
    log.info("endpoint has a new key", endpoint_id=endpoint_id)
    return endpoint, secret


def switch_off(endpoint: Endpoint, reason: str, now: datetime | None = None) -> None:
    """Stop an endpoint: nothing is sent or queued for it, and what waited can be replayed later."""
    if not endpoint.enabled:
        return
    now = now or utcnow()
    interest.changed(SERVICE)
    endpoint.enabled, endpoint.disabled_reason, endpoint.disabled_at = False, reason, now
    since = endpoint.first_failure_at
    db.session.execute(
        update(Delivery)
        .where(Delivery.endpoint_id == endpoint.id, Delivery.status == PENDING)
        .values(status=FAILED, next_attempt_at=None, claimed_until=None, last_error=ENDPOINT_DISABLED)
        .execution_options(synchronize_session=False)
    )
    outbox.publish(
        EndpointDisabled(
            endpoint_id=endpoint.id, reason=reason, failing_since=since.isoformat() if since else None
        )
    )
    log.warning("endpoint disabled", endpoint_id=endpoint.id, reason=reason)


def _enable(endpoint: Endpoint) -> None:
    endpoint.enabled, endpoint.disabled_reason, endpoint.disabled_at = True, None, None
    endpoint.first_failure_at = endpoint.paused_until = None


def _touch(endpoint: Endpoint) -> None:
    endpoint.version += 1
    endpoint.updated_at = utcnow()


def _locked(endpoint_id: str, version: int | None = None) -> Endpoint:
    queries.get_endpoint(endpoint_id)
    endpoint: Endpoint = db.session.get(
        Endpoint, endpoint_id, with_for_update=True, populate_existing=True
    ) or queries.get_endpoint(endpoint_id)
    if version is not None and version != endpoint.version:
        raise PreconditionFailed("Somebody changed this meanwhile; read it again and repeat your change.")
    interest.changed(SERVICE)
    return endpoint


def _read(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """The values as they are stored, and what is wrong with them; the host is the door's business."""
    problems = [
        problem(
            f"/{str(name)[:60]}", "unknown_field", "There is no field “%(name)s” here.", name=str(name)[:60]
        )
        for name in values
        if name not in FIELDS
    ]
    clean: dict[str, Any] = {}
    for name, limit in (("url", URL_LENGTH), ("description", DESCRIPTION_LENGTH)):
        if name not in values:
            continue
        value = "" if values[name] is None else values[name]
        if not isinstance(value, str):
            problems.append(problem(f"/{name}", "wrong_type", "This must be a text."))
        elif len(value.strip()) > limit:
            problems.append(
                problem(f"/{name}", "too_long", "This has more than %(limit)s characters.", limit=limit)
            )
        else:
            clean[name] = value.strip()
    if "url" in clean and not clean["url"]:
        problems.append(problem("/url", "missing", "Give the address to call."))
    if "events" in values:
        clean["events"], wrong = matching.read(values["events"])
        problems += wrong
    if values.get("enabled") is not None:
        if isinstance(values["enabled"], bool):
            clean["enabled"] = values["enabled"]
        else:
            problems.append(problem("/enabled", "wrong_type", "This must be true or false."))
    return clean, problems
