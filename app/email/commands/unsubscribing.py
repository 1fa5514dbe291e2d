"""One click and no more marketing (RFC 8058): the token in a mail's headers, and what a click does.

The token names the message, whose recipient is the one to be left alone, and is signed, so that nobody can
unsubscribe others by trying numbers. It holds no personal data: it lies in mailboxes and logs for ever.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

from flask import current_app

from app.contracts.events import EmailUnsubscribed
from app.email.commands.suppressions import lift, suppress
from app.email.models import MARKETING, UNSUBSCRIBED, Message
from app.kit import outbox
from app.kit.db import db
from app.kit.secrets import derived_key

TAG_BYTES = 16
"""Length of the signature: 128 bits cannot be guessed."""

PURPOSE = "unsubscribe links"


def token_of(message_id: str) -> str:
    """The token of a message, for its unsubscribe address."""
    id_ = UUID(message_id).bytes
    return urlsafe_b64encode(id_ + _tag(id_, derived_key(PURPOSE))).rstrip(b"=").decode()


def list_headers(message_id: str, public_url: str) -> dict[str, str]:
    """The headers of RFC 2369 and RFC 8058; nothing without https, which the latter demands."""
    if not public_url.startswith("https://"):
        return {}
    return {
        "List-Unsubscribe": f"<{public_url.rstrip('/')}/email/unsubscribe/{token_of(message_id)}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def message_of(token: str) -> Message | None:
    """The message a token was made for; None when the token is not one of ours."""
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        return None
    id_, tag = raw[:16], raw[16:]
    if len(id_) != 16:
        return None
    former = filter(None, str(current_app.config.get("SECRET_KEY_OLD") or "").split(","))
    keys = [derived_key(PURPOSE), *(derived_key(PURPOSE, secret) for secret in former)]
    if not any(hmac.compare_digest(tag, _tag(id_, key)) for key in keys):
        return None
    found: Message | None = db.session.get(Message, str(UUID(bytes=id_)))
    return found


def unsubscribe(message: Message) -> None:
    """Send the recipient of this message no more marketing; a repeat changes nothing."""
    if not message.to_ascii:  # erased: there is nobody left whom we could write to
        return
    if suppress(message.to_ascii, MARKETING, UNSUBSCRIBED, message_id=message.id):
        outbox.publish(
            EmailUnsubscribed(message_id=message.id, lead_id=message.lead_id, template=message.template)
        )


def subscribe_again(message: Message) -> None:
    """Undo unsubscribe(); what was suppressed for another reason stays so."""
    if message.to_ascii:
        lift(message.to_ascii, MARKETING, UNSUBSCRIBED)


def _tag(id_: bytes, key: bytes) -> bytes:
    return hmac.new(key, id_, hashlib.sha256).digest()[:TAG_BYTES]
