"""The tables of the webhooks service.

A message is what happened, as bytes, once. A delivery is one endpoint's copy of it and its own queue entry: status,
attempts and times say what is to be done with it. An attempt is one call, for the delivery's page.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.kit.cache import left_keys_table
from app.kit.db import Id, Json, UtcDateTime, bind_base, new_id, utcnow
from app.kit.gone import gone_table
from app.kit.outbox import outbox_tables
from app.kit.rest import idempotency_table
from app.kit.secrets import EncryptedJson
from app.webhooks.signing import message_id

Base = bind_base("webhooks")
WebhooksOutbox, WebhooksInbox = outbox_tables(Base, "webhooks")
idempotency_table(Base, "webhooks")
gone_table(Base, "webhooks")
left_keys_table(Base, "webhooks")

URL_LENGTH = 2000
DESCRIPTION_LENGTH = 200

PENDING = "pending"  # will be sent, or sent again
DELIVERED = "delivered"  # the endpoint answered 2xx
FAILED = "failed"  # will not be sent again by itself

STATUSES = (PENDING, DELIVERED, FAILED)

BY_HAND, GONE, FAILING = "by_hand", "gone", "failing"
"""Why an endpoint is off: a person said so; it answered 410; it failed for days."""

_PENDING_ROWS = text("status = 'pending'")


class Endpoint(Base):  # type: ignore[misc, valid-type]
    """A URL that wants to know.

    secrets: ``current``, and while a rotation lasts ``previous``. first_failure_at: since when every call with
    a real event has failed.
    paused_until: the endpoint asked for a pause (Retry-After). version grows with every change by a person.
    """

    __tablename__ = "webhooks_endpoint"

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    url: Mapped[str] = mapped_column(String(URL_LENGTH))
    description: Mapped[str] = mapped_column(String(DESCRIPTION_LENGTH), default="")
    events: Mapped[list[str]] = mapped_column(Json)
    secrets: Mapped[dict[str, str]] = mapped_column(EncryptedJson)
    previous_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    enabled: Mapped[bool] = mapped_column(default=True)
    disabled_reason: Mapped[str | None] = mapped_column(String(20))
    disabled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    first_failure_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_success_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    paused_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    created_by: Mapped[str] = mapped_column(String(120), default="")
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)

    def __str__(self) -> str:
        return self.description or self.url


class Message(Base):  # type: ignore[misc, valid-type]
    """An event as it is told: the very bytes that are signed and sent. Its id is the event's.

    subject: id of the thing that the event is about. body is empty once the personal data in it was erased.
    request_id: of what caused the event; what becomes of the message is logged under that.
    """

    __tablename__ = "webhooks_message"

    id: Mapped[Id] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(String(80), index=True)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    request_id: Mapped[str | None] = mapped_column(String(80))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, index=True)
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Delivery(Base):  # type: ignore[misc, valid-type]
    """A message on its way to one endpoint.

    attempts: calls made so far. series_start: how many of them were made before the last replay, so that a replay
    gets the whole schedule again.
    """

    __tablename__ = "webhooks_delivery"
    __table_args__ = (
        UniqueConstraint("message_id", "endpoint_id"),
        Index(
            "ix_webhooks_delivery_due",
            "endpoint_id",
            "next_attempt_at",
            postgresql_where=_PENDING_ROWS,
            sqlite_where=_PENDING_ROWS,
        ),
        Index("ix_webhooks_delivery_endpoint_id_id", "endpoint_id", "id"),
        Index("ix_webhooks_delivery_status_id", "status", "id"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    message_id: Mapped[Id] = mapped_column(ForeignKey("webhooks_message.id", ondelete="CASCADE"))
    endpoint_id: Mapped[Id] = mapped_column(ForeignKey("webhooks_endpoint.id", ondelete="CASCADE"))
    event_type: Mapped[str] = mapped_column(String(60))
    status: Mapped[str] = mapped_column(String(10), default=PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    series_start: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=utcnow)
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_status: Mapped[int | None]
    last_error: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    endpoint: Mapped[Endpoint] = relationship(lazy="raise_on_sql", viewonly=True)

    @property
    def webhook_id(self) -> str:
        """What the receiver recognises a repeat by."""
        return message_id(self.message_id, self.endpoint_id)

    def __str__(self) -> str:
        return self.event_type


class Attempt(Base):  # type: ignore[misc, valid-type]
    """One call. status: the HTTP answer's, or none. error: what went wrong, as a code. answer: its beginning."""

    __tablename__ = "webhooks_attempt"

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    delivery_id: Mapped[Id] = mapped_column(
        ForeignKey("webhooks_delivery.id", ondelete="CASCADE"), index=True
    )
    n: Mapped[int]
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    status: Mapped[int | None]
    latency_ms: Mapped[int]
    error: Mapped[str | None] = mapped_column(String(40))
    answer: Mapped[str] = mapped_column(Text, default="")
