"""Which events a listener wants at present, so that nobody carries the others to it.

The webhooks service hears every public event, and in most installations nobody has given it an address: each message
would cost several letters that are thrown away on arrival. So a listener whose handlers have a function `interest`
tells in Redis what it wants, and the relay settles the rest in bulk. Nothing there means that it wants everything.

An event may be left out only if it was committed before somebody began to want it. Therefore changed() is called
inside the transaction that changes what is wanted, and the relay looks here after it has read the events.
"""

from __future__ import annotations

import time
from typing import Any

from flask import current_app

from app.kit import cache, db

FRESH_SECONDS = 20.0
"""How long a stored interest counts: the longest that an old one can mislead, whatever fails."""


def names(listener: str) -> frozenset[str] | None:
    """Names of the events that `listener` wants; None when that is not known, so all of them."""
    value, _ = cache.get(_key(listener))
    if not value or value["until"] < time.time():
        return None
    return frozenset(value["names"])


def changed(listener: str) -> None:
    """What this listener wants is about to change; inside transaction() nothing is known until it has committed."""
    cache.invalidate(listener, _key(listener))


def refresh(listener: str) -> None:
    """Tell what the listener wants, unless that was told a moment ago or it always wants all that it hears."""
    handlers: dict[Any, Any] = current_app.extensions["embudo_handlers"].get(listener, {})
    choosy = {handler for handler in handlers.values() if hasattr(handler, "interest")}
    if not choosy:
        return
    value, token = cache.get(_key(listener))
    if value and value["until"] > time.time() + FRESH_SECONDS / 2:
        return
    wanted = {handler: frozenset(handler.interest()) for handler in choosy}
    told = sorted(
        event.name for event, handler in handlers.items() if event.name in wanted.get(handler, {event.name})
    )
    db.db.session.rollback()  # ends the read
    cache.put(_key(listener), {"names": told, "until": time.time() + FRESH_SECONDS}, token)


def _key(listener: str) -> str:
    return f"interest:{listener}"
