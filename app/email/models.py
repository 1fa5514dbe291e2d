"""The tables of the email service.

A message is stored as it will be sent, so what the admin shows is what the customer got, whatever became of the
template since. It is its own queue entry: status, attempts and times say what is to be done with it.
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

Base = bind_base("email")
EmailOutbox, EmailInbox = outbox_tables(Base, "email")
idempotency_table(Base, "email")
gone_table(Base, "email")

ADDRESS_LENGTH = 254  # RFC 5321 §4.5.3.1.3, less the angle brackets
LANGUAGES = ("es", "en")

QUEUED = "queued"  # waits for its turn
SENDING = "sending"  # claimed by a worker
DEFERRED = "deferred"  # failed for now, waits for its next try
SENT = "sent"  # a provider took it (or it was put into the local outbox)
FAILED = "failed"  # will not be sent
UNKNOWN = "unknown"  # may have been sent; only a person may send it again
CANCELLED = "cancelled"  # stopped by a person before it left
SUPPRESSED = "suppressed"  # not sent: the recipient is on the suppression list

STATUSES = (QUEUED, SENDING, DEFERRED, SENT, FAILED, UNKNOWN, CANCELLED, SUPPRESSED)
OPEN = (QUEUED, SENDING, DEFERRED)
"""Statuses of messages that may still leave by themselves."""

LEAD_DELETED = "lead_deleted"
"""The error_code of a message that nobody wants any more."""

NO_WAY = "no_way"
"""The error_code of a message that is due and waits, because no way out can be used."""

TRANSACTIONAL = "transactional"  # expected by the recipient: a receipt, the answer to their question
MARKETING = "marketing"  # may be unsubscribed from, and says so in its headers
CATEGORIES = (TRANSACTIONAL, MARKETING)

ALL = "all"  # nothing is sent to the address
SCOPES = (ALL, MARKETING)
"""What a suppression holds back: every mail, or marketing only."""

HARD_BOUNCE = "bounced"  # the mailbox does not exist
COMPLAINT = "complained"  # the recipient called a mail of ours spam
UNSUBSCRIBED = "unsubscribed"  # the recipient asked for it
MANUAL = "manual"  # one of us asked for it
REASONS = (HARD_BOUNCE, COMPLAINT, UNSUBSCRIBED, MANUAL)
"""Why an address is suppressed."""

_OPEN_ROWS = text("status IN ('queued', 'sending', 'deferred')")


class Template(Base):  # type: ignore[misc, valid-type]
    """A mail text under a key, in one language. What it says is in its versions; they are never changed."""

    __tablename__ = "email_template"
    __table_args__ = (UniqueConstraint("key", "language"),)

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    key: Mapped[str] = mapped_column(String(60))
    language: Mapped[str] = mapped_column(String(5))
    name: Mapped[str] = mapped_column(String(120))
    version: Mapped[int] = mapped_column(default=1)  # the number of the version in use
    subject: Mapped[str] = mapped_column(String(500))  # copied from that version, for lists and searches
    category: Mapped[str] = mapped_column(String(14), default=TRANSACTIONAL, server_default=TRANSACTIONAL)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    updated_by: Mapped[str] = mapped_column(String(120), default="")
    archived_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    versions: Mapped[list[TemplateVersion]] = relationship(
        back_populates="template", order_by="TemplateVersion.number.desc()", lazy="raise_on_sql"
    )

    def __str__(self) -> str:
        return f"{self.name} ({self.language})"


class TemplateVersion(Base):  # type: ignore[misc, valid-type]
    """One saved state of a template; immutable."""

    __tablename__ = "email_template_version"
    __table_args__ = (UniqueConstraint("template_id", "number"),)

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    template_id: Mapped[Id] = mapped_column(ForeignKey("email_template.id"))
    number: Mapped[int]
    subject: Mapped[str] = mapped_column(String(500))
    format: Mapped[str] = mapped_column(String(8))
    body: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text, default="")
    variables: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    created_by: Mapped[str] = mapped_column(String(120), default="")

    template: Mapped[Template] = relationship(back_populates="versions", lazy="raise_on_sql")


class Message(Base):  # type: ignore[misc, valid-type]
    """One mail to one person.

    handing_over_at: set right before the provider gets the message, cleared when its answer is known. A row that a
    worker left behind may be sent again exactly if this is empty.
    delivery: the furthest that providers have told since it was sent, a kind of Event; None when nothing.
    """

    __tablename__ = "email_message"
    __table_args__ = (
        Index(
            "ix_email_message_due", "next_attempt_at", postgresql_where=_OPEN_ROWS, sqlite_where=_OPEN_ROWS
        ),
        Index("ix_email_message_status_id", "status", "id"),
        Index("ix_email_message_sent_at", "sent_at"),
        Index("ix_email_message_provider_message_id", "provider_message_id"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    to: Mapped[str] = mapped_column(String(ADDRESS_LENGTH))
    to_ascii: Mapped[str] = mapped_column(String(ADDRESS_LENGTH))
    subject: Mapped[str] = mapped_column(String(500))
    html: Mapped[str | None] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    template: Mapped[str | None] = mapped_column(String(60))
    template_language: Mapped[str | None] = mapped_column(String(5))
    template_version: Mapped[int | None]
    variables: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    lead_id: Mapped[str | None] = mapped_column(String(36), index=True)
    dedupe_key: Mapped[str | None] = mapped_column(String(120), unique=True)
    created_by: Mapped[str] = mapped_column(String(120), default="")
    # Of the request that caused it: what becomes of it is logged under that.
    request_id: Mapped[str | None] = mapped_column(String(80))
    category: Mapped[str] = mapped_column(String(14), default=TRANSACTIONAL, server_default=TRANSACTIONAL)
    status: Mapped[str] = mapped_column(String(10), default=QUEUED)
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=utcnow)
    give_up_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    handing_over_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    provider: Mapped[str | None] = mapped_column(String(20))
    provider_message_id: Mapped[str | None] = mapped_column(String(200))
    delivery: Mapped[str | None] = mapped_column(String(12))
    error_code: Mapped[str | None] = mapped_column(String(60))
    last_error: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    def __str__(self) -> str:
        return self.subject


class Attempt(Base):  # type: ignore[misc, valid-type]
    """One try to send a message, for the message's page.

    outcome: a status, or ``retry`` when a person asked. problems: why a mail could not be written, as
    contracts.problems.Problem, for readers of any language; detail says the same in English.
    """

    __tablename__ = "email_attempt"

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    message_id: Mapped[Id] = mapped_column(ForeignKey("email_message.id"), index=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    provider: Mapped[str] = mapped_column(String(20), default="")
    outcome: Mapped[str] = mapped_column(String(10))
    code: Mapped[str | None] = mapped_column(String(60))
    detail: Mapped[str | None] = mapped_column(String(500))
    problems: Mapped[list[dict[str, Any]] | None] = mapped_column(Json)


class Notice(Base):  # type: ignore[misc, valid-type]
    """What a provider posted to us, as it came, until it is understood (and a while longer).

    key: the same for the same notice, so that a repeat is kept once.
    """

    __tablename__ = "email_notice"
    __table_args__ = (
        Index(
            "ix_email_notice_due",
            "next_attempt_at",
            postgresql_where=text("next_attempt_at IS NOT NULL"),
            sqlite_where=text("next_attempt_at IS NOT NULL"),
        ),
    )

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    provider: Mapped[str] = mapped_column(String(20))
    key: Mapped[str] = mapped_column(String(80), unique=True)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    request_id: Mapped[str | None] = mapped_column(String(80))
    received_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=utcnow)
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_error: Mapped[str | None] = mapped_column(String(500))


class Happening(Base):  # type: ignore[misc, valid-type]
    """One thing that a provider told of a sent message: delivered, bounced, opened …"""

    __tablename__ = "email_event"
    __table_args__ = (UniqueConstraint("provider", "event_key"),)

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    message_id: Mapped[Id] = mapped_column(ForeignKey("email_message.id"), index=True)
    provider: Mapped[str] = mapped_column(String(20))
    event_key: Mapped[str] = mapped_column(String(160))
    kind: Mapped[str] = mapped_column(String(12))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    reason: Mapped[str | None] = mapped_column(String(20))
    detail: Mapped[str | None] = mapped_column(String(500))
    url: Mapped[str | None] = mapped_column(String(2000))


class Suppression(Base):  # type: ignore[misc, valid-type]
    """An address that gets no more mail, or no more marketing. address: ASCII form, small letters."""

    __tablename__ = "email_suppression"
    __table_args__ = (UniqueConstraint("address", "scope"),)

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    address: Mapped[str] = mapped_column(String(ADDRESS_LENGTH))
    scope: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str] = mapped_column(String(14))
    message_id: Mapped[Id | None]  # the mail that led to it
    note: Mapped[str] = mapped_column(String(300), default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    created_by: Mapped[str] = mapped_column(String(120), default="")

    def __str__(self) -> str:
        return self.address


class Provider(Base):  # type: ignore[misc, valid-type]
    """What the administrators decided about a way out, and what went wrong there last.

    position, enabled: its place in the order and whether it is used; None: as the configuration says. settings: configuration typed into the
    admin, by variable name. rate: mails a second; None: what the provider or the configuration says.
    """

    __tablename__ = "email_provider"

    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    position: Mapped[int | None]
    enabled: Mapped[bool | None]
    rate: Mapped[float | None]
    settings: Mapped[Any] = mapped_column(EncryptedJson, nullable=True)
    error_code: Mapped[str | None] = mapped_column(String(60))
    last_error: Mapped[str | None] = mapped_column(String(500))
    last_error_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    updated_by: Mapped[str] = mapped_column(String(120), default="")
