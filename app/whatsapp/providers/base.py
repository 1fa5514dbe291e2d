"""What every WhatsApp provider is made to look like, so that the rest of the service knows none of them.

An adapter translates: the provider's words outside, the words of this module inside. It sees no tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from app.kit.http import Standing

Kind = Literal[
    "text",  # typed words; also a filled-in WhatsApp form, see InboundMessage.form
    "choice",  # a tapped button or list row; choice_id says which
    "image",
    "audio",  # voice notes too
    "video",
    "document",
    "sticker",
    "location",
    "contacts",
    "reaction",  # text is the emoji (empty when it was taken back), reply_to the message reacted to
    "system",  # WhatsApp itself speaks, e.g. the user changed their number
    "unsupported",  # the provider says that it cannot show us this message
    "unknown",  # a type this version does not know
]

Status = Literal[
    "queued",  # the provider has it: enough to know that an unanswered call did arrive
    "sent",
    "delivered",
    "read",  # a played voice note counts as read
    "failed",
    "deleted",
]

FAULTS = ("account_closed", "account_on_trial", "number_not_connected", "quality_low")
"""Why an account whose credentials are right does not work as it should, for Standing.faults."""

Credentials = Mapping[str, str]
"""A channel's decrypted settings, by the names of the adapter's FIELDS. Never logged nor in an exception."""


@dataclass(frozen=True, kw_only=True)
class CredentialField:
    """One input of the channel form. label is a msgid; variable: the environment's, which stands in for it."""

    name: str
    label: str
    variable: str = ""
    secret: bool = False
    required: bool = True
    default: str = ""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The provider's sizes in UTF-16 units (an emoji is two): the strictest way to count."""

    text: int
    text_with_choices: int  # the text that stands above buttons or a list
    buttons: int  # more choices than these become a list or numbered lines
    choices: int  # more choices than these become numbered lines
    label: int  # a button's label; longer ones are cut


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A webhook request as it came. url: the public URL with its query string, exactly as it was called."""

    url: str
    method: str
    headers: Mapping[str, str]  # lower-case names
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Hook:
    """How a provider calls `POST /message`, and what it wants to hear.

    media_types: Content-Types of its bodies, the usual one first. signature: the header that proves them.
    signs_url: whether the URL is signed, too. answer: body and Content-Type of our “thank you”.
    about, schema, example: of signature and body, for the OpenAPI document.
    """

    media_types: tuple[str, ...]
    signature: str
    signs_url: bool
    answer: tuple[str, str] = ("", "text/plain")
    about: str
    schema: Mapping[str, Any]
    example: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """Whom to write to. user_id: as InboundMessage.user_id, or `user_id_of(phone)`. phone: E.164."""

    user_id: str
    phone: str | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One answer offered to the user; a tapped one brings its id back as InboundMessage.choice_id."""

    id: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """One message to send.

    reference: our message id, which the provider gives back in status updates. callback_url: the public URL
    for status updates (providers that have a fixed one ignore it). menu: label of the button that opens a
    list.
    """

    reference: str
    to: Recipient
    text: str
    choices: tuple[Choice, ...] = ()
    callback_url: str | None = None
    menu: str = "Opciones / Options"


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The provider took the message. Delivery is told by StatusUpdate."""

    provider_id: str
    status: Literal["sent", "queued"]


@dataclass(frozen=True, kw_only=True)
class Media:
    """A file of a message: id to ask the provider for, or its url; both need the channel's credentials."""

    id: str | None = None
    url: str | None = None
    mime: str = ""
    caption: str = ""
    filename: str = ""
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Location:
    """A place on the map; degrees."""

    latitude: float
    longitude: float
    name: str = ""
    address: str = ""


@dataclass(frozen=True, kw_only=True)
class InboundMessage:
    """A message of a user. All the provider said is in raw; no text here holds a NUL or half a character."""

    provider_id: str
    """The provider's id of the message: unique, the guard against repeated webhooks."""
    account: str
    """The channel's address it was sent to, as in `Sender.address`."""
    user_id: str
    """The provider's id of the user: the business-scoped id where given, else the phone number's digits."""
    phone: str | None
    """E.164; None for users who hide their number."""
    name: str | None
    kind: Kind
    text: str
    choice_id: str | None = None
    media: tuple[Media, ...] = ()
    location: Location | None = None
    reply_to: str | None = None
    """Provider's id of the message that is answered or reacted to."""
    group: bool = False
    form: Mapping[str, Any] | None = None
    """Answers of a WhatsApp form (Meta's nfm_reply)."""
    at: datetime
    raw: dict[str, Any] = field(repr=False)

    @property
    def identities(self) -> tuple[str, ...]:
        """Every user id under which this person may already be known, the strongest first.

        WhatsApp began to add business-scoped ids in 2026: somebody stored under the digits of their number
        writes under a new id one day, and must stay the same contact.
        """
        digits = user_id_of(self.phone) if self.phone else ""
        return tuple(dict.fromkeys(i for i in (self.user_id, digits) if i))


@dataclass(frozen=True, kw_only=True)
class StatusUpdate:
    """What became of a message we sent. They come late, twice and in any order: the caller keeps order."""

    provider_id: str
    reference: str | None
    """Our message id, when the provider gave it back."""
    account: str
    status: Status
    error_code: str | None = None
    error: str | None = None
    retryable: bool = False
    """For failed: the same message may be sent again later (too fast, or the provider's own trouble)."""
    at: datetime
    raw: dict[str, Any] = field(repr=False)


class Sender(Protocol):
    """A provider. Adapters hold no state of a channel: everything comes by credentials."""

    FIELDS: tuple[CredentialField, ...]
    limits: Limits
    hook: Hook | None  # None: nobody calls us for it

    def address(self, credentials: Credentials) -> str | None:
        """The channel's address, by which `account_of` finds it; None while it is not set."""
        ...

    def account_of(self, raw: Raw) -> str | None:
        """Which channel's address the webhook is for: a hint to find the secret, nothing is verified yet."""
        ...

    def verify(self, raw: Raw, credentials: Credentials) -> bool:
        """Whether the provider signed exactly these bytes. A missing signature or secret is False."""
        ...

    def unreadable(self, raw: Raw) -> str | None:
        """Why these bytes, although signed, are no webhook of the provider; None when they may be one."""
        ...

    def parse(self, raw: Raw) -> list[InboundMessage | StatusUpdate]:
        """All messages and statuses of the webhook, in its order; the rest is left out. Never raises."""
        ...

    def split(self, text: str, choices: Sequence[Choice] = ()) -> list[str]:
        """The text in pieces that each fit one message; the choices go with the last one."""
        ...

    def send(self, outgoing: Outgoing, credentials: Credentials) -> Accepted:
        """Hand one message over; raises only Temporary, RateLimited, Misconfigured, Permanent or Unknown."""
        ...

    def check(self, credentials: Credentials) -> Standing:
        """Ask whether the credentials are good, sending nothing; raises as `send` does. Faults are among FAULTS."""
        ...


def user_id_of(phone: str) -> str:
    """The user id of somebody of whom only the phone number is known: its digits, as WhatsApp writes them."""
    return "".join(c for c in phone if c.isascii() and c.isdigit())
