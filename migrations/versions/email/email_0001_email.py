"""Templates and their versions, messages and tries, and the service's outbox, inbox and answered keys."""

import sqlalchemy as sa
from alembic import op

from app.kit import db as kit

revision = "email_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "email_idempotency",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", kit.Json, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_email_idempotency")),
    )
    with op.batch_alter_table("email_idempotency", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_email_idempotency_created_at"), ["created_at"], unique=False)

    op.create_table(
        "email_inbox",
        sa.Column("event_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("handler", sa.String(length=120), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("event", kit.Json, nullable=True),
        sa.Column("handled_at", kit.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "handler", name=op.f("pk_email_inbox")),
    )
    with op.batch_alter_table("email_inbox", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_email_inbox_handled_at"), ["handled_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_email_inbox_state"), ["state"], unique=False)

    op.create_table(
        "email_message",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("to", sa.String(length=254), nullable=False),
        sa.Column("to_ascii", sa.String(length=254), nullable=False),
        sa.Column("subject", sa.String(length=500), nullable=False),
        sa.Column("html", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("template", sa.String(length=60), nullable=True),
        sa.Column("template_language", sa.String(length=5), nullable=True),
        sa.Column("template_version", sa.Integer(), nullable=True),
        sa.Column("variables", kit.Json, nullable=False),
        sa.Column("lead_id", sa.String(length=36), nullable=True),
        sa.Column("dedupe_key", sa.String(length=120), nullable=True),
        sa.Column("created_by", sa.String(length=120), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", kit.UtcDateTime(), nullable=True),
        sa.Column("give_up_at", kit.UtcDateTime(), nullable=True),
        sa.Column("claimed_until", kit.UtcDateTime(), nullable=True),
        sa.Column("handing_over_at", kit.UtcDateTime(), nullable=True),
        sa.Column("provider", sa.String(length=20), nullable=True),
        sa.Column("provider_message_id", sa.String(length=200), nullable=True),
        sa.Column("error_code", sa.String(length=60), nullable=True),
        sa.Column("last_error", sa.String(length=500), nullable=True),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.Column("sent_at", kit.UtcDateTime(), nullable=True),
        sa.Column("erased_at", kit.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email_message")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_email_message_dedupe_key")),
    )
    with op.batch_alter_table("email_message", schema=None) as batch_op:
        batch_op.create_index(
            "ix_email_message_due",
            ["next_attempt_at"],
            unique=False,
            postgresql_where=sa.text("status IN ('queued', 'sending', 'deferred')"),
            sqlite_where=sa.text("status IN ('queued', 'sending', 'deferred')"),
        )
        batch_op.create_index(batch_op.f("ix_email_message_lead_id"), ["lead_id"], unique=False)
        batch_op.create_index("ix_email_message_status_id", ["status", "id"], unique=False)

    op.create_table(
        "email_outbox",
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
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email_outbox")),
    )
    with op.batch_alter_table("email_outbox", schema=None) as batch_op:
        batch_op.create_index(
            "ix_email_outbox_due",
            ["next_attempt_at"],
            unique=False,
            postgresql_where=sa.text("delivered_at IS NULL"),
            sqlite_where=sa.text("delivered_at IS NULL"),
        )
        batch_op.create_index(batch_op.f("ix_email_outbox_subject"), ["subject"], unique=False)

    op.create_table(
        "email_template",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("key", sa.String(length=60), nullable=False),
        sa.Column("language", sa.String(length=5), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(length=500), nullable=False),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.Column("updated_at", kit.UtcDateTime(), nullable=False),
        sa.Column("updated_by", sa.String(length=120), nullable=False),
        sa.Column("archived_at", kit.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email_template")),
        sa.UniqueConstraint("key", "language", name=op.f("uq_email_template_key_language")),
    )
    op.create_table(
        "email_attempt",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("message_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("at", kit.UtcDateTime(), nullable=False),
        sa.Column("provider", sa.String(length=20), nullable=False),
        sa.Column("outcome", sa.String(length=10), nullable=False),
        sa.Column("code", sa.String(length=60), nullable=True),
        sa.Column("detail", sa.String(length=500), nullable=True),
        sa.ForeignKeyConstraint(
            ["message_id"], ["email_message.id"], name=op.f("fk_email_attempt_message_id_email_message")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email_attempt")),
    )
    with op.batch_alter_table("email_attempt", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_email_attempt_message_id"), ["message_id"], unique=False)

    op.create_table(
        "email_template_version",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("template_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(length=500), nullable=False),
        sa.Column("format", sa.String(length=8), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("variables", kit.Json, nullable=False),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=120), nullable=False),
        sa.ForeignKeyConstraint(
            ["template_id"],
            ["email_template.id"],
            name=op.f("fk_email_template_version_template_id_email_template"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email_template_version")),
        sa.UniqueConstraint(
            "template_id", "number", name=op.f("uq_email_template_version_template_id_number")
        ),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("email_template_version")
    with op.batch_alter_table("email_attempt", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_email_attempt_message_id"))

    op.drop_table("email_attempt")
    op.drop_table("email_template")
    with op.batch_alter_table("email_outbox", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_email_outbox_subject"))
        batch_op.drop_index(
            "ix_email_outbox_due",
            postgresql_where=sa.text("delivered_at IS NULL"),
            sqlite_where=sa.text("delivered_at IS NULL"),
        )

    op.drop_table("email_outbox")
    with op.batch_alter_table("email_message", schema=None) as batch_op:
        batch_op.drop_index("ix_email_message_status_id")
        batch_op.drop_index(batch_op.f("ix_email_message_lead_id"))
        batch_op.drop_index(
            "ix_email_message_due",
            postgresql_where=sa.text("status IN ('queued', 'sending', 'deferred')"),
            sqlite_where=sa.text("status IN ('queued', 'sending', 'deferred')"),
        )

    op.drop_table("email_message")
    with op.batch_alter_table("email_inbox", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_email_inbox_state"))
        batch_op.drop_index(batch_op.f("ix_email_inbox_handled_at"))

    op.drop_table("email_inbox")
    with op.batch_alter_table("email_idempotency", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_email_idempotency_created_at"))

    op.drop_table("email_idempotency")
