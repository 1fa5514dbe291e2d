"""Flows, channels, contacts, conversations, messages, raw webhooks, and the service's outbox, inbox, answered keys."""

import sqlalchemy as sa
from alembic import op

from app.kit import db as kit

revision = "whatsapp_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "whatsapp_flow",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("draft", kit.Json, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("published_version", sa.Integer(), nullable=True),
        sa.Column("keywords", kit.Json, nullable=False),
        sa.Column("match", sa.String(length=10), nullable=False),
        sa.Column("archived_at", kit.UtcDateTime(), nullable=True),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.Column("updated_at", kit.UtcDateTime(), nullable=False),
        sa.Column("updated_by", sa.String(length=120), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_whatsapp_flow")),
    )
    op.create_table(
        "whatsapp_idempotency",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", kit.Json, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_whatsapp_idempotency")),
    )
    with op.batch_alter_table("whatsapp_idempotency", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_whatsapp_idempotency_created_at"), ["created_at"], unique=False)

    op.create_table(
        "whatsapp_inbox",
        sa.Column("event_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("handler", sa.String(length=120), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("event", kit.Json, nullable=True),
        sa.Column("handled_at", kit.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "handler", name=op.f("pk_whatsapp_inbox")),
    )
    with op.batch_alter_table("whatsapp_inbox", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_whatsapp_inbox_handled_at"), ["handled_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_whatsapp_inbox_state"), ["state"], unique=False)

    op.create_table(
        "whatsapp_outbox",
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
        sa.PrimaryKeyConstraint("id", name=op.f("pk_whatsapp_outbox")),
    )
    with op.batch_alter_table("whatsapp_outbox", schema=None) as batch_op:
        batch_op.create_index(
            "ix_whatsapp_outbox_due",
            ["next_attempt_at"],
            unique=False,
            postgresql_where=sa.text("delivered_at IS NULL"),
            sqlite_where=sa.text("delivered_at IS NULL"),
        )
        batch_op.create_index(batch_op.f("ix_whatsapp_outbox_subject"), ["subject"], unique=False)

    op.create_table(
        "whatsapp_webhook",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("provider", sa.String(length=20), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("channel_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("headers", kit.Json, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", kit.UtcDateTime(), nullable=False),
        sa.Column("processed_at", kit.UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", kit.UtcDateTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("dead_at", kit.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_whatsapp_webhook")),
        sa.UniqueConstraint("digest", name=op.f("uq_whatsapp_webhook_digest")),
    )
    with op.batch_alter_table("whatsapp_webhook", schema=None) as batch_op:
        batch_op.create_index(
            "ix_whatsapp_webhook_dead",
            ["dead_at"],
            unique=False,
            postgresql_where=sa.text("dead_at IS NOT NULL"),
            sqlite_where=sa.text("dead_at IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_whatsapp_webhook_processed",
            ["processed_at"],
            unique=False,
            postgresql_where=sa.text("processed_at IS NOT NULL"),
            sqlite_where=sa.text("processed_at IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_whatsapp_webhook_waiting",
            ["id"],
            unique=False,
            postgresql_where=sa.text("processed_at IS NULL AND dead_at IS NULL"),
            sqlite_where=sa.text("processed_at IS NULL AND dead_at IS NULL"),
        )

    op.create_table(
        "whatsapp_channel",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("provider", sa.String(length=20), nullable=False),
        sa.Column("address", sa.String(length=80), nullable=False),
        sa.Column("credentials", sa.LargeBinary(), nullable=True),
        sa.Column("default_flow_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("last_webhook_at", kit.UtcDateTime(), nullable=True),
        sa.Column("held_until", kit.UtcDateTime(), nullable=True),
        sa.Column("held_at", kit.UtcDateTime(), nullable=True),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "provider IN ('twilio', 'meta', 'simulator')", name=op.f("ck_whatsapp_channel_provider")
        ),
        sa.ForeignKeyConstraint(
            ["default_flow_id"],
            ["whatsapp_flow.id"],
            name=op.f("fk_whatsapp_channel_default_flow_id_whatsapp_flow"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_whatsapp_channel")),
        sa.UniqueConstraint("provider", "address", name=op.f("uq_whatsapp_channel_provider_address")),
    )
    op.create_table(
        "whatsapp_flow_version",
        sa.Column("flow_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("document", kit.Json, nullable=False),
        sa.Column("published_at", kit.UtcDateTime(), nullable=False),
        sa.Column("published_by", sa.String(length=120), nullable=False),
        sa.ForeignKeyConstraint(
            ["flow_id"], ["whatsapp_flow.id"], name=op.f("fk_whatsapp_flow_version_flow_id_whatsapp_flow")
        ),
        sa.PrimaryKeyConstraint("flow_id", "number", name=op.f("pk_whatsapp_flow_version")),
    )
    op.create_table(
        "whatsapp_contact",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("channel_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("user_id", sa.String(length=120), nullable=False),
        sa.Column("phone", sa.String(length=20), nullable=True),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("mode", sa.String(length=10), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=True),
        sa.Column("lead_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("last_inbound_at", kit.UtcDateTime(), nullable=True),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.Column("last_position", sa.Integer(), nullable=False),
        sa.Column("next_send_at", kit.UtcDateTime(), nullable=True),
        sa.Column("claimed_until", kit.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["channel_id"],
            ["whatsapp_channel.id"],
            name=op.f("fk_whatsapp_contact_channel_id_whatsapp_channel"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_whatsapp_contact")),
        sa.UniqueConstraint("channel_id", "user_id", name=op.f("uq_whatsapp_contact_channel_id_user_id")),
    )
    with op.batch_alter_table("whatsapp_contact", schema=None) as batch_op:
        batch_op.create_index(
            "ix_whatsapp_contact_lane",
            ["next_send_at"],
            unique=False,
            postgresql_where=sa.text("next_send_at IS NOT NULL"),
            sqlite_where=sa.text("next_send_at IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_whatsapp_contact_lead_id"), ["lead_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_whatsapp_contact_owner_id"), ["owner_id"], unique=False)
        batch_op.create_index("ix_whatsapp_contact_phone", ["channel_id", "phone"], unique=False)

    op.create_table(
        "whatsapp_receipt",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("channel_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("provider_id", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_code", sa.String(length=40), nullable=True),
        sa.Column("at", kit.UtcDateTime(), nullable=False),
        sa.Column("received_at", kit.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["channel_id"],
            ["whatsapp_channel.id"],
            name=op.f("fk_whatsapp_receipt_channel_id_whatsapp_channel"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_whatsapp_receipt")),
    )
    with op.batch_alter_table("whatsapp_receipt", schema=None) as batch_op:
        batch_op.create_index("ix_whatsapp_receipt_provider", ["channel_id", "provider_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_whatsapp_receipt_received_at"), ["received_at"], unique=False)

    op.create_table(
        "whatsapp_conversation",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("contact_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("channel_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("flow_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("state", kit.Json, nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("path", kit.Json, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_by", sa.String(length=120), nullable=False),
        sa.Column("started_at", kit.UtcDateTime(), nullable=False),
        sa.Column("updated_at", kit.UtcDateTime(), nullable=False),
        sa.Column("expires_at", kit.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["channel_id"],
            ["whatsapp_channel.id"],
            name=op.f("fk_whatsapp_conversation_channel_id_whatsapp_channel"),
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["whatsapp_contact.id"],
            name=op.f("fk_whatsapp_conversation_contact_id_whatsapp_contact"),
        ),
        sa.ForeignKeyConstraint(
            ["flow_id"], ["whatsapp_flow.id"], name=op.f("fk_whatsapp_conversation_flow_id_whatsapp_flow")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_whatsapp_conversation")),
    )
    with op.batch_alter_table("whatsapp_conversation", schema=None) as batch_op:
        batch_op.create_index("ix_whatsapp_conversation_contact", ["contact_id", "id"], unique=False)
        batch_op.create_index(
            "ix_whatsapp_conversation_expiry",
            ["expires_at"],
            unique=False,
            postgresql_where=sa.text("status = 'waiting'"),
            sqlite_where=sa.text("status = 'waiting'"),
        )
        batch_op.create_index("ix_whatsapp_conversation_flow", ["flow_id", "status"], unique=False)
        batch_op.create_index("ix_whatsapp_conversation_started", ["started_at"], unique=False)
        batch_op.create_index("ix_whatsapp_conversation_status", ["status", "id"], unique=False)
        batch_op.create_index(
            "uq_whatsapp_conversation_open",
            ["contact_id"],
            unique=True,
            postgresql_where=sa.text("status IN ('running', 'waiting')"),
            sqlite_where=sa.text("status IN ('running', 'waiting')"),
        )

    op.create_table(
        "whatsapp_message",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("channel_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("contact_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("conversation_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("direction", sa.String(length=3), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("choices", kit.Json, nullable=False),
        sa.Column("choice_id", sa.String(length=300), nullable=True),
        sa.Column("payload", kit.Json, nullable=True),
        sa.Column("author", sa.String(length=120), nullable=False),
        sa.Column("provider_id", sa.String(length=200), nullable=True),
        sa.Column("webhook_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("webhook_index", sa.Integer(), nullable=False),
        sa.Column("silent", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", kit.UtcDateTime(), nullable=True),
        sa.Column("handing_over_at", kit.UtcDateTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("error_code", sa.String(length=40), nullable=True),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.Column("handled_at", kit.UtcDateTime(), nullable=True),
        sa.Column("sent_at", kit.UtcDateTime(), nullable=True),
        sa.Column("delivered_at", kit.UtcDateTime(), nullable=True),
        sa.Column("read_at", kit.UtcDateTime(), nullable=True),
        sa.Column("failed_at", kit.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["channel_id"],
            ["whatsapp_channel.id"],
            name=op.f("fk_whatsapp_message_channel_id_whatsapp_channel"),
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["whatsapp_contact.id"],
            name=op.f("fk_whatsapp_message_contact_id_whatsapp_contact"),
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["whatsapp_conversation.id"],
            name=op.f("fk_whatsapp_message_conversation_id_whatsapp_conversation"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_whatsapp_message")),
        sa.UniqueConstraint(
            "channel_id",
            "provider_id",
            "direction",
            name=op.f("uq_whatsapp_message_channel_id_provider_id_direction"),
        ),
    )
    with op.batch_alter_table("whatsapp_message", schema=None) as batch_op:
        batch_op.create_index(
            "ix_whatsapp_message_conversation", ["conversation_id", "position"], unique=False
        )
        batch_op.create_index("ix_whatsapp_message_created", ["created_at"], unique=False)
        batch_op.create_index("ix_whatsapp_message_status", ["status", "created_at"], unique=False)
        batch_op.create_index("ix_whatsapp_message_transcript", ["contact_id", "position"], unique=False)
        batch_op.create_index(
            "ix_whatsapp_message_unhandled",
            ["webhook_id", "webhook_index"],
            unique=False,
            postgresql_where=sa.text("direction = 'in' AND handled_at IS NULL"),
            sqlite_where=sa.text("direction = 'in' AND handled_at IS NULL"),
        )
        batch_op.create_index(
            "ix_whatsapp_message_unsent",
            ["contact_id", "position"],
            unique=False,
            postgresql_where=sa.text("direction = 'out' AND status IN ('queued', 'sending')"),
            sqlite_where=sa.text("direction = 'out' AND status IN ('queued', 'sending')"),
        )
        batch_op.create_index("ix_whatsapp_message_webhook", ["webhook_id"], unique=False)

    op.create_table(
        "whatsapp_timer",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("conversation_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("due_at", kit.UtcDateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["whatsapp_conversation.id"],
            name=op.f("fk_whatsapp_timer_conversation_id_whatsapp_conversation"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_whatsapp_timer")),
    )
    with op.batch_alter_table("whatsapp_timer", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_whatsapp_timer_conversation_id"), ["conversation_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_whatsapp_timer_due_at"), ["due_at"], unique=False)


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("whatsapp_timer", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_whatsapp_timer_due_at"))
        batch_op.drop_index(batch_op.f("ix_whatsapp_timer_conversation_id"))

    op.drop_table("whatsapp_timer")
    with op.batch_alter_table("whatsapp_message", schema=None) as batch_op:
        batch_op.drop_index("ix_whatsapp_message_webhook")
        batch_op.drop_index(
            "ix_whatsapp_message_unsent",
            postgresql_where=sa.text("direction = 'out' AND status IN ('queued', 'sending')"),
            sqlite_where=sa.text("direction = 'out' AND status IN ('queued', 'sending')"),
        )
        batch_op.drop_index(
            "ix_whatsapp_message_unhandled",
            postgresql_where=sa.text("direction = 'in' AND handled_at IS NULL"),
            sqlite_where=sa.text("direction = 'in' AND handled_at IS NULL"),
        )
        batch_op.drop_index("ix_whatsapp_message_transcript")
        batch_op.drop_index("ix_whatsapp_message_status")
        batch_op.drop_index("ix_whatsapp_message_created")
        batch_op.drop_index("ix_whatsapp_message_conversation")

    op.drop_table("whatsapp_message")
    with op.batch_alter_table("whatsapp_conversation", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_whatsapp_conversation_open",
            postgresql_where=sa.text("status IN ('running', 'waiting')"),
            sqlite_where=sa.text("status IN ('running', 'waiting')"),
        )
        batch_op.drop_index("ix_whatsapp_conversation_status")
        batch_op.drop_index("ix_whatsapp_conversation_started")
        batch_op.drop_index("ix_whatsapp_conversation_flow")
        batch_op.drop_index(
            "ix_whatsapp_conversation_expiry",
            postgresql_where=sa.text("status = 'waiting'"),
            sqlite_where=sa.text("status = 'waiting'"),
        )
        batch_op.drop_index("ix_whatsapp_conversation_contact")

    op.drop_table("whatsapp_conversation")
    with op.batch_alter_table("whatsapp_receipt", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_whatsapp_receipt_received_at"))
        batch_op.drop_index("ix_whatsapp_receipt_provider")

    op.drop_table("whatsapp_receipt")
    with op.batch_alter_table("whatsapp_contact", schema=None) as batch_op:
        batch_op.drop_index("ix_whatsapp_contact_phone")
        batch_op.drop_index(batch_op.f("ix_whatsapp_contact_owner_id"))
        batch_op.drop_index(batch_op.f("ix_whatsapp_contact_lead_id"))
        batch_op.drop_index(
            "ix_whatsapp_contact_lane",
            postgresql_where=sa.text("next_send_at IS NOT NULL"),
            sqlite_where=sa.text("next_send_at IS NOT NULL"),
        )

    op.drop_table("whatsapp_contact")
    op.drop_table("whatsapp_flow_version")
    op.drop_table("whatsapp_channel")
    with op.batch_alter_table("whatsapp_webhook", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_whatsapp_webhook_waiting",
            postgresql_where=sa.text("processed_at IS NULL AND dead_at IS NULL"),
            sqlite_where=sa.text("processed_at IS NULL AND dead_at IS NULL"),
        )
        batch_op.drop_index(
            "ix_whatsapp_webhook_processed",
            postgresql_where=sa.text("processed_at IS NOT NULL"),
            sqlite_where=sa.text("processed_at IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_whatsapp_webhook_dead",
            postgresql_where=sa.text("dead_at IS NOT NULL"),
            sqlite_where=sa.text("dead_at IS NOT NULL"),
        )

    op.drop_table("whatsapp_webhook")
    with op.batch_alter_table("whatsapp_outbox", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_whatsapp_outbox_subject"))
        batch_op.drop_index(
            "ix_whatsapp_outbox_due",
            postgresql_where=sa.text("delivered_at IS NULL"),
            sqlite_where=sa.text("delivered_at IS NULL"),
        )

    op.drop_table("whatsapp_outbox")
    with op.batch_alter_table("whatsapp_inbox", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_whatsapp_inbox_state"))
        batch_op.drop_index(batch_op.f("ix_whatsapp_inbox_handled_at"))

    op.drop_table("whatsapp_inbox")
    with op.batch_alter_table("whatsapp_idempotency", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_whatsapp_idempotency_created_at"))

    op.drop_table("whatsapp_idempotency")
    op.drop_table("whatsapp_flow")
