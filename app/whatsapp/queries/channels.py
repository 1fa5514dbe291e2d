"""Channels and their credentials: stored ones first, the environment's for the rest.

Every webhook needs the secrets before anything is known of it, so the doors are kept in the process for a few
seconds, decrypted, and read without the ORM.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import current_app
from sqlalchemy import LargeBinary, select, type_coerce

from app.contracts.problems import N_
from app.kit.db import db, engine_of
from app.kit.errors import NotFound
from app.kit.secrets import Undecryptable, decrypt
from app.kit.telemetry import get_logger
from app.whatsapp.models import Channel
from app.whatsapp.providers import SENDERS

DOOR_SECONDS = 5.0
"""How long a process trusts the credentials it has read: the longest a changed secret takes to count."""

UNREADABLE = N_("The stored credentials cannot be read: SECRET_KEY has changed. Enter them again.")
"""Channel.fault when it is not the provider's; any other is the provider's own words."""

log = get_logger("whatsapp")


@dataclass(frozen=True, kw_only=True)
class Door:
    """Credentials with which a webhook may be signed. channel_id None: the environment's, without a channel yet."""

    channel_id: str | None
    provider: str
    address: str | None
    credentials: Mapping[str, str] = field(repr=False)


_doors: dict[int, tuple[float, tuple[Door, ...]]] = {}


def channel(channel_id: str) -> Channel:
    """The channel; raises NotFound."""
    row = db.session.get(Channel, channel_id)
    if row is None:
        raise NotFound("channel", channel_id)
    return row


def channels(*, provider: str | None = None, active: bool | None = None) -> list[Channel]:
    """Channels by name."""
    statement = select(Channel).order_by(Channel.name, Channel.id).limit(200)
    if provider is not None:
        statement = statement.where(Channel.provider == provider)
    if active is not None:
        statement = statement.where(Channel.active.is_(active))
    return list(db.session.scalars(statement))


def by_address(provider: str, address: str) -> Channel | None:
    """The channel with this number or phone number id."""
    return db.session.scalar(select(Channel).where(Channel.provider == provider, Channel.address == address))


def environment(provider: str) -> dict[str, str]:
    """What the environment says of a provider, by the adapter's field names; only what is set."""
    config = current_app.config
    return {
        item.name: str(config[item.variable])
        for item in SENDERS[provider].FIELDS
        if item.variable and config.get(item.variable)
    }


def environment_address(provider: str) -> str | None:
    """The address of the environment's channel; None when its credentials are not there or incomplete."""
    credentials = environment(provider)
    return SENDERS[provider].address(credentials) if credentials else None


def raw_credentials() -> Any:
    """The column without its decryption: one channel whose secret cannot be read must not hide the others."""
    return type_coerce(Channel.__table__.c.credentials, LargeBinary)


def opened(provider: str, stored: bytes | None) -> dict[str, str]:
    """Credentials read as raw_credentials, over the environment's. May raise Undecryptable."""
    return merged(provider, decrypt(stored) if stored else {})


def merged(provider: str, stored: Mapping[str, Any]) -> dict[str, str]:
    """Stored settings over the environment's.

    A channel that has secrets of its own takes only the base URLs from the environment: half of one account with
    half of another would be refused in ways nobody understands.
    """
    own = {name: str(value) for name, value in stored.items() if value not in (None, "")}
    around = environment(provider)
    secrets = {item.name for item in SENDERS[provider].FIELDS if item.secret}
    if secrets & own.keys():
        around = {name: value for name, value in around.items() if name.endswith("_url")}
    return {**around, **own}


def doors(provider: str) -> tuple[Door, ...]:
    """All credentials of a provider that are in use, at most DOOR_SECONDS old."""
    key = id(current_app._get_current_object())  # type: ignore[attr-defined]
    until, found = _doors.get(key, (0.0, ()))
    if until < time.monotonic():
        found = _load_doors()
        _doors.clear()
        _doors[key] = (time.monotonic() + DOOR_SECONDS, found)
    return tuple(door for door in found if door.provider == provider)


def forget_doors() -> None:
    """Read the credentials again at the next webhook of this process."""
    _doors.clear()


def _load_doors() -> tuple[Door, ...]:
    table = Channel.__table__
    with engine_of("whatsapp").connect() as connection:
        rows = connection.execute(
            select(table.c.id, table.c.provider, table.c.address, raw_credentials()).where(table.c.active)
        ).all()
    found = []
    for channel_id, provider, address, stored in rows:
        try:
            own = decrypt(stored) if stored else {}
        except Undecryptable:
            log.error("channel credentials unreadable", channel_id=channel_id)
            continue
        found.append(
            Door(channel_id=channel_id, provider=provider, address=address, credentials=merged(provider, own))
        )
    for provider, sender in SENDERS.items():
        credentials = environment(provider)
        if credentials:
            address = sender.address(credentials)
            found.append(Door(channel_id=None, provider=provider, address=address, credentials=credentials))
    return tuple(found)
