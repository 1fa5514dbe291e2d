"""Starting a flow with somebody who has not written: `POST /start` and the admin's button."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import phonenumbers
from flask import current_app

from app.contracts.problems import Problem, problem
from app.kit.db import db, is_id
from app.kit.errors import Invalid
from app.whatsapp.commands import contacts, talk
from app.whatsapp.models import Channel, Conversation, Flow
from app.whatsapp.providers import user_id_of
from app.whatsapp.queries import channels, flows

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
VARIABLES = 100
VALUE_LENGTH = 4000
USER_ID_LENGTH = 120


def start_run(
    *,
    channel_id: str | None,
    to: str | None,
    user_id: str | None,
    flow: str | None,
    variables: Mapping[str, Any],
    by: str,
) -> Conversation:
    """Start a flow for a phone number or user id; raises Invalid with everything that is wrong.

    Without channel_id: the only active channel that is no simulator, or the only one at all. Without flow: the
    channel's default flow.
    """
    problems: list[Problem] = []
    channel = _channel(channel_id, problems)
    phone = _phone(to, problems) if to else None
    if not to and not user_id:
        problems.append(problem("/to", "required", "Say whom to write to: a phone number, or a user_id."))
    if user_id and (len(user_id) > USER_ID_LENGTH or "\x00" in user_id):
        problems.append(
            problem("/user_id", "too_long", "At most %(limit)s characters.", limit=USER_ID_LENGTH)
        )
    found = _flow(flow, channel, problems)
    problems += _variable_problems(variables)
    if problems or channel is None or found is None:
        raise Invalid(problems)
    identities = tuple(filter(None, (user_id, user_id_of(phone) if phone else None)))
    contact = contacts.contact_for(channel.id, identities, phone, "")
    return talk.start_flow(contact.id, found, variables=variables, by=by)


def _channel(channel_id: str | None, problems: list[Problem]) -> Channel | None:
    if channel_id is not None:
        row = db.session.get(Channel, channel_id) if is_id(channel_id) else None
        if row is None:
            problems.append(problem("/channel_id", "unknown_channel", "There is no such channel."))
        elif not row.active:
            problems.append(problem("/channel_id", "inactive", "This channel is switched off."))
        return row
    active = channels.channels(active=True)
    choice = [row for row in active if row.provider != "simulator"] or active
    if len(choice) == 1:
        return choice[0]
    if choice:
        problems.append(problem("/channel_id", "required", "There are several channels: say which."))
    else:
        problems.append(problem("/channel_id", "no_channel", "There is no active channel."))
    return None


def _phone(to: str, problems: list[Problem]) -> str | None:
    try:
        parsed = phonenumbers.parse(to, current_app.config.get("DEFAULT_COUNTRY") or None)
        if phonenumbers.is_possible_number(parsed) and phonenumbers.is_valid_number(parsed):
            return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    except phonenumbers.NumberParseException:
        pass
    problems.append(
        problem("/to", "invalid_phone", "This is no telephone number; write it with the country code (+34…).")
    )
    return None


def _flow(name: str | None, channel: Channel | None, problems: list[Problem]) -> Flow | None:
    if name is None:
        found = channel.default_flow if channel is not None else None
        if channel is not None and found is None:
            problems.append(problem("/flow", "required", "Say which flow: the channel has no default one."))
    else:
        found = flows.find_flow(name)
        if found is None:
            problems.append(problem("/flow", "unknown_flow", "There is no such flow."))
    if found is not None and found.published_version is None:
        problems.append(
            problem("/flow", "unpublished", "The flow “%(name)s” is not published.", name=found.name)
        )
    return found


def _variable_problems(variables: Mapping[str, Any]) -> list[Problem]:
    problems = []
    if len(variables) > VARIABLES:
        problems.append(problem("/variables", "too_many", "At most %(limit)s variables.", limit=VARIABLES))
    for name, value in variables.items():
        where = f"/variables/{name}"[:200]
        if not VARIABLE.fullmatch(name):
            problems.append(
                problem(
                    where, "bad_name", "A variable's name is letters, digits and _, and begins with a letter."
                )
            )
        if not isinstance(value, str | int | float | bool) or "\x00" in str(value):
            problems.append(problem(where, "bad_value", "A variable is text, a number, or true or false."))
        elif len(str(value)) > VALUE_LENGTH:
            problems.append(problem(where, "too_long", "At most %(limit)s characters.", limit=VALUE_LENGTH))
    return problems
