"""SendGrid's Event Webhook: is it SendGrid, and what does it say.

Facts: docs.sendgrid.com/for-developers/tracking-events/event and …/getting-started-event-webhook-security-features.
The signature is over the timestamp and the bytes of the body. There is no window for old timestamps: SendGrid
repeats for a day; a repeat is recognised by its event ids.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from app.email.providers import REFERENCE, without_addresses
from app.email.providers import feedback as words
from app.email.providers.feedback import Told, Unreadable

SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"

_KINDS = {
    "deferred": words.DEFERRED,
    "delivered": words.DELIVERED,
    "open": words.OPENED,
    "click": words.CLICKED,
    "bounce": words.BOUNCED,
    "dropped": words.REJECTED,
    "spamreport": words.COMPLAINED,
    "unsubscribe": words.UNSUBSCRIBED,
    "group_unsubscribe": words.UNSUBSCRIBED,
}
"""What we keep; `processed` says no more than our own record of sending, other kinds are news to us."""

_SOFT = ("technical", "content", "reputation", "frequency", "mailbox unavailable")
"""Classes of bounces after which the address may still be good."""

_DROPPED = {
    "bounced": (words.INVALID, "bounced"),
    "invalid": (words.INVALID, "bounced"),
    "spam reporting": (words.SPAM, "complained"),
    "unsubscribed": (words.OTHER, "unsubscribed"),
}
"""Why SendGrid did not even try, and what that says about the address."""


def verify(key: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether SendGrid signed this. key: the base64 text of its page “Signed Event Webhook Requests”."""
    given = {name.lower(): value for name, value in headers.items()}
    signature, timestamp = given.get(SIGNATURE_HEADER.lower(), ""), given.get(TIMESTAMP_HEADER.lower(), "")
    try:
        public = load_der_public_key(base64.b64decode(key, validate=True))
        if not isinstance(public, ec.EllipticCurvePublicKey):
            return False
        signed = timestamp.encode("latin-1", "replace") + body
        public.verify(base64.b64decode(signature, validate=True), signed, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, binascii.Error):
        return False
    return True


def parse(body: bytes) -> list[Told]:
    """The events in a webhook. Raises Unreadable when the body is none; single odd events are left out."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable("not JSON") from error
    if not isinstance(found, list):
        raise Unreadable("not a list of events")
    told = (_read(item) for item in found if isinstance(item, dict))
    return [event for event in told if event is not None]


def _read(item: Mapping[str, Any]) -> Told | None:
    kind = _KINDS.get(str(item.get("event")))
    key, at = str(item.get("sg_event_id") or ""), item.get("timestamp")
    reference = item.get(REFERENCE)
    if kind is None or not key or not isinstance(reference, str) or not isinstance(at, int | float):
        return None
    try:
        moment = datetime.fromtimestamp(at, UTC)
    except (OverflowError, OSError, ValueError):
        return None
    reason, permanent, suppress_as = _why(kind, item)
    said = item.get("reason") or item.get("response") or ""
    return Told(
        kind=kind,
        event_key=key[:160],
        at=moment,
        message_id=reference,
        reason=reason,
        detail=without_addresses(str(said)),
        url=str(item["url"])[:2000] if kind == words.CLICKED and item.get("url") else None,
        permanent=permanent,
        suppress_as=suppress_as,
    )


def _why(kind: str, item: Mapping[str, Any]) -> tuple[str | None, bool, str | None]:
    """(reason, whether the address is no good, why SendGrid holds it back)."""
    if kind == words.BOUNCED:
        classified = str(item.get("bounce_classification") or "").lower()
        if str(item.get("type")) == "blocked":
            return words.BLOCKED, False, None
        if classified.startswith(_SOFT):
            return (
                words.BLOCKED if classified.startswith(("content", "reputation")) else words.OTHER,
                False,
                None,
            )
        if str(item.get("status") or "5").startswith("4"):
            return words.TIMED_OUT, False, None
        return words.INVALID, True, None
    if kind == words.REJECTED:
        said = str(item.get("reason") or "").lower()
        for beginning, (reason, suppress_as) in _DROPPED.items():
            if said.startswith(beginning) and "header" not in said:
                return reason, suppress_as == "bounced", suppress_as
        return words.SPAM if "spam" in said else words.OTHER, False, None
    return None, False, None
