"""Adding and changing the numbers we speak from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select

from app.contracts.problems import Problem, problem
from app.kit.db import after_commit, db, new_id
from app.kit.errors import Conflict, Invalid, NotFound
from app.whatsapp.models import Channel, Contact, Flow
from app.whatsapp.providers import SENDERS
from app.whatsapp.queries import channels as queries

NAME_LENGTH = 120
CREDENTIAL_LENGTH = 4096


def add_channel(
    *,
    name: str,
    provider: str,
    credentials: Mapping[str, str],
    default_flow_id: str | None = None,
    active: bool = True,
) -> Channel:
    """A new channel; raises Invalid with every problem."""
    if provider not in SENDERS:
        raise Invalid(
            [problem("/provider", "unknown_provider", "There is no provider “%(name)s”.", name=provider)]
        )
    stored = {key: value for key, value in credentials.items() if value}
    problems, address = _check(name, provider, stored, default_flow_id, own_id=None)
    if problems or address is None:
        raise Invalid(problems)
    row = Channel(
        name=name.strip(),
        provider=provider,
        address=address,
        credentials=stored,
        default_flow_id=default_flow_id,
        active=active,
    )
    db.session.add(row)
    db.session.flush()
    after_commit("whatsapp doors", queries.forget_doors)
    return row


def change_channel(channel_id: str, changes: Mapping[str, Any]) -> Channel:
    """Change name, default_flow_id, active or credentials. A credential left empty keeps what is stored.

    Raises NotFound, Invalid.
    """
    row = db.session.get(Channel, channel_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound("channel", channel_id)
    given = {key: value for key, value in (changes.get("credentials") or {}).items() if value}
    stored = {**(row.credentials or {}), **given} if given else None
    name = changes.get("name", row.name)
    default_flow_id = changes.get("default_flow_id", row.default_flow_id)
    problems, address = _check(name, row.provider, stored, default_flow_id, own_id=row.id)
    if problems:
        raise Invalid(problems)
    row.name = name.strip()
    row.default_flow_id = default_flow_id
    row.active = bool(changes.get("active", row.active))
    if stored is not None:
        row.credentials = stored
        row.address = address or row.address
        row.fault = row.held_until = row.held_at = None  # whatever was wrong, try with the new ones at once
    after_commit("whatsapp doors", queries.forget_doors)
    return row


def delete_channel(channel_id: str) -> None:
    """Remove a channel that nobody ever wrote to; raises Conflict for others: switch those off."""
    row = queries.channel(channel_id)
    if db.session.scalar(select(func.count()).select_from(Contact).where(Contact.channel_id == row.id)):
        raise Conflict(
            problem(
                "",
                "has_contacts",
                "People have written to this channel. Switch it off instead of deleting it.",
            )
        )
    db.session.delete(row)
    after_commit("whatsapp doors", queries.forget_doors)


def _check(
    name: str,
    provider: str,
    stored: Mapping[str, str] | None,
    default_flow_id: str | None,
    own_id: str | None,
) -> tuple[list[Problem], str | None]:
    problems: list[Problem] = []
    if not name or not name.strip():
        problems.append(problem("/name", "required", "Give the channel a name."))
    elif len(name.strip()) > NAME_LENGTH:
        problems.append(problem("/name", "too_long", "At most %(limit)s characters.", limit=NAME_LENGTH))
    if default_flow_id is not None:
        flow = db.session.get(Flow, default_flow_id)
        if flow is None or flow.archived_at is not None:
            problems.append(problem("/default_flow_id", "unknown_flow", "There is no such flow."))
        elif flow.published_version is None:
            problems.append(problem("/default_flow_id", "unpublished", "Publish this flow first."))
    address: str | None = None
    if provider == "simulator":
        address = f"simulator-{new_id()[-12:]}" if own_id is None else None
    elif stored is not None:
        found, address = _credential_problems(provider, stored)
        problems += found
        twin = queries.by_address(provider, address) if address else None
        if twin is not None and twin.id != own_id:
            problems.append(
                problem(
                    "/credentials", "taken", "The channel “%(name)s” has this number already.", name=twin.name
                )
            )
    return problems, address


def _credential_problems(provider: str, stored: Mapping[str, str]) -> tuple[list[Problem], str | None]:
    sender = SENDERS[provider]
    known = {item.name: item for item in sender.FIELDS}
    problems = [
        problem(f"/credentials/{name}", "unknown_field", "This provider has no setting of this name.")
        for name in stored
        if name not in known
    ]
    effective = queries.merged(provider, stored)
    for name, item in known.items():
        value = effective.get(name, "")
        if len(value) > CREDENTIAL_LENGTH:
            problems.append(
                problem(
                    f"/credentials/{name}",
                    "too_long",
                    "At most %(limit)s characters.",
                    limit=CREDENTIAL_LENGTH,
                )
            )
        if item.required and not value.strip():
            problems.append(
                problem(f"/credentials/{name}", "required", "This is needed to send and to receive.")
            )
    address = sender.address(effective)
    if address is None and not problems:
        problems.append(problem("/credentials", "no_address", "The sender's number is missing."))
    return problems, address


def adopt_environment() -> list[Channel]:
    """Give each account whose credentials are in the environment a channel, so that it can be seen and configured."""
    made = []
    for provider in SENDERS:
        address = queries.environment_address(provider)
        if address and queries.by_address(provider, address) is None:
            row = Channel(name=f"WhatsApp ({provider.title()})", provider=provider, address=address)
            db.session.add(row)
            made.append(row)
    db.session.flush()
    return made
