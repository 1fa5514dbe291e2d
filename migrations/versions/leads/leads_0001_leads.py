"""Leads, stages, tags, timelines, and the service's outbox, inbox and answered keys."""

import sqlalchemy as sa
from alembic import op

from app.kit import db as kit

revision = "leads_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "leads_idempotency",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", kit.Json, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_leads_idempotency")),
    )
    with op.batch_alter_table("leads_idempotency", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_leads_idempotency_created_at"), ["created_at"], unique=False)

    op.create_table(
        "leads_inbox",
        sa.Column("event_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("handler", sa.String(length=120), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("event", kit.Json, nullable=True),
        sa.Column("handled_at", kit.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "handler", name=op.f("pk_leads_inbox")),
    )
    with op.batch_alter_table("leads_inbox", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_leads_inbox_handled_at"), ["handled_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_leads_inbox_state"), ["state"], unique=False)

    op.create_table(
        "leads_outbox",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("data", kit.Json, nullable=False),
        sa.Column("request_id", sa.String(length=80), nullable=True),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.Column("pending", kit.Json, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", kit.UtcDateTime(), nullable=True),
        sa.Column("delivered_at", kit.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leads_outbox")),
    )
    with op.batch_alter_table("leads_outbox", schema=None) as batch_op:
        batch_op.create_index(
            "ix_leads_outbox_due",
            ["next_attempt_at"],
            unique=False,
            postgresql_where=sa.text("delivered_at IS NULL"),
            sqlite_where=sa.text("delivered_at IS NULL"),
        )
        batch_op.create_index(batch_op.f("ix_leads_outbox_subject"), ["subject"], unique=False)

    op.create_table(
        "leads_stage",
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("name_en", sa.String(length=80), nullable=False),
        sa.Column("name_es", sa.String(length=80), nullable=False),
        sa.Column("colour", sa.String(length=7), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.CheckConstraint("kind IN ('open', 'won', 'lost')", name=op.f("ck_leads_stage_kind")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_leads_stage")),
    )
    op.create_table(
        "leads_tag",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("key", sa.String(length=60), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leads_tag")),
        sa.UniqueConstraint("key", name=op.f("uq_leads_tag_key")),
    )
    op.create_table(
        "leads_lead",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("name_key", sa.String(length=200), nullable=False),
        sa.Column("company", sa.String(length=200), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("email_key", sa.String(length=254), nullable=True),
        sa.Column("phone", sa.String(length=24), nullable=True),
        sa.Column("phone_key", sa.String(length=24), nullable=True),
        sa.Column("stage_key", sa.String(length=40), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("language", sa.String(length=10), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=True),
        sa.Column("owner_name", sa.String(length=130), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("next_contact_on", sa.Date(), nullable=True),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("custom", kit.Json, nullable=False),
        sa.Column("contact_id", sa.String(length=36), nullable=True),
        sa.Column("conversation_id", sa.String(length=36), nullable=True),
        sa.Column("search_text", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.Column("updated_at", kit.UtcDateTime(), nullable=False),
        sa.Column("stage_changed_at", kit.UtcDateTime(), nullable=False),
        sa.Column("deleted_at", kit.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["stage_key"], ["leads_stage.key"], name=op.f("fk_leads_lead_stage_key_leads_stage")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leads_lead")),
    )
    with op.batch_alter_table("leads_lead", schema=None) as batch_op:
        batch_op.create_index("ix_leads_lead_amount", ["amount", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_leads_lead_contact_id"), ["contact_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_leads_lead_conversation_id"), ["conversation_id"], unique=False)
        batch_op.create_index("ix_leads_lead_created", ["created_at", "id"], unique=False)
        batch_op.create_index("ix_leads_lead_name", ["name_key", "id"], unique=False)
        batch_op.create_index("ix_leads_lead_owner", ["owner_id", "created_at", "id"], unique=False)
        batch_op.create_index("ix_leads_lead_stage", ["stage_key", "created_at", "id"], unique=False)
        batch_op.create_index("ix_leads_lead_updated", ["updated_at", "id"], unique=False)
        batch_op.create_index(
            "uq_leads_lead_email_key",
            ["email_key"],
            unique=True,
            postgresql_where=sa.text("deleted_at IS NULL"),
            sqlite_where=sa.text("deleted_at IS NULL"),
        )
        batch_op.create_index(
            "uq_leads_lead_phone_key",
            ["phone_key"],
            unique=True,
            postgresql_where=sa.text("deleted_at IS NULL"),
            sqlite_where=sa.text("deleted_at IS NULL"),
        )

    _index_search()
    op.create_table(
        "leads_event",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("lead_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("what", sa.String(length=40), nullable=False),
        sa.Column("by", sa.String(length=130), nullable=False),
        sa.Column("at", kit.UtcDateTime(), nullable=False),
        sa.Column("data", kit.Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["lead_id"], ["leads_lead.id"], name=op.f("fk_leads_event_lead_id_leads_lead"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leads_event")),
    )
    with op.batch_alter_table("leads_event", schema=None) as batch_op:
        batch_op.create_index("ix_leads_event_lead", ["lead_id", "id"], unique=False)

    op.create_table(
        "leads_lead_tag",
        sa.Column("lead_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("tag_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.ForeignKeyConstraint(
            ["lead_id"],
            ["leads_lead.id"],
            name=op.f("fk_leads_lead_tag_lead_id_leads_lead"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tag_id"], ["leads_tag.id"], name=op.f("fk_leads_lead_tag_tag_id_leads_tag"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("lead_id", "tag_id", name=op.f("pk_leads_lead_tag")),
    )
    with op.batch_alter_table("leads_lead_tag", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_leads_lead_tag_tag_id"), ["tag_id"], unique=False)


def _index_search() -> None:
    """Trigrams where PostgreSQL lets us have them; without, a search reads the table, which is right but slower."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        op.create_index("ix_leads_lead_search", "leads_lead", ["search_text"])
        return
    try:
        with connection.begin_nested():
            connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except sa.exc.DBAPIError:  # not shipped with this server, or not ours to create
        return
    op.create_index(
        "ix_leads_lead_search",
        "leads_lead",
        ["search_text"],
        postgresql_using="gin",
        postgresql_ops={"search_text": "gin_trgm_ops"},
    )


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("leads_lead_tag", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_leads_lead_tag_tag_id"))

    op.drop_table("leads_lead_tag")
    with op.batch_alter_table("leads_event", schema=None) as batch_op:
        batch_op.drop_index("ix_leads_event_lead")

    op.drop_table("leads_event")
    with op.batch_alter_table("leads_lead", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_leads_lead_phone_key",
            postgresql_where=sa.text("deleted_at IS NULL"),
            sqlite_where=sa.text("deleted_at IS NULL"),
        )
        batch_op.drop_index(
            "uq_leads_lead_email_key",
            postgresql_where=sa.text("deleted_at IS NULL"),
            sqlite_where=sa.text("deleted_at IS NULL"),
        )
        batch_op.drop_index("ix_leads_lead_updated")
        batch_op.drop_index("ix_leads_lead_stage")
        batch_op.drop_index("ix_leads_lead_owner")
        batch_op.drop_index("ix_leads_lead_name")
        batch_op.drop_index("ix_leads_lead_created")
        batch_op.drop_index(batch_op.f("ix_leads_lead_conversation_id"))
        batch_op.drop_index(batch_op.f("ix_leads_lead_contact_id"))
        batch_op.drop_index("ix_leads_lead_amount")

    op.drop_table("leads_lead")
    op.drop_table("leads_tag")
    op.drop_table("leads_stage")
    with op.batch_alter_table("leads_outbox", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_leads_outbox_subject"))
        batch_op.drop_index(
            "ix_leads_outbox_due",
            postgresql_where=sa.text("delivered_at IS NULL"),
            sqlite_where=sa.text("delivered_at IS NULL"),
        )

    op.drop_table("leads_outbox")
    with op.batch_alter_table("leads_inbox", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_leads_inbox_state"))
        batch_op.drop_index(batch_op.f("ix_leads_inbox_handled_at"))

    op.drop_table("leads_inbox")
    with op.batch_alter_table("leads_idempotency", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_leads_idempotency_created_at"))

    op.drop_table("leads_idempotency")
