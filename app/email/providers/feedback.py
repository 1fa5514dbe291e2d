"""What providers tell of mails they took, in our words; the vocabulary is django-anymail's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

DEFERRED = "deferred"  # the recipient's server asks for patience; the provider goes on trying
DELIVERED = "delivered"  # the recipient's server took it
OPENED = "opened"  # its images were loaded, often by a machine
CLICKED = "clicked"  # a link in it was followed
REJECTED = "rejected"  # the provider took it and then did not send it
BOUNCED = "bounced"  # it came back
COMPLAINED = "complained"  # the recipient called it spam
UNSUBSCRIBED = "unsubscribed"  # the recipient used the provider's own way to unsubscribe

KINDS = (DEFERRED, DELIVERED, OPENED, CLICKED, REJECTED, BOUNCED, COMPLAINED, UNSUBSCRIBED)
"""In the order in which one outweighs the other: a late “delivered” does not undo “bounced”."""

INVALID = "invalid"  # no such mailbox or domain
BLOCKED = "blocked"  # refused for what we are or what we wrote
TIMED_OUT = "timed_out"  # the recipient's server did not take it for too long
SPAM = "spam"
OTHER = "other"


class Unreadable(ValueError):
    """The notice is not what this provider sends; the message says where, without personal data."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """One thing that happened to one message.

    message_id: ours, if the provider gave it back; provider_message_id: theirs. event_key: the same at every repeat.
    at: aware. permanent: nothing should be sent to the address again (bounced, rejected). suppress_as: the reason
    for which the provider itself does not send there. detail: the recipient's server's words, without addresses.
    """

    kind: str
    event_key: str
    at: datetime
    message_id: str | None = None
    provider_message_id: str | None = None
    reason: str | None = None
    detail: str = ""
    url: str | None = None
    permanent: bool = False
    suppress_as: str | None = None
