"""Endpoints, messages, deliveries and attempts, and the service's outbox, inbox and answered keys."""

import sqlalchemy as sa
from alembic import op

from app.kit import db as kit

revision = "webhooks_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "webhooks_endpoint",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("url", sa.String(length=2000), nullable=False),
        sa.Column("description", sa.String(length=200), nullable=False),
        sa.Column("events", kit.Json, nullable=False),
        sa.Column("secrets", sa.LargeBinary(), nullable=False),
        sa.Column("previous_until", kit.UtcDateTime(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.String(length=20), nullable=True),
        sa.Column("disabled_at", kit.UtcDateTime(), nullable=True),
        sa.Column("first_failure_at", kit.UtcDateTime(), nullable=True),
        sa.Column("last_success_at", kit.UtcDateTime(), nullable=True),
        sa.Column("paused_until", kit.UtcDateTime(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=120), nullable=False),
        sa.Column("updated_at", kit.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks_endpoint")),
    )
    op.create_table(
        "webhooks_idempotency",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", kit.Json, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_webhooks_idempotency")),
    )
    with op.batch_alter_table("webhooks_idempotency", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_webhooks_idempotency_created_at"), ["created_at"], unique=False)

    op.create_table(
        "webhooks_inbox",
        sa.Column("event_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("handler", sa.String(length=120), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("event", kit.Json, nullable=True),
        sa.Column("handled_at", kit.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "handler", name=op.f("pk_webhooks_inbox")),
    )
    with op.batch_alter_table("webhooks_inbox", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_webhooks_inbox_handled_at"), ["handled_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_webhooks_inbox_state"), ["state"], unique=False)

    op.create_table(
        "webhooks_message",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("type", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.Column("erased_at", kit.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks_message")),
    )
    with op.batch_alter_table("webhooks_message", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_webhooks_message_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_webhooks_message_subject"), ["subject"], unique=False)

    op.create_table(
        "webhooks_outbox",
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
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks_outbox")),
    )
    with op.batch_alter_table("webhooks_outbox", schema=None) as batch_op:
        batch_op.create_index(
            "ix_webhooks_outbox_due",
            ["next_attempt_at"],
            unique=False,
            postgresql_where=sa.text("delivered_at IS NULL"),
            sqlite_where=sa.text("delivered_at IS NULL"),
        )
        batch_op.create_index(batch_op.f("ix_webhooks_outbox_subject"), ["subject"], unique=False)

    op.create_table(
        "webhooks_delivery",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("message_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("event_type", sa.String(length=60), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("series_start", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", kit.UtcDateTime(), nullable=True),
        sa.Column("claimed_until", kit.UtcDateTime(), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.String(length=40), nullable=True),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.Column("delivered_at", kit.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhooks_endpoint.id"],
            name=op.f("fk_webhooks_delivery_endpoint_id_webhooks_endpoint"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["webhooks_message.id"],
            name=op.f("fk_webhooks_delivery_message_id_webhooks_message"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks_delivery")),
        sa.UniqueConstraint(
            "message_id", "endpoint_id", name=op.f("uq_webhooks_delivery_message_id_endpoint_id")
        ),
    )
    with op.batch_alter_table("webhooks_delivery", schema=None) as batch_op:
        batch_op.create_index(
            "ix_webhooks_delivery_due",
            ["endpoint_id", "next_attempt_at"],
            unique=False,
            postgresql_where=sa.text("status = 'pending'"),
            sqlite_where=sa.text("status = 'pending'"),
        )
        batch_op.create_index("ix_webhooks_delivery_endpoint_id_id", ["endpoint_id", "id"], unique=False)
        batch_op.create_index("ix_webhooks_delivery_status_id", ["status", "id"], unique=False)

    op.create_table(
        "webhooks_attempt",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("delivery_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("at", kit.UtcDateTime(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(length=40), nullable=True),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["webhooks_delivery.id"],
            name=op.f("fk_webhooks_attempt_delivery_id_webhooks_delivery"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks_attempt")),
    )
    with op.batch_alter_table("webhooks_attempt", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_webhooks_attempt_delivery_id"), ["delivery_id"], unique=False)


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("webhooks_attempt", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_webhooks_attempt_delivery_id"))

    op.drop_table("webhooks_attempt")
    with op.batch_alter_table("webhooks_delivery", schema=None) as batch_op:
        batch_op.drop_index("ix_webhooks_delivery_status_id")
        batch_op.drop_index("ix_webhooks_delivery_endpoint_id_id")
        batch_op.drop_index(
            "ix_webhooks_delivery_due",
            postgresql_where=sa.text("status = 'pending'"),
            sqlite_where=sa.text("status = 'pending'"),
        )

    op.drop_table("webhooks_delivery")
    with op.batch_alter_table("webhooks_outbox", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_webhooks_outbox_subject"))
        batch_op.drop_index(
            "ix_webhooks_outbox_due",
            postgresql_where=sa.text("delivered_at IS NULL"),
            sqlite_where=sa.text("delivered_at IS NULL"),
        )

    op.drop_table("webhooks_outbox")
    with op.batch_alter_table("webhooks_message", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_webhooks_message_subject"))
        batch_op.drop_index(batch_op.f("ix_webhooks_message_created_at"))

    op.drop_table("webhooks_message")
    with op.batch_alter_table("webhooks_inbox", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_webhooks_inbox_state"))
        batch_op.drop_index(batch_op.f("ix_webhooks_inbox_handled_at"))

    op.drop_table("webhooks_inbox")
    with op.batch_alter_table("webhooks_idempotency", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_webhooks_idempotency_created_at"))

    op.drop_table("webhooks_idempotency")
    op.drop_table("webhooks_endpoint")
