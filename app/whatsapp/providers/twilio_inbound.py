"""Reading Twilio's webhooks: one form is one message or one status update.

Twilio adds fields without notice, so unknown ones are only kept. Facts: twilio.com/docs/messaging/guides
(webhook-request, track-outbound-message-status), docs/whatsapp, the error dictionary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qs, parse_qsl, urlsplit

from app.whatsapp.providers import wording
from app.whatsapp.providers.base import InboundMessage, Kind, Location, Media, Raw, Status, StatusUpdate

PREFIX = "whatsapp:"  # of Twilio's WhatsApp addresses
REFERENCE = "reference"  # query parameter of the status-callback URL that carries our message id
MAX_FIELDS = 500  # of a form; Twilio sends about 30, ten media files included
MAX_DIGITS = 15  # of an E.164 number
MAX_MEDIA = 50  # of one message; Twilio's own limit is 10

# Codes from the error dictionary. The 63xxx mostly come late, by status callback.
TOO_FAST = frozenset({
    "20429",  # HTTP 429: the request was not processed
    "63018",  # rate of this WhatsApp sender exceeded
    "63038",  # account's messages per day exceeded
    "21611",  # the sender's queue is full
    "30001",  # queue overflow
})  # fmt: skip
THEIR_TROUBLE = frozenset({
    "20503",  # service unavailable
    "63010",  # internal error of Twilio's channels
    "63012",  # internal error of WhatsApp
})  # fmt: skip

_KINDS: dict[str, Kind] = {
    "text": "text",
    "image": "image",
    "audio": "audio",
    "voice": "audio",
    "video": "video",
    "document": "document",
    "sticker": "sticker",
    "location": "location",
    "contacts": "contacts",
    "button": "choice",
    "interactive": "choice",
    "reaction": "reaction",
    "system": "system",
    "unsupported": "unsupported",
}
_STATUSES: dict[str, Status] = {
    "accepted": "queued",
    "scheduled": "queued",
    "queued": "queued",
    "sending": "queued",
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "undelivered": "failed",
    "failed": "failed",
    "canceled": "failed",
}
_VCARDS = {"text/vcard", "text/x-vcard", "text/directory"}


class Fields(dict[str, list[str]]):
    """The form as RequestValidator wants it: a mapping with getlist."""

    def getlist(self, name: str) -> list[str]:
        """All values of a field that is there."""
        return self[name]


def updates(raw: Raw) -> list[InboundMessage | StatusUpdate]:
    """The message or the status update of a webhook; [] when it is neither."""
    form = form_of(raw)
    provider_id = form.get("MessageSid") or form.get("SmsMessageSid") or form.get("SmsSid")
    if not provider_id:
        return []
    told = _told(form)
    if told:
        return _status(raw, form, provider_id, told)
    if not form.get("From"):
        return []
    return [_message(form, provider_id)]


def is_json(raw: Raw) -> bool:
    """Whether the body is JSON, which Twilio sends for a few products and signs by bodySHA256."""
    return "json" in raw.headers.get("content-type", "").lower()


def fields(raw: Raw) -> Fields:
    """The form's fields, untrimmed, each with all its values; raises ValueError for what is no UTF-8 form."""
    found = Fields()
    if is_json(raw):
        return found
    pairs = parse_qsl(
        raw.body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
    )
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def form_of(raw: Raw) -> dict[str, str]:
    """The webhook's parameters as text, {} when there are none to be read."""
    try:
        if is_json(raw):
            read = json.loads(raw.body)
            pairs = read.items() if isinstance(read, dict) else ()
            return {str(k): wording.clean(v) for k, v in pairs if isinstance(v, str)}
        return {name: wording.clean(values[0]) for name, values in fields(raw).items()}
    except (ValueError, RecursionError):
        return {}


def plain(address: str) -> str:
    """A WhatsApp address without Twilio's prefix: +E.164 or a business-scoped id."""
    return address.strip().removeprefix(PREFIX).strip()


def is_number(text: str) -> bool:
    """Whether these are the digits of a phone number."""
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def account(form: Mapping[str, str]) -> str:
    """Our own address in a webhook: To of a message, From of a status update; "" when there is none."""
    return plain(form.get("From" if _told(form) else "To", ""))


def _told(form: Mapping[str, str]) -> str:
    """The status told of a message we sent; "" when the form is a message to us."""
    told = form.get("MessageStatus", "").lower()
    return "" if told in ("received", "receiving") else told


def _status(
    raw: Raw, form: dict[str, str], provider_id: str, told: str
) -> list[InboundMessage | StatusUpdate]:
    status = _STATUSES.get(told)
    if status is None:
        return []
    code = form.get("ErrorCode") if form.get("ErrorCode") not in ("", "0") else None
    return [
        StatusUpdate(
            provider_id=provider_id,
            reference=_reference(raw.url),
            account=account(form),
            status=status,
            error_code=code,
            error=form.get("ErrorMessage") or form.get("ChannelStatusMessage") or None,
            retryable=status == "failed" and code in TOO_FAST | THEIR_TROUBLE,
            at=datetime.now(UTC),  # Twilio does not tell when it happened
            raw=dict(form),
        )
    ]


def _reference(url: str) -> str | None:
    try:
        return wording.clean(parse_qs(urlsplit(url).query, max_num_fields=MAX_FIELDS)[REFERENCE][0]) or None
    except (ValueError, KeyError):
        return None


def _message(form: dict[str, str], provider_id: str) -> InboundMessage:
    sender = plain(form["From"])
    digits = next((n for n in (form.get("WaId", ""), sender.removeprefix("+")) if is_number(n)), "")
    scoped = form.get("ExternalUserId") or ("" if is_number(sender.removeprefix("+")) else sender)
    text = form.get("ButtonText") or form.get("ListTitle") or form.get("Body", "")
    media = _media(form)
    return InboundMessage(
        provider_id=provider_id,
        account=account(form),
        user_id=scoped or digits,
        phone="+" + digits if digits else None,
        name=form.get("ProfileName") or None,
        kind=_kind(form, media),
        text=text,
        choice_id=form.get("ButtonPayload") or form.get("ListId") or None,
        media=media,
        location=_location(form),
        reply_to=form.get("OriginalRepliedMessageSid") or None,
        at=datetime.now(UTC),  # the form has no time
        raw=dict(form),
    )


def _kind(form: Mapping[str, str], media: tuple[Media, ...]) -> Kind:
    if form.get("ButtonPayload") or form.get("ListId") or form.get("ButtonText"):
        return "choice"
    told = form.get("MessageType", "").lower()
    if told and told not in _KINDS:
        return "unknown"
    if told in ("button", "interactive"):  # without a payload the words are all there is
        return "choice"
    if told and told != "text":
        return _KINDS[told]
    if media:
        return _kind_of_mime(media[0].mime)
    if form.get("Latitude"):
        return "location"
    return "text"


def _kind_of_mime(mime: str) -> Kind:
    if mime in _VCARDS:
        return "contacts"
    if mime == "image/webp":
        return "sticker"
    known: dict[str, Kind] = {"image": "image", "audio": "audio", "video": "video"}
    return known.get(mime.split("/", maxsplit=1)[0], "document")


def _media(form: Mapping[str, str]) -> tuple[Media, ...]:
    count = form.get("NumMedia", "0")
    found = []
    for index in range(min(int(count), MAX_MEDIA) if is_number(count) else 0):
        url = form.get(f"MediaUrl{index}")
        if url:
            mime = form.get(f"MediaContentType{index}", "").split(";")[0].strip().lower()
            found.append(Media(url=url, mime=mime, caption=form.get("Body", "")))
    return tuple(found)


def _location(form: Mapping[str, str]) -> Location | None:
    place = wording.coordinates(form.get("Latitude"), form.get("Longitude"))
    if place is None:
        return None
    return Location(
        latitude=place[0], longitude=place[1], name=form.get("Label", ""), address=form.get("Address", "")
    )
