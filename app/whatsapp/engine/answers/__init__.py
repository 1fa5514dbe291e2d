"""From what a person typed to the value that was asked for, or to None: then it is asked again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.whatsapp.engine.answers.addresses import read_email, read_phone
from app.whatsapp.engine.answers.choices import read_choice
from app.whatsapp.engine.answers.dates import read_date
from app.whatsapp.engine.answers.numbers import read_number
from app.whatsapp.engine.definition import Ask, Option
from app.whatsapp.engine.effects import Reply
from app.whatsapp.engine.limits import MAX_VALUE_CHARS

ANSWERING: Final = frozenset({"text", "button"})  # a picture or a place answers no question


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """value: JSON-plain, kept in the variable; option: the choice taken, for kind "choice"."""

    value: str | int | float
    option: Option | None = None


def read_answer(
    ask: Ask, reply: Reply, *, language: str, contact: dict[str, Any], now: datetime
) -> Answer | None:
    """The answer to the question in the reply; None when it is none."""
    if reply.kind not in ANSWERING:
        return None
    if ask.kind == "choice":
        option = read_choice(ask.options, reply.text, reply.payload)
        return None if option is None else Answer(value=option.choice.id, option=option)
    text = reply.text.strip()[:MAX_VALUE_CHARS]
    if not text:
        return None
    value = READERS[ask.kind](ask, text, language, contact, now)
    return None if value is None else Answer(value=value)


def _number(ask: Ask, text: str, language: str, *_: Any) -> int | float | None:
    value = read_number(text, language)
    if value is None or _outside(value, ask.minimum, ask.maximum):
        return None
    return value


def _date(ask: Ask, text: str, language: str, _: Any, now: datetime) -> str | None:
    value = read_date(text, language, now.date())
    if value is None or _outside(value.isoformat(), ask.minimum, ask.maximum):
        return None
    return value.isoformat()


def _phone(ask: Ask, text: str, _: str, contact: dict[str, Any], __: datetime) -> str | None:
    return read_phone(text, country=ask.country, contact_phone=contact.get("phone"))


def _outside(value: Any, low: Any, high: Any) -> bool:
    return (low is not None and value < low) or (high is not None and value > high)


READERS: Final[dict[str, Callable[..., str | int | float | None]]] = {
    "text": lambda _, text, *__: text,
    "number": _number,
    "email": lambda _, text, *__: read_email(text),
    "phone": _phone,
    "date": _date,
}
