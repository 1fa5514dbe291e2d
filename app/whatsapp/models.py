"""The tables of the whatsapp service.

Whatever comes in is kept raw before anything is understood, and whatever goes out is a row before anybody is called:
the rows are the queue, so a killed process loses nothing and a restarted one knows what it may repeat.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.kit.db import Id, Json, UtcDateTime, bind_base, new_id, utcnow
from app.kit.gone import gone_table
from app.kit.outbox import outbox_tables
from app.kit.rest import idempotency_table
from app.kit.secrets import EncryptedJson

Base = bind_base("whatsapp")
outbox_tables(Base, "whatsapp")
idempotency_table(Base, "whatsapp")
gone_table(Base, "whatsapp")

# What a conversation can be.
RUNNING = "running"  # its first turn is being computed; seen only inside a transaction
WAITING = "waiting"  # for the contact's answer
COMPLETED = "completed"
EXPIRED = "expired"  # nobody answered within the flow's time
HANDED_OVER = "handed_over"  # a person goes on
FAILED = "failed"  # a limit of the engine, or a flow that cannot go on; the reason is in `error`
OPEN = (RUNNING, WAITING)

# What a message can be. Inbound: received, failed (could not be handled). Outbound: the rest.
RECEIVED = "received"
QUEUED = "queued"
SENDING = "sending"  # handed to the provider, no answer yet
SENT = "sent"
DELIVERED = "delivered"
READ = "read"
MESSAGE_FAILED = "failed"
UNKNOWN = "unknown"  # may have been delivered: the provider never said, and nobody may simply repeat it
UNSENT = (QUEUED, SENDING)  # these hold back the later messages of the same contact

BOT = "bot"
HUMAN = "human"


class Flow(Base):
    """A conversation as its author designs it: the draft. What runs are its versions."""

    __tablename__ = "whatsapp_flow"

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(120))
    draft: Mapped[Any] = mapped_column(Json, deferred=True)  # lists do without it
    revision: Mapped[int] = mapped_column(default=1)
    published_version: Mapped[int | None]
    # The published version's triggers, so that an inbound text costs no look into documents.
    keywords: Mapped[Any] = mapped_column(Json, default=list)
    match: Mapped[str] = mapped_column(String(10), default="word")
    archived_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    updated_by: Mapped[str] = mapped_column(String(120), default="")

    def __str__(self) -> str:
        return self.name


class FlowVersion(Base):
    """What was published; never changed, because conversations are pinned to it."""

    __tablename__ = "whatsapp_flow_version"

    flow_id: Mapped[Id] = mapped_column(ForeignKey("whatsapp_flow.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    document: Mapped[Any] = mapped_column(Json)
    published_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    published_by: Mapped[str] = mapped_column(String(120), default="")


class Channel(Base):
    """A WhatsApp number of ours at a provider, or the simulator. Empty credentials mean: from the environment."""

    __tablename__ = "whatsapp_channel"
    __table_args__ = (UniqueConstraint("provider", "address"),)

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(120))
    provider: Mapped[str] = mapped_column(String(20))  # a key of providers.SENDERS; the commands see to it
    # Twilio: our number in E.164; Meta: the phone number id; simulator: any word.
    address: Mapped[str] = mapped_column(String(80))
    # Deferred: a changed SECRET_KEY must not make the list of channels unreadable too.
    credentials: Mapped[Any] = mapped_column(EncryptedJson, nullable=True, deferred=True)
    default_flow_id: Mapped[Id | None] = mapped_column(ForeignKey("whatsapp_flow.id"))
    active: Mapped[bool] = mapped_column(default=True)
    last_webhook_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # After a refusal that concerns the whole account nobody on this channel is called before held_until.
    held_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    held_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    fault: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)

    default_flow: Mapped[Flow | None] = relationship()

    def __str__(self) -> str:
        return self.name


class Contact(Base):
    """Somebody on a channel. The key is the provider's user id: Meta no longer promises a phone number."""

    __tablename__ = "whatsapp_contact"
    __table_args__ = (
        UniqueConstraint("channel_id", "user_id"),
        Index("ix_whatsapp_contact_phone", "channel_id", "phone"),
        Index(
            "ix_whatsapp_contact_lane",
            "next_send_at",
            postgresql_where=text("next_send_at IS NOT NULL"),
            sqlite_where=text("next_send_at IS NOT NULL"),
        ),
    )

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    channel_id: Mapped[Id] = mapped_column(ForeignKey("whatsapp_channel.id"))
    user_id: Mapped[str] = mapped_column(String(120))
    phone: Mapped[str | None] = mapped_column(String(20))  # E.164 with +
    name: Mapped[str] = mapped_column(String(200), default="")
    mode: Mapped[str] = mapped_column(String(10), default=BOT)
    owner_id: Mapped[int | None] = mapped_column(index=True)  # platform user, copied from lead.assigned
    lead_id: Mapped[Id | None] = mapped_column(index=True)  # leads service, copied from lead.created
    lead_told_at: Mapped[datetime | None] = mapped_column(
        UtcDateTime
    )  # when happened what lead and owner are from
    last_inbound_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    last_position: Mapped[int] = mapped_column(default=0)
    # The contact is the lane in which messages leave: next_send_at says when its first unsent one is due,
    # claimed_until who has it in hand.
    next_send_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)

    channel: Mapped[Channel] = relationship()

    def __str__(self) -> str:
        return self.name or self.phone or self.user_id


class Conversation(Base):
    """One run of a flow with a contact, pinned to the version it began with."""

    __tablename__ = "whatsapp_conversation"
    __table_args__ = (
        # A contact is in at most one flow at a time; two workers cannot start two.
        Index(
            "uq_whatsapp_conversation_open",
            "contact_id",
            unique=True,
            postgresql_where=text("status IN ('running', 'waiting')"),
            sqlite_where=text("status IN ('running', 'waiting')"),
        ),
        Index("ix_whatsapp_conversation_status", "status", "id"),
        Index("ix_whatsapp_conversation_flow", "flow_id", "status"),
        Index("ix_whatsapp_conversation_contact", "contact_id", "id"),
        Index("ix_whatsapp_conversation_started", "started_at"),
        Index(
            "ix_whatsapp_conversation_expiry",
            "expires_at",
            postgresql_where=text("status = 'waiting'"),
            sqlite_where=text("status = 'waiting'"),
        ),
    )

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    contact_id: Mapped[Id] = mapped_column(ForeignKey("whatsapp_contact.id"))
    channel_id: Mapped[Id] = mapped_column(ForeignKey("whatsapp_channel.id"))
    flow_id: Mapped[Id] = mapped_column(ForeignKey("whatsapp_flow.id"))
    version: Mapped[int]
    status: Mapped[str] = mapped_column(String(20), default=RUNNING)
    state: Mapped[Any] = mapped_column(Json, default=dict)
    turn: Mapped[int] = mapped_column(default=0)
    path: Mapped[Any] = mapped_column(Json, default=list)  # node ids in the order they were passed
    note: Mapped[str] = mapped_column(Text, default="")  # what the flow told the person who takes over
    error: Mapped[str | None] = mapped_column(Text)
    started_by: Mapped[str] = mapped_column(String(120), default="contact")
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    contact: Mapped[Contact] = relationship()
    channel: Mapped[Channel] = relationship()
    flow: Mapped[Flow] = relationship()


class Webhook(Base):
    """A provider's request exactly as it came; the digest makes a repeated delivery one row."""

    __tablename__ = "whatsapp_webhook"
    __table_args__ = (
        Index(
            "ix_whatsapp_webhook_waiting",
            "id",
            postgresql_where=text("processed_at IS NULL AND dead_at IS NULL"),
            sqlite_where=text("processed_at IS NULL AND dead_at IS NULL"),
        ),
        # Partial, so that the insert on the path of the request touches them not.
        Index(
            "ix_whatsapp_webhook_dead",
            "dead_at",
            postgresql_where=text("dead_at IS NOT NULL"),
            sqlite_where=text("dead_at IS NOT NULL"),
        ),
        Index(
            "ix_whatsapp_webhook_processed",
            "processed_at",
            postgresql_where=text("processed_at IS NOT NULL"),
            sqlite_where=text("processed_at IS NOT NULL"),
        ),
    )

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    provider: Mapped[str] = mapped_column(String(20))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    channel_id: Mapped[Id | None]  # whose credentials the signature matched; None: the environment's
    url: Mapped[str] = mapped_column(Text)
    headers: Mapped[Any] = mapped_column(Json, default=dict)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    request_id: Mapped[str | None] = mapped_column(String(80))
    received_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    processed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_error: Mapped[str | None] = mapped_column(Text)
    dead_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Message(Base):
    """Something said by a contact (in) or to a contact (out)."""

    __tablename__ = "whatsapp_message"
    __table_args__ = (
        UniqueConstraint("channel_id", "provider_id", "direction"),
        Index("ix_whatsapp_message_transcript", "contact_id", "position"),
        Index("ix_whatsapp_message_conversation", "conversation_id", "position"),
        Index("ix_whatsapp_message_created", "created_at"),
        Index("ix_whatsapp_message_webhook", "webhook_id"),
        Index(
            "ix_whatsapp_message_unhandled",
            "webhook_id",
            "webhook_index",
            postgresql_where=text("direction = 'in' AND handled_at IS NULL"),
            sqlite_where=text("direction = 'in' AND handled_at IS NULL"),
        ),
        Index(
            "ix_whatsapp_message_unsent",
            "contact_id",
            "position",
            postgresql_where=text("direction = 'out' AND status IN ('queued', 'sending')"),
            sqlite_where=text("direction = 'out' AND status IN ('queued', 'sending')"),
        ),
        Index("ix_whatsapp_message_status", "status", "created_at"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)  # outbound: the provider's reference
    channel_id: Mapped[Id] = mapped_column(ForeignKey("whatsapp_channel.id"))
    contact_id: Mapped[Id] = mapped_column(ForeignKey("whatsapp_contact.id"))
    conversation_id: Mapped[Id | None] = mapped_column(ForeignKey("whatsapp_conversation.id"))
    direction: Mapped[str] = mapped_column(String(3))  # in | out
    kind: Mapped[str] = mapped_column(String(20), default="text")
    text: Mapped[str] = mapped_column(Text, default="")
    choices: Mapped[Any] = mapped_column(
        Json, default=list
    )  # [{"id", "label"}] offered with an outbound text
    choice_id: Mapped[str | None] = mapped_column(String(300))  # the button or row a contact chose
    payload: Mapped[Any] = mapped_column(Json, nullable=True)  # the provider's own words, inbound only
    author: Mapped[str] = mapped_column(
        String(120), default=""
    )  # the person who wrote; empty: contact or bot
    provider_id: Mapped[str | None] = mapped_column(String(200))
    # Of the request that brought or caused it: what becomes of it is logged under that.
    request_id: Mapped[str | None] = mapped_column(String(80))
    webhook_id: Mapped[Id | None]
    webhook_index: Mapped[int] = mapped_column(default=0)
    silent: Mapped[bool] = mapped_column(default=False)  # inbound, but no answer to a bot: reactions, groups
    status: Mapped[str] = mapped_column(String(20))
    # Order in the contact's transcript, given under the contact's lock; inbound: when it is handled.
    position: Mapped[int | None]
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    handing_over_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_error: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    handled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    read_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    failed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    contact: Mapped[Contact] = relationship()
    conversation: Mapped[Conversation | None] = relationship()


class Receipt(Base):
    """A status that came before we knew the provider's id of the message; kept until we do."""

    __tablename__ = "whatsapp_receipt"
    __table_args__ = (Index("ix_whatsapp_receipt_provider", "channel_id", "provider_id"),)

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    channel_id: Mapped[Id] = mapped_column(ForeignKey("whatsapp_channel.id"))
    provider_id: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20))
    error: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(String(40))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, index=True)


class Timer(Base):
    """“If no answer by then”: carries the turn it belongs to, so that a stale one does nothing."""

    __tablename__ = "whatsapp_timer"

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    conversation_id: Mapped[Id] = mapped_column(ForeignKey("whatsapp_conversation.id"), index=True)
    turn: Mapped[int]
    due_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    attempts: Mapped[int] = mapped_column(default=0)

    conversation: Mapped[Conversation] = relationship()
