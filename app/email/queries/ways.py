"""The ways out as they are used now: configuration, what was typed into the admin, faults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import LargeBinary, select, type_coerce

from app.email.models import (
    Provider,
)
from app.email.providers.ways import WAYS, Way
from app.kit.db import db
from app.kit.secrets import Undecryptable, decrypt

LEAVE, STAY, WAIT = "leave", "stay", "wait"
"""What becomes of mails: see fate_of_mails."""


@dataclass(frozen=True, kw_only=True)
class ChosenWay:
    """A way out as it is used now.

    config: the app's configuration under what was typed into the admin. named: in MAIL_PROVIDERS. rate: mails a
    second that we allow ourselves, None for what the provider tells. error: of its last failure; at: when that was.
    """

    way: Way
    config: Mapping[str, Any]
    named: bool = False
    enabled: bool = True
    rate: float | None = None
    undecryptable: bool = False
    own_settings: tuple[str, ...] = ()
    error_code: str | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None

    @property
    def name(self) -> str:
        """The way's name."""
        return self.way.name

    @property
    def is_configured(self) -> bool:
        """Whether there is enough to try it."""
        return self.way.is_configured(self.config)

    @property
    def is_usable(self) -> bool:
        """Whether mails may take it."""
        return self.enabled and self.is_configured

    @property
    def is_wanted(self) -> bool:
        """Whether somebody means mails to take it, be it off, incomplete or unreadable for now."""
        return self.named or self.is_configured or self.undecryptable or bool(self.own_settings)


def all_ways(config: Mapping[str, Any]) -> list[ChosenWay]:
    """Every way out there is, in the order in which they are tried; also those that are off or not configured."""
    named = tuple(config.get("MAIL_PROVIDERS") or ())
    rates: Mapping[str, float] = config.get("MAIL_RATES") or {}
    rows = {
        row.name: row
        for row in db.session.execute(
            select(
                Provider.name,
                Provider.position,
                Provider.enabled,
                Provider.rate,
                Provider.error_code,
                Provider.last_error,
                Provider.last_error_at,
                type_coerce(Provider.__table__.c.settings, LargeBinary).label(
                    "settings"
                ),  # one bad secret must not stop all
            )
        )
    }
    found: list[tuple[tuple[int, int, int], ChosenWay]] = []
    for place, way in enumerate(WAYS.values()):
        row = rows.get(way.name)
        own, readable = _settings(row.settings if row else None)
        chosen = ChosenWay(
            way=way,
            config={**config, **own},
            named=way.name in named,
            enabled=row.enabled if row and row.enabled is not None else not named or way.name in named,
            rate=row.rate if row and row.rate else rates.get(way.name),
            undecryptable=not readable,
            own_settings=tuple(own),
            error_code=row.error_code if row else None,
            last_error=row.last_error if row else None,
            last_error_at=row.last_error_at if row else None,
        )
        position = row.position if row and row.position is not None else len(WAYS)
        found.append(((position, named.index(way.name) if way.name in named else len(named), place), chosen))
    return [chosen for _, chosen in sorted(found, key=lambda item: item[0])]


def usable_ways(config: Mapping[str, Any]) -> list[ChosenWay]:
    """The ways out that are on and configured, in order."""
    return [chosen for chosen in all_ways(config) if chosen.is_usable]


def fate_of_mails(ways: Iterable[ChosenWay]) -> str:
    """LEAVE by one of these ways, STAY in the local outbox where nobody wants one, or WAIT for one to be usable.

    A mail that stays counts as sent. So it must not, only because a way that is wanted is off or cannot be read.
    """
    known = list(ways)
    if any(chosen.is_usable for chosen in known):
        return LEAVE
    return WAIT if any(chosen.is_wanted for chosen in known) else STAY


def _settings(stored: bytes | None) -> tuple[dict[str, Any], bool]:
    if not stored:
        return {}, True
    try:
        return dict(decrypt(stored)), True
    except Undecryptable:
        return {}, False
