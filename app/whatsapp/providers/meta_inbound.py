"""Reading Meta's webhooks: one request may hold many entries, changes, messages and statuses.

Every field is taken as possibly absent or of another type: a message must not be lost because something
beside it is strange. Facts: Meta's "webhooks payload" reference, Graph v26; business-scoped user ids since
April 2026.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from app.whatsapp.providers import wording
from app.whatsapp.providers.base import InboundMessage, Kind, Location, Media, Status, StatusUpdate

EARLIEST = 1_230_768_000.0  # 2009, WhatsApp's first year; an older time stamp is an error of the sender
LATEST = 4_102_444_800.0  # 2100
MILLISECONDS = 1e11  # a time stamp above this is in milliseconds: some senders use them

_MEDIA: dict[str, Kind] = {
    "image": "image",
    "audio": "audio",
    "voice": "audio",
    "video": "video",
    "document": "document",
    "sticker": "sticker",
}
_STATUSES: dict[str, Status] = {
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "played": "read",
    "failed": "failed",
    "deleted": "deleted",
}


def document(body: bytes) -> dict[str, Any]:
    """The JSON object of a body, {} when it is none."""
    try:
        read = wording.clean(json.loads(body))
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def fault_of(body: bytes) -> str | None:
    """Why a body is no JSON object; None when it is one."""
    try:
        read = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:  # the stricter parser refuses half emojis, which Meta may send and `document` mends
            read = json.loads(body)
        except (ValueError, RecursionError) as error:
            return f"The body is not JSON: {error}."
    return None if isinstance(read, dict) else "The body is not a JSON object."


def values(payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each change of field "messages" about one of our numbers; other fields are for other products."""
    for entry in _dicts(payload.get("entry")):
        for change in _dicts(entry.get("changes")):
            if change.get("field", "messages") == "messages":
                value = _dict(change.get("value"))
                if value:
                    yield value


def account(value: dict[str, Any]) -> str:
    """The phone_number_id the change is about."""
    return _text(_dict(value.get("metadata")).get("phone_number_id"))


def messages(value: dict[str, Any]) -> Iterator[InboundMessage]:
    """The messages of a change; those without an id or a sender cannot be told apart and are left out."""
    contacts = _dicts(value.get("contacts"))
    for raw in _dicts(value.get("messages")):
        contact = _contact(raw, contacts)
        number = _text(raw.get("from")) or _text(contact.get("wa_id"))
        scoped = _text(raw.get("from_user_id")) or _text(contact.get("user_id"))
        provider_id = _text(raw.get("id"))
        if not provider_id or not (number or scoped):
            continue
        is_phone = number.isascii() and number.isdigit()
        content = _content(raw)
        yield InboundMessage(
            provider_id=provider_id,
            account=account(value),
            user_id=scoped or number,
            phone="+" + number if is_phone else None,
            name=_text(_dict(contact.get("profile")).get("name")) or None,
            reply_to=content.pop("reply_to", None) or _text(_dict(raw.get("context")).get("id")) or None,
            group=bool(raw.get("group_id")),
            at=moment(raw.get("timestamp")),
            raw=raw,
            **content,
        )


def statuses(value: dict[str, Any], retryable: Callable[[str | None], bool]) -> Iterator[StatusUpdate]:
    """The status updates of a change; unknown statuses are left out. retryable judges an error code."""
    for raw in _dicts(value.get("statuses")):
        status = _STATUSES.get(_text(raw.get("status")))
        provider_id = _text(raw.get("id"))
        if status is None or not provider_id:
            continue
        code, sentence = _error(raw)
        yield StatusUpdate(
            provider_id=provider_id,
            reference=_text(raw.get("biz_opaque_callback_data")) or None,
            account=account(value),
            status=status,
            error_code=code,
            error=sentence,
            retryable=status == "failed" and retryable(code),
            at=moment(raw.get("timestamp")),
            raw=raw,
        )


def moment(stamp: object) -> datetime:
    """Meta's time stamp (seconds as text, sometimes milliseconds) in UTC; now, when it makes no sense."""
    try:
        seconds = float(stamp) if isinstance(stamp, str | int | float) else 0.0
    except (ValueError, OverflowError):
        seconds = 0.0
    if seconds > MILLISECONDS:
        seconds /= 1000
    if EARLIEST <= seconds <= LATEST:
        return datetime.fromtimestamp(seconds, UTC)
    return datetime.now(UTC)


def _content(raw: dict[str, Any]) -> dict[str, Any]:
    """What a message says: the fields of InboundMessage that depend on its type."""
    told = _text(raw.get("type"))
    part = _dict(raw.get(told))
    if told == "text":
        return {"kind": "text", "text": _text(part.get("body"))}
    if told == "button":  # a template's quick reply
        text = _text(part.get("text"))
        return {"kind": "choice", "text": text, "choice_id": _text(part.get("payload")) or None}
    if told == "interactive":
        return _interactive(part)
    if told in _MEDIA:
        caption = _text(part.get("caption"))
        return {"kind": _MEDIA[told], "text": caption, "media": (_media(part, caption),)}
    if told == "location":
        return {"kind": "location", "text": _text(part.get("name")), "location": _location(part)}
    if told == "reaction":
        return {
            "kind": "reaction",
            "text": _text(part.get("emoji")),
            "reply_to": _text(part.get("message_id")) or None,
        }
    if told == "system":
        return {"kind": "system", "text": _text(part.get("body"))}
    if told in ("contacts", "unsupported"):
        return {"kind": told, "text": ""}
    return {"kind": "unknown", "text": ""}


def _interactive(part: dict[str, Any]) -> dict[str, Any]:
    told = _text(part.get("type"))
    reply = _dict(part.get(told))
    if told in ("button_reply", "list_reply"):
        text = _text(reply.get("title"))
        return {"kind": "choice", "text": text, "choice_id": _text(reply.get("id")) or None}
    if told == "nfm_reply":
        answers = reply.get("response_json")
        form = document(answers.encode("utf-8", "replace")) if isinstance(answers, str) else _dict(answers)
        return {"kind": "text", "text": _text(reply.get("body")), "form": form}
    return {"kind": "unknown", "text": ""}


def _media(part: dict[str, Any], caption: str) -> Media:
    return Media(
        id=_text(part.get("id")) or None,
        url=_text(part.get("url")) or _text(part.get("link")) or None,
        mime=_text(part.get("mime_type")).split(";")[0].strip().lower(),
        caption=caption,
        filename=_text(part.get("filename")),
        sha256=_text(part.get("sha256")),
    )


def _location(part: dict[str, Any]) -> Location | None:
    place = wording.coordinates(part.get("latitude"), part.get("longitude"))
    if place is None:
        return None
    name, address = _text(part.get("name")), _text(part.get("address"))
    return Location(latitude=place[0], longitude=place[1], name=name, address=address)


def _contact(message: dict[str, Any], contacts: list[dict[str, Any]]) -> dict[str, Any]:
    """The sender's entry in contacts, by phone number or business-scoped id."""
    number, scoped = _text(message.get("from")), _text(message.get("from_user_id"))
    for contact in contacts:
        same_number = number and _text(contact.get("wa_id")) == number
        same_user = scoped and _text(contact.get("user_id")) == scoped
        if same_number or same_user:
            return contact
    # Brazil, Argentina and Mexico: `from` and `wa_id` may differ by a digit; a lone contact is the sender.
    return contacts[0] if len(contacts) == 1 else {}


def _error(raw: dict[str, Any]) -> tuple[str | None, str | None]:
    for error in _dicts(raw.get("errors")):
        said = [
            _text(_dict(error.get("error_data")).get("details")),
            _text(error.get("message")),
            _text(error.get("title")),
        ]
        return _text(error.get("code")) or None, next((s for s in said if s), None)
    return None, None


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    if isinstance(value, bool):
        return ""
    return str(value) if isinstance(value, str | int | float) else ""
