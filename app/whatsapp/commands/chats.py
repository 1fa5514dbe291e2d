"""Who is talking in the simulator: a chat in Redis that knows its contact, for a day after the last word."""

from __future__ import annotations

from typing import Any

import orjson
import phonenumbers
from flask import current_app
from sqlalchemy import select

from app.contracts.problems import Problem, problem
from app.kit.auth import Principal
from app.kit.db import db, is_id, new_id
from app.kit.errors import Invalid, NotFound, Unavailable
from app.kit.redis_client import RedisError, redis
from app.whatsapp.commands import simulator
from app.whatsapp.models import Channel, Contact, Message
from app.whatsapp.providers import Raw
from app.whatsapp.queries import channels, conversations

CHAT_SECONDS = 86_400


def open_chat(*, channel_id: str | None, name: str, phone: str | None, by: Principal) -> dict[str, Any]:
    """A new chat with somebody nobody knows yet; raises Invalid."""
    problems: list[Problem] = []
    channel = _channel(channel_id, problems)
    number = _phone(phone, problems) if phone else None
    if problems or channel is None:
        raise Invalid(problems)
    chat = {
        "id": new_id(),
        "channel_id": channel.id,
        "account": channel.address,
        "user_id": f"sim-{new_id()}",
        "name": name or "Simulator",
        "phone": number,
        "by": by.identity,
    }
    _keep(chat)
    return chat


def say(chat_id: str, text: str, choice: str | None, *, by: Principal) -> Raw:
    """The webhook that carries these words; raises NotFound."""
    chat = _load(chat_id, by)
    _keep(chat)
    said = text or _label(chat, choice)
    return simulator.spoken(
        account=chat["account"],
        user_id=chat["user_id"],
        name=chat["name"],
        phone=chat["phone"],
        text=said.replace("\x00", ""),
        choice_id=choice,
    )


def messages(chat_id: str, after: int, *, by: Principal) -> tuple[list[Message], int]:
    """(what was said after that position and has been handled, the position to go on from)."""
    contact_id = _contact_id(_load(chat_id, by))
    if contact_id is None:
        return [], after
    rows = [
        row for row in conversations.messages_of_contact(contact_id, after=after) if row.position is not None
    ]
    return rows, max((row.position or 0 for row in rows), default=after)


def close(chat_id: str, *, by: Principal) -> None:
    """Forget the chat."""
    chat = _load(chat_id, by)
    try:
        redis().delete(_key(chat["id"]))
    except RedisError:
        return


def _contact_id(chat: dict[str, Any]) -> str | None:
    known = (Contact.channel_id == chat["channel_id"], Contact.user_id == chat["user_id"])
    return db.session.scalar(select(Contact.id).where(*known))


def _label(chat: dict[str, Any], choice: str | None) -> str:
    contact_id = _contact_id(chat)
    if contact_id is None:
        return ""
    offered = db.session.scalar(
        select(Message.choices)
        .where(Message.contact_id == contact_id, Message.direction == "out")
        .order_by(Message.position.desc())
        .limit(1)
    )
    return next((str(item["label"]) for item in offered or () if item["id"] == choice), "")


def _channel(channel_id: str | None, problems: list[Problem]) -> Channel | None:
    if channel_id is None:
        found = channels.channels(provider="simulator", active=True)
        if len(found) == 1:
            return found[0]
        problems.append(problem("/channel_id", "required", "Say which simulator channel."))
        return None
    row = db.session.get(Channel, channel_id) if is_id(channel_id) else None
    if row is None or row.provider != "simulator" or not row.active:
        problems.append(problem("/channel_id", "unknown_channel", "There is no such simulator channel."))
        return None
    return row


def _phone(phone: str, problems: list[Problem]) -> str | None:
    try:
        parsed = phonenumbers.parse(phone, current_app.config.get("DEFAULT_COUNTRY") or None)
        if phonenumbers.is_possible_number(parsed):
            return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    except phonenumbers.NumberParseException:
        pass
    problems.append(
        problem(
            "/phone", "invalid_phone", "This is no telephone number; write it with the country code (+34…)."
        )
    )
    return None


def _keep(chat: dict[str, Any]) -> None:
    try:
        redis().set(_key(chat["id"]), orjson.dumps(chat), ex=CHAT_SECONDS)
    except RedisError:
        raise Unavailable("The simulator needs Redis, which does not answer now.") from None


def _load(chat_id: str, by: Principal) -> dict[str, Any]:
    try:
        stored = redis().get(_key(chat_id))
    except RedisError:
        raise Unavailable("The simulator needs Redis, which does not answer now.") from None
    chat: dict[str, Any] = orjson.loads(stored) if stored else {}
    if not chat or chat["by"] != by.identity:
        raise NotFound("chat", chat_id)
    return chat


def _key(chat_id: str) -> str:
    return f"embudo:simulator:chat:{chat_id}"
