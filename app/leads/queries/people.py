"""Who has this telephone number or e-mail address: what forms, telephone systems and other programs ask most.

The cache only remembers which lead it was. That lead is then looked up by its id, where the cache is never stale, and
must still have the number or address: so what is remembered may be as old as it likes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import current_app
from sqlalchemy import select

from app.contracts.problems import Problem
from app.kit import cache
from app.kit.auth import Principal
from app.kit.db import db
from app.kit.errors import NotFound
from app.leads import matching
from app.leads.models import Lead
from app.leads.queries.cached import lead_document

DEFAULT_COUNTRY = "ES"
"""By which a national telephone number is read when the configuration names no country."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """By what a person is found. read: what people write; key_of: what all spellings have in common."""

    name: str
    column: Any
    read: Callable[[str], str | Problem]
    key_of: Callable[[str], str]

    def key(self, text: str) -> str:
        """The key of what somebody typed; "", which nobody has, when it is no number or address."""
        value = self.read(text)
        return "" if isinstance(value, Problem) else self.key_of(value)


def default_country() -> str:
    """The country whose national numbers need no prefix."""
    return str(current_app.config.get("DEFAULT_COUNTRY") or DEFAULT_COUNTRY)


PHONE = Identity(
    name="phone",
    column=Lead.phone_key,
    read=lambda text: matching.read_phone(text, default_country()),
    key_of=matching.match_key,
)
EMAIL = Identity(name="email", column=Lead.email_key, read=matching.read_email, key_of=matching.email_key)
IDENTITIES = {identity.name: identity for identity in (PHONE, EMAIL)}


def find_document(identity: Identity, text: str, by: Principal) -> dict[str, Any] | None:
    """The lead with this number or address as the API shows it; None when there is none, or `by` may not see it."""
    key = identity.key(text)
    if not key:
        return None
    name = f"lead-{identity.name}:{key}"
    remembered, token = cache.get(name)
    found = _document(remembered, by) if remembered is not None else None
    if found is not None and _has(found, identity, key):
        return found
    lead_id = db.session.scalar(select(Lead.id).where(identity.column == key, Lead.deleted_at.is_(None)))
    if lead_id is None:
        return None
    cache.put(name, lead_id, token)
    found = _document(lead_id, by)
    # It may have changed since it was found a moment ago.
    return found if found is not None and _has(found, identity, key) else None


def _document(lead_id: str, by: Principal) -> dict[str, Any] | None:
    try:
        return lead_document(lead_id, by)
    except NotFound:
        return None


def _has(document: dict[str, Any], identity: Identity, key: str) -> bool:
    value = document[identity.name]
    return bool(value) and identity.key_of(value) == key
