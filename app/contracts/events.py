"""Every event that services exchange, and who listens.

Services share no tables and no imports, so this file is all that one may assume of another. An event says what
has happened, in the past tense; its fields are JSON-plain (ids and times are text), because it travels as a
CloudEvent through Redis or RabbitMQ and is stored in the outbox. `docs/events.md` is generated from here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events; name and version are the CloudEvents type, service is the source.

    public: whether customers may be told (webhooks). False for what one service only asks of another: what comes of
    it is an event of its own.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    service: ClassVar[str]
    public: ClassVar[bool] = True

    @property
    def subject(self) -> str:
        """Id of the thing the event is about: the value of its first field."""
        return str(getattr(self, fields(self)[0].name))

    def data(self) -> dict[str, Any]:
        """The fields as a JSON-plain mapping."""
        return asdict(self)


# whatsapp


@dataclass(frozen=True, kw_only=True)
class ConversationStarted(Event):
    """A contact entered a flow."""

    name: ClassVar[str] = "conversation.started"
    service: ClassVar[str] = "whatsapp"
    conversation_id: str
    contact_id: str
    flow_id: str
    flow_version: int


@dataclass(frozen=True, kw_only=True)
class ConversationCompleted(Event):
    """A flow reached its end."""

    name: ClassVar[str] = "conversation.completed"
    service: ClassVar[str] = "whatsapp"
    conversation_id: str
    contact_id: str
    flow_id: str
    outcome: str


@dataclass(frozen=True, kw_only=True)
class ConversationExpired(Event):
    """Nobody answered within the flow's time."""

    name: ClassVar[str] = "conversation.expired"
    service: ClassVar[str] = "whatsapp"
    conversation_id: str
    contact_id: str
    flow_id: str


@dataclass(frozen=True, kw_only=True)
class ConversationHandedOver(Event):
    """A person should go on with this conversation."""

    name: ClassVar[str] = "conversation.handed_over"
    service: ClassVar[str] = "whatsapp"
    conversation_id: str
    contact_id: str
    flow_id: str
    note: str


@dataclass(frozen=True, kw_only=True)
class MessageReceived(Event):
    """A contact wrote; the text itself stays in the whatsapp service."""

    name: ClassVar[str] = "message.received"
    service: ClassVar[str] = "whatsapp"
    message_id: str
    contact_id: str
    channel_id: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class MessageStatusChanged(Event):
    """A message of ours was sent, delivered, read, or failed."""

    name: ClassVar[str] = "message.status_changed"
    service: ClassVar[str] = "whatsapp"
    message_id: str
    status: str
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class LeadCaptured(Event):
    """A flow asked for a lead to be kept. capture_id makes a repeat recognisable.

    contact_name and contact_phone are what the channel knows of the contact, for a flow that did not ask.
    """

    name: ClassVar[str] = "lead.captured"
    service: ClassVar[str] = "whatsapp"
    public: ClassVar[bool] = False
    capture_id: str
    conversation_id: str
    contact_id: str
    channel: str
    language: str
    fields: dict[str, str] = field(default_factory=dict)
    contact_name: str = ""
    contact_phone: str | None = None


@dataclass(frozen=True, kw_only=True)
class EmailRequested(Event):
    """A flow asked for a templated e-mail. request_id makes a repeat recognisable.

    lead_id: the lead that the contact is, as far as that is known.
    """

    name: ClassVar[str] = "email.requested"
    service: ClassVar[str] = "whatsapp"
    public: ClassVar[bool] = False
    request_id: str
    conversation_id: str
    template: str
    to: str
    language: str
    variables: dict[str, str] = field(default_factory=dict)
    lead_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class FlowPublished(Event):
    """A new immutable version of a flow is in use."""

    name: ClassVar[str] = "flow.published"
    service: ClassVar[str] = "whatsapp"
    flow_id: str
    flow_version: int
    published_by: str


# leads


@dataclass(frozen=True, kw_only=True)
class LeadCreated(Event):
    """A lead is new. conversation_id is set when a WhatsApp conversation captured it."""

    name: ClassVar[str] = "lead.created"
    service: ClassVar[str] = "leads"
    lead_id: str
    lead_name: str
    email: str | None
    phone: str | None
    company: str | None
    source: str
    language: str
    stage: str
    owner_id: int | None = None
    contact_id: str | None = None
    conversation_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class LeadUpdated(Event):
    """Fields of a lead changed; changes maps each field to its new value."""

    name: ClassVar[str] = "lead.updated"
    service: ClassVar[str] = "leads"
    lead_id: str
    version_number: int
    changes: dict[str, Any] = field(default_factory=dict)
    contact_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class LeadStageChanged(Event):
    """A lead moved through the funnel."""

    name: ClassVar[str] = "lead.stage_changed"
    service: ClassVar[str] = "leads"
    lead_id: str
    old_stage: str
    new_stage: str


@dataclass(frozen=True, kw_only=True)
class LeadAssigned(Event):
    """A lead has another owner (None: nobody). contact_id lets the whatsapp service show the owner their talks."""

    name: ClassVar[str] = "lead.assigned"
    service: ClassVar[str] = "leads"
    lead_id: str
    owner_id: int | None
    owner_name: str
    contact_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class LeadDeleted(Event):
    """A lead is gone."""

    name: ClassVar[str] = "lead.deleted"
    service: ClassVar[str] = "leads"
    lead_id: str


@dataclass(frozen=True, kw_only=True)
class AirtableSynced(Event):
    """Leads and a table in Airtable agree again. direction: out (we wrote) or in (we took over)."""

    name: ClassVar[str] = "airtable.synced"
    service: ClassVar[str] = "leads"
    connection_id: str
    direction: str
    lead_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class AirtableConflict(Event):
    """A lead's field was changed here and in Airtable; winner: ours or airtable. The values stay in the service."""

    name: ClassVar[str] = "airtable.conflict"
    service: ClassVar[str] = "leads"
    lead_id: str
    connection_id: str
    field_name: str
    winner: str


# email


@dataclass(frozen=True, kw_only=True)
class EmailSent(Event):
    """A provider accepted a message."""

    name: ClassVar[str] = "email.sent"
    service: ClassVar[str] = "email"
    message_id: str
    lead_id: str | None = None
    template: str | None = None


@dataclass(frozen=True, kw_only=True)
class EmailFailed(Event):
    """A message will not be sent; reason is without personal data."""

    name: ClassVar[str] = "email.failed"
    service: ClassVar[str] = "email"
    message_id: str
    reason: str
    lead_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class EmailDelivered(Event):
    """The recipient's server took a message, as the provider says."""

    name: ClassVar[str] = "email.delivered"
    service: ClassVar[str] = "email"
    message_id: str
    lead_id: str | None = None
    template: str | None = None


@dataclass(frozen=True, kw_only=True)
class EmailBounced(Event):
    """A message came back. permanent: the mailbox does not exist, and the address gets no more mail."""

    name: ClassVar[str] = "email.bounced"
    service: ClassVar[str] = "email"
    message_id: str
    permanent: bool
    reason: str
    lead_id: str | None = None
    template: str | None = None


@dataclass(frozen=True, kw_only=True)
class EmailComplained(Event):
    """The recipient called a message spam; the address gets no more mail."""

    name: ClassVar[str] = "email.complained"
    service: ClassVar[str] = "email"
    message_id: str
    lead_id: str | None = None
    template: str | None = None


@dataclass(frozen=True, kw_only=True)
class EmailUnsubscribed(Event):
    """The recipient wants no more marketing."""

    name: ClassVar[str] = "email.unsubscribed"
    service: ClassVar[str] = "email"
    message_id: str
    lead_id: str | None = None
    template: str | None = None


# webhooks


@dataclass(frozen=True, kw_only=True)
class EndpointDisabled(Event):
    """A webhook endpoint gets nothing any more; reason: by_hand | gone (it answered 410) | failing (for days)."""

    name: ClassVar[str] = "endpoint.disabled"
    service: ClassVar[str] = "webhooks"
    endpoint_id: str
    reason: str
    failing_since: str | None = None


def _all(base: type[Event]) -> list[type[Event]]:
    found: list[type[Event]] = []
    for sub in base.__subclasses__():
        found += [sub, *_all(sub)]
    return found


EVENTS: dict[str, type[Event]] = {event.name: event for event in _all(Event)}

_NAMED: dict[type[Event], tuple[str, ...]] = {
    LeadCaptured: ("leads",),
    EmailRequested: ("email",),
    LeadCreated: ("email", "whatsapp"),
    LeadAssigned: ("whatsapp",),
    LeadDeleted: ("whatsapp", "email"),
    EmailSent: ("leads",),
    EmailFailed: ("leads",),
    EmailBounced: ("leads",),
    EmailComplained: ("leads",),
    EmailUnsubscribed: ("leads",),
}


def _listeners() -> dict[type[Event], tuple[str, ...]]:
    """Those who are named, and webhooks for everything public: a new event needs no line for it."""
    told = {event: ("webhooks",) for event in EVENTS.values() if event.public}
    return {event: _NAMED.get(event, ()) + told.get(event, ()) for event in (*_NAMED, *told)}


LISTENERS: dict[type[Event], tuple[str, ...]] = _listeners()
"""Who listens to what. An event without listeners is kept in the outbox for the record and goes nowhere."""


def parse(name: str, data: dict[str, Any]) -> Event | None:
    """The event of that name, or None when this release does not know it.

    Fields this release does not know are left out: producers may be newer than listeners.
    """
    kind = EVENTS.get(name)
    if kind is None:
        return None
    known = {f.name for f in fields(kind)}
    return kind(**{key: value for key, value in data.items() if key in known})
