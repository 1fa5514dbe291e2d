"""Standard Webhooks 1.0: what is signed, how, and by which secrets. Pure.

Source: the Standard Webhooks specification 1.0.0. Signed is ``id.timestamp.body`` with exactly the bytes that are sent,
so the body is made once, stored, and never serialised again.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from standardwebhooks import Webhook

SECRET_PREFIX = "whsec_"  # noqa: S105 (what secrets begin with, not one)
SECRET_BYTES = 32  # the specification asks for 24 to 64

USER_AGENT = "Embudo-Webhooks/1"


def new_secret() -> str:
    """A fresh signing secret as receivers' libraries take it: ``whsec_`` and base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def envelope(kind: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """The body of a message: its type, when the event happened (ISO 8601, UTC), and its data.

    Personal data may stand in `data` only.
    """
    moment = at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return orjson.dumps({"type": kind, "timestamp": moment, "data": data})


def message_id(event_id: str, endpoint_id: str) -> str:
    """The webhook-id: the same for every try of one event at one endpoint, and for no other."""
    return f"msg_{event_id.replace('-', '')}_{endpoint_id.replace('-', '')}"


def signature(keys: Iterable[str], id_: str, at: datetime, body: bytes) -> str:
    """The header webhook-signature: one signature per secret, so that a receiver may hold the old or the new one.

    at: aware; the library takes the wall clock of whatever zone it gets for UTC. Raises ValueError for a naive one.
    """
    if at.tzinfo is None:
        raise ValueError("a naive time cannot be signed")
    text = body.decode()
    return " ".join(Webhook(key).sign(id_, at.astimezone(UTC), text) for key in keys)


def headers(keys: Iterable[str], id_: str, at: datetime, body: bytes) -> dict[str, str]:
    """All headers of one try; the timestamp is this try's, whole seconds."""
    return {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": id_,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature(keys, id_, at, body),
    }
