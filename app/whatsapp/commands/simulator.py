"""The simulator's side of the wire: what the chat page says comes in as a webhook like any other.

So the chat in the browser exercises the same table, jobs and engine as a real phone. The chat itself lives in Redis
and may be lost; the conversation is in the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from app.kit.db import new_id, utcnow
from app.whatsapp.providers import InboundMessage, Raw, StatusUpdate

PROVIDER = "simulator"


def spoken(
    *, account: str, user_id: str, name: str, phone: str | None, text: str, choice_id: str | None
) -> Raw:
    """A webhook that says: this person wrote that."""
    said = {
        "id": new_id(),
        "account": account,
        "user_id": user_id,
        "name": name,
        "phone": phone,
        "text": text,
        "choice_id": choice_id,
        "at": utcnow().isoformat(),
    }
    return Raw(
        url="simulator:", method="POST", headers={"content-type": "application/json"}, body=orjson.dumps(said)
    )


def parse(raw: Raw) -> Sequence[InboundMessage | StatusUpdate]:
    """The one message of such a webhook."""
    said: dict[str, Any] = orjson.loads(raw.body)
    return [
        InboundMessage(
            provider_id=said["id"],
            account=said["account"],
            user_id=said["user_id"],
            phone=said["phone"],
            name=said["name"] or None,
            kind="choice" if said["choice_id"] else "text",
            text=said["text"],
            choice_id=said["choice_id"],
            at=datetime.fromisoformat(said["at"]).astimezone(UTC),
            raw=said,
        )
    ]
