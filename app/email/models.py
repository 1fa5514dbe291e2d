"""The tables of the email service.

A message is stored as it will be sent, so what the admin shows is what the customer got, whatever became of the
template since. It is its own queue entry: status, attempts and times say what is to be done with it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.kit.db import Id, Json, UtcDateTime, bind_base, new_id, utcnow
from app.kit.outbox import outbox_tables
from app.kit.rest import idempotency_table

Base = bind_base("email")
EmailOutbox, EmailInbox = outbox_tables(Base, "email")
idempotency_table(Base, "email")

ADDRESS_LENGTH = 254  # RFC 5321 §4.5.3.1.3, less the angle brackets
LANGUAGES = ("es", "en")

QUEUED = "queued"  # waits for its turn
SENDING = "sending"  # claimed by a worker
DEFERRED = "deferred"  # failed for now, waits for its next try
SENT = "sent"  # a provider took it (or it was put into the local outbox)
FAILED = "failed"  # will not be sent
UNKNOWN = "unknown"  # may have been sent; only a person may send it again
CANCELLED = "cancelled"  # stopped by a person before it left

STATUSES = (QUEUED, SENDING, DEFERRED, SENT, FAILED, UNKNOWN, CANCELLED)
OPEN = (QUEUED, SENDING, DEFERRED)
"""Statuses of messages that may still leave by themselves."""

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
    """

    __tablename__ = "email_message"
    __table_args__ = (
        Index(
            "ix_email_message_due", "next_attempt_at", postgresql_where=_OPEN_ROWS, sqlite_where=_OPEN_ROWS
        ),
        Index("ix_email_message_status_id", "status", "id"),
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
    status: Mapped[str] = mapped_column(String(10), default=QUEUED)
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=utcnow)
    give_up_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    handing_over_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    provider: Mapped[str | None] = mapped_column(String(20))
    provider_message_id: Mapped[str | None] = mapped_column(String(200))
    error_code: Mapped[str | None] = mapped_column(String(60))
    last_error: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    def __str__(self) -> str:
        return self.subject


class Attempt(Base):  # type: ignore[misc, valid-type]
    """One try to send a message, for the message's page. outcome: a status, or ``retry`` when a person asked."""

    __tablename__ = "email_attempt"

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    message_id: Mapped[Id] = mapped_column(ForeignKey("email_message.id"), index=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    provider: Mapped[str] = mapped_column(String(20), default="")
    outcome: Mapped[str] = mapped_column(String(10))
    code: Mapped[str | None] = mapped_column(String(60))
    detail: Mapped[str | None] = mapped_column(String(500))
