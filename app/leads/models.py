"""The tables of the leads service.

One person is one living lead: two partial unique indexes say so, because two conversations, a form and an import may
meet the same person in the same second and only the database sees them all.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Dialect, ForeignKey, Index, String, Text, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from app.kit.cache import left_keys_table
from app.kit.db import Id, Json, UtcDateTime, bind_base, new_id, utcnow
from app.kit.outbox import outbox_tables
from app.kit.rest.idempotency import idempotency_table
from app.kit.secrets import EncryptedJson

Base = bind_base("leads")
outbox_tables(Base, "leads")
idempotency_table(Base, "leads")
left_keys_table(Base, "leads")

NAME_LENGTH = 200
EMAIL_LENGTH = 254  # RFC 5321 §4.5.3.1.3, less the angle brackets
PHONE_LENGTH = 24  # E.164 has 15 digits; a few countries (Germany) give out longer ones
STAGE_KINDS = ("open", "won", "lost")
SOURCES = ("whatsapp", "web", "api", "import", "manual", "demo", "airtable")
CENTS = 100

LIVING = text("deleted_at IS NULL")


class Money(TypeDecorator[Decimal]):
    """Amounts as whole cents: SQLite has no decimal type, and a sum of floats is nobody's price."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:
        """Cents, halves rounded to even."""
        return None if value is None else round(Decimal(value) * CENTS)

    def process_result_value(self, value: int | None, dialect: Dialect) -> Decimal | None:
        """Two decimal places, always."""
        return None if value is None else (Decimal(value) / CENTS).quantize(Decimal("0.01"))


class Stage(Base):
    """A step of the funnel. Rows, because every team names its own; the names are in both languages."""

    __tablename__ = "leads_stage"
    __table_args__ = (CheckConstraint("kind IN ('open', 'won', 'lost')", name="kind"),)

    key: Mapped[str] = mapped_column(String(40), primary_key=True)
    name_en: Mapped[str] = mapped_column(String(80))
    name_es: Mapped[str] = mapped_column(String(80))
    colour: Mapped[str] = mapped_column(String(7), default="#64748b")
    position: Mapped[int] = mapped_column(default=0)
    kind: Mapped[str] = mapped_column(String(8), default="open")

    def __str__(self) -> str:
        return self.name_en


class LeadTag(Base):
    """Which lead carries which tag."""

    __tablename__ = "leads_lead_tag"

    lead_id: Mapped[Id] = mapped_column(ForeignKey("leads_lead.id", ondelete="CASCADE"), primary_key=True)
    tag_id: Mapped[Id] = mapped_column(
        ForeignKey("leads_tag.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class Tag(Base):
    """A word that groups leads across stages; `key` is its folded form, so that VIP and vip are one."""

    __tablename__ = "leads_tag"

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    key: Mapped[str] = mapped_column(String(60), unique=True)
    name: Mapped[str] = mapped_column(String(60))

    def __str__(self) -> str:
        return self.name


class Lead(Base):
    """Somebody who may buy. email_key, phone_key, name_key and search_text are derived by the commands.

    owner_id and owner_name are the platform's user, contact_id and conversation_id the whatsapp service's: plain
    ids, no foreign keys, because those databases are not ours.
    """

    __tablename__ = "leads_lead"
    __table_args__ = (
        Index(
            "uq_leads_lead_email_key",
            "email_key",
            unique=True,
            postgresql_where=LIVING,
            sqlite_where=LIVING,
        ),
        Index(
            "uq_leads_lead_phone_key",
            "phone_key",
            unique=True,
            postgresql_where=LIVING,
            sqlite_where=LIVING,
        ),
        # The list's filters and sorts; each ends in id, which the cursor needs.
        Index("ix_leads_lead_created", "created_at", "id"),
        Index("ix_leads_lead_updated", "updated_at", "id"),
        Index("ix_leads_lead_name", "name_key", "id"),
        Index("ix_leads_lead_amount", "amount", "id"),
        Index("ix_leads_lead_stage", "stage_key", "created_at", "id"),
        Index("ix_leads_lead_owner", "owner_id", "created_at", "id"),
        # Trigrams make LIKE '%word%' fast; the migration leaves the index out where PostgreSQL lacks pg_trgm.
        Index(
            "ix_leads_lead_search",
            "search_text",
            postgresql_using="gin",
            postgresql_ops={"search_text": "gin_trgm_ops"},
        ),
    )

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), default="")
    name_key: Mapped[str] = mapped_column(String(NAME_LENGTH), default="")
    company: Mapped[str] = mapped_column(String(NAME_LENGTH), default="")
    email: Mapped[str | None] = mapped_column(String(EMAIL_LENGTH))
    email_key: Mapped[str | None] = mapped_column(String(EMAIL_LENGTH))
    phone: Mapped[str | None] = mapped_column(String(PHONE_LENGTH))
    phone_key: Mapped[str | None] = mapped_column(String(PHONE_LENGTH))
    stage_key: Mapped[str] = mapped_column(ForeignKey("leads_stage.key"), default="new")
    source: Mapped[str] = mapped_column(String(20), default="manual")
    language: Mapped[str] = mapped_column(String(10), default="es")
    owner_id: Mapped[int | None] = mapped_column()
    owner_name: Mapped[str] = mapped_column(String(130), default="")
    amount: Mapped[Decimal | None] = mapped_column(Money)
    currency: Mapped[str] = mapped_column(String(3), default="EUR")
    next_contact_on: Mapped[date | None] = mapped_column()
    notes: Mapped[str] = mapped_column(Text, default="")
    custom: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    contact_id: Mapped[str | None] = mapped_column(String(36), index=True)
    conversation_id: Mapped[str | None] = mapped_column(String(36), index=True)
    search_text: Mapped[str] = mapped_column(Text, default="")
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    stage_changed_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    stage: Mapped[Stage] = relationship(lazy="selectin")
    tags: Mapped[list[Tag]] = relationship(secondary=LeadTag.__table__, lazy="selectin", order_by=Tag.key)

    @property
    def tag_names(self) -> str:
        """The tags as one types them."""
        return ", ".join(tag.name for tag in self.tags)

    def __str__(self) -> str:
        return self.name or self.company or self.email or self.phone or self.id


class LeadEvent(Base):
    """A line of a lead's timeline: what happened, by whom, when."""

    __tablename__ = "leads_event"
    __table_args__ = (Index("ix_leads_event_lead", "lead_id", "id"),)

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    lead_id: Mapped[Id] = mapped_column(ForeignKey("leads_lead.id", ondelete="CASCADE"))
    what: Mapped[str] = mapped_column(String(40))
    by: Mapped[str] = mapped_column(String(130))
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    data: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)


# What a new funnel has. Seeded once; teams rename, recolour and reorder them.
FIRST_STAGES: tuple[dict[str, Any], ...] = (
    {"key": "new", "name_en": "New", "name_es": "Nuevo", "colour": "#3b82f6", "kind": "open"},
    {
        "key": "contacted",
        "name_en": "Contacted",
        "name_es": "Contactado",
        "colour": "#8b5cf6",
        "kind": "open",
    },
    {
        "key": "qualified",
        "name_en": "Qualified",
        "name_es": "Cualificado",
        "colour": "#f59e0b",
        "kind": "open",
    },
    {"key": "proposal", "name_en": "Proposal", "name_es": "Propuesta", "colour": "#ec4899", "kind": "open"},
    {"key": "won", "name_en": "Won", "name_es": "Ganado", "colour": "#10b981", "kind": "won"},
    {"key": "lost", "name_en": "Lost", "name_es": "Perdido", "colour": "#6b7280", "kind": "lost"},
)


class AirtableConnection(Base):
    """One table in one Airtable base that leads are kept in step with; token and secrets only encrypted.

    claimed_until and claim_token make one process at a time read or write the table, so that a merge never meets
    another. held_until is a pause that ends by itself (too many calls, a refused token), `stopped` one that a person
    ends. pull_since is Airtable's clock, not ours. reading_*: a reading of many pages that goes on in the next turn
    (app.leads.commands.airtable_reading); no reading_id, no such reading.
    """

    __tablename__ = "leads_airtable_connection"
    __table_args__ = (CheckConstraint("state IN ('draft', 'active', 'paused', 'stopped')", name="state"),)

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(120))
    token: Mapped[Any] = mapped_column(EncryptedJson, nullable=True, deferred=True)
    stand_in: Mapped[bool] = mapped_column(default=False)
    base_id: Mapped[str] = mapped_column(String(40), default="", index=True)
    base_name: Mapped[str] = mapped_column(String(200), default="")
    table_id: Mapped[str] = mapped_column(String(40), default="")
    table_name: Mapped[str] = mapped_column(String(200), default="")
    columns: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)
    field_map: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)
    id_column: Mapped[str] = mapped_column(String(40), default="")
    modified_column: Mapped[str] = mapped_column(String(40), default="")
    direction: Mapped[str] = mapped_column(String(8), default="both")
    policy: Mapped[str] = mapped_column(String(8), default="newest")
    new_records: Mapped[str] = mapped_column(String(8), default="create")
    remote_deletions: Mapped[str] = mapped_column(String(8), default="unlink")
    local_deletions: Mapped[str] = mapped_column(String(8), default="ignore")
    create_options: Mapped[bool] = mapped_column(default=True)
    poll_minutes: Mapped[int] = mapped_column(default=5)
    state: Mapped[str] = mapped_column(String(8), default="draft")
    error_code: Mapped[str | None] = mapped_column(String(60))
    last_error: Mapped[str | None] = mapped_column(Text)
    held_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    failures: Mapped[int] = mapped_column(default=0)
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    claim_token: Mapped[str | None] = mapped_column(String(36))
    next_pull_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    next_full_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    pull_since: Mapped[str] = mapped_column(String(40), default="")
    pulled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reading_id: Mapped[str | None] = mapped_column(String(36))
    reading_after: Mapped[str | None] = mapped_column(String(40))
    reading_offset: Mapped[str | None] = mapped_column(Text)
    reading_since: Mapped[str | None] = mapped_column(String(40))
    reading_began_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    pushed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    asked_deletions: Mapped[list[str]] = mapped_column(Json, default=list)
    webhook_wanted: Mapped[bool] = mapped_column(default=True)
    webhook_id: Mapped[str] = mapped_column(String(40), default="")
    webhook_secret: Mapped[Any] = mapped_column(EncryptedJson, nullable=True, deferred=True)
    webhook_cursor: Mapped[int] = mapped_column(default=1)
    webhook_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    webhook_pinged: Mapped[str] = mapped_column(String(40), default="")
    webhook_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)

    def __str__(self) -> str:
        return self.name


class AirtableRoute(Base):
    """Which leads go into which table: the first route whose conditions all hold; none at all takes every lead."""

    __tablename__ = "leads_airtable_route"

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    position: Mapped[int] = mapped_column(default=0)
    connection_id: Mapped[Id] = mapped_column(
        ForeignKey(
            "leads_airtable_connection.id", ondelete="CASCADE", name="fk_leads_airtable_route_connection"
        ),
        index=True,
    )
    conditions: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)


class AirtableLink(Base):
    """A lead and its record. due_at says that something of the lead has still to be told to Airtable.

    revision counts the lead's changes, so that one made during a call is not taken for written. shadow: per field
    what both sides last agreed on. tagged: the record carries our lead's id. elsewhere: records in tables that the
    lead has left. changed_at: per field the time of our last change, for "newest wins". seen_in: the connection's
    reading in which the record was last met; who was not met in a whole one is gone from the table.
    """

    __tablename__ = "leads_airtable_link"
    __table_args__ = (
        Index("ix_leads_airtable_link_due", "due_at", "lead_id"),
        Index("uq_leads_airtable_link_record", "connection_id", "record_id", unique=True),
    )

    lead_id: Mapped[Id] = mapped_column(ForeignKey("leads_lead.id", ondelete="CASCADE"), primary_key=True)
    connection_id: Mapped[str | None] = mapped_column(
        Uuid(as_uuid=False),
        ForeignKey(
            "leads_airtable_connection.id", ondelete="CASCADE", name="fk_leads_airtable_link_connection"
        ),
    )
    record_id: Mapped[str | None] = mapped_column(String(40))
    tagged: Mapped[bool] = mapped_column(default=False)
    status: Mapped[str] = mapped_column(String(10), default="new", index=True)  # new synced blocked unlinked
    shadow: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    changed_at: Mapped[dict[str, str]] = mapped_column(Json, default=dict)
    elsewhere: Mapped[list[dict[str, str]]] = mapped_column(Json, default=list)
    revision: Mapped[int] = mapped_column(default=1)
    seen_in: Mapped[str | None] = mapped_column(String(36))
    # Of the latest request that changed the lead: what becomes of it in Airtable is logged under that.
    request_id: Mapped[str | None] = mapped_column(String(80))
    dirty_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error_code: Mapped[str | None] = mapped_column(String(60))
    last_error: Mapped[str | None] = mapped_column(Text)
    synced_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class AirtableConflict(Base):
    """A field that was changed on both sides: what each had, who won, and what a person chose instead."""

    __tablename__ = "leads_airtable_conflict"
    __table_args__ = (Index("ix_leads_airtable_conflict_open", "resolved_at", "id"),)

    id: Mapped[Id] = mapped_column(primary_key=True, default=new_id)
    connection_id: Mapped[Id] = mapped_column(
        ForeignKey(
            "leads_airtable_connection.id", ondelete="CASCADE", name="fk_leads_airtable_conflict_connection"
        )
    )
    lead_id: Mapped[Id] = mapped_column(ForeignKey("leads_lead.id", ondelete="CASCADE"), index=True)
    field: Mapped[str] = mapped_column(String(80))
    ours: Mapped[Any] = mapped_column(Json, nullable=True)
    theirs: Mapped[Any] = mapped_column(Json, nullable=True)
    winner: Mapped[str] = mapped_column(String(8))
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    resolved_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    resolved_by: Mapped[str | None] = mapped_column(String(130))


class AirtableCallCount(Base):
    """How often we called Airtable for a base in a month; plans limit the calls of a month."""

    __tablename__ = "leads_airtable_call_count"

    base_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    month: Mapped[str] = mapped_column(String(7), primary_key=True)
    calls: Mapped[int] = mapped_column(default=0)
