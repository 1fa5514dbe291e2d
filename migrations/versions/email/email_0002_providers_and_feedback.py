"""Ways out and their faults, notices from providers, what they tell of mails, the suppression list, categories."""

import sqlalchemy as sa
from alembic import op

from app.kit import db as kit

revision = "email_0002"
down_revision = "email_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "email_notice",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("provider", sa.String(length=20), nullable=False),
        sa.Column("key", sa.String(length=80), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", kit.UtcDateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", kit.UtcDateTime(), nullable=True),
        sa.Column("claimed_until", kit.UtcDateTime(), nullable=True),
        sa.Column("last_error", sa.String(length=500), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email_notice")),
        sa.UniqueConstraint("key", name=op.f("uq_email_notice_key")),
    )
    with op.batch_alter_table("email_notice", schema=None) as batch_op:
        batch_op.create_index(
            "ix_email_notice_due",
            ["next_attempt_at"],
            unique=False,
            postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
            sqlite_where=sa.text("next_attempt_at IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_email_notice_received_at"), ["received_at"], unique=False)

    op.create_table(
        "email_provider",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=True),
        sa.Column("rate", sa.Double(), nullable=True),
        sa.Column("settings", sa.LargeBinary(), nullable=True),
        sa.Column("error_code", sa.String(length=60), nullable=True),
        sa.Column("last_error", sa.String(length=500), nullable=True),
        sa.Column("last_error_at", kit.UtcDateTime(), nullable=True),
        sa.Column("updated_at", kit.UtcDateTime(), nullable=False),
        sa.Column("updated_by", sa.String(length=120), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_email_provider")),
    )
    op.create_table(
        "email_suppression",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("address", sa.String(length=254), nullable=False),
        sa.Column("scope", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=14), nullable=False),
        sa.Column("message_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("note", sa.String(length=300), nullable=False),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=120), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email_suppression")),
        sa.UniqueConstraint("address", "scope", name=op.f("uq_email_suppression_address_scope")),
    )
    op.create_table(
        "email_event",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("message_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("provider", sa.String(length=20), nullable=False),
        sa.Column("event_key", sa.String(length=160), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("at", kit.UtcDateTime(), nullable=False),
        sa.Column("reason", sa.String(length=20), nullable=True),
        sa.Column("detail", sa.String(length=500), nullable=True),
        sa.Column("url", sa.String(length=2000), nullable=True),
        sa.ForeignKeyConstraint(
            ["message_id"], ["email_message.id"], name=op.f("fk_email_event_message_id_email_message")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email_event")),
        sa.UniqueConstraint("provider", "event_key", name=op.f("uq_email_event_provider_event_key")),
    )
    with op.batch_alter_table("email_event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_email_event_message_id"), ["message_id"], unique=False)

    with op.batch_alter_table("email_message", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("category", sa.String(length=14), server_default="transactional", nullable=False)
        )
        batch_op.add_column(sa.Column("delivery", sa.String(length=12), nullable=True))
        batch_op.create_index("ix_email_message_sent_at", ["sent_at"], unique=False)
        batch_op.create_index("ix_email_message_provider_message_id", ["provider_message_id"], unique=False)

    with op.batch_alter_table("email_template", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("category", sa.String(length=14), server_default="transactional", nullable=False)
        )


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("email_template", schema=None) as batch_op:
        batch_op.drop_column("category")

    with op.batch_alter_table("email_message", schema=None) as batch_op:
        batch_op.drop_index("ix_email_message_provider_message_id")
        batch_op.drop_index("ix_email_message_sent_at")
        batch_op.drop_column("delivery")
        batch_op.drop_column("category")

    with op.batch_alter_table("email_event", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_email_event_message_id"))

    op.drop_table("email_event")
    op.drop_table("email_suppression")
    op.drop_table("email_provider")
    with op.batch_alter_table("email_notice", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_email_notice_received_at"))
        batch_op.drop_index(
            "ix_email_notice_due",
            postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
            sqlite_where=sa.text("next_attempt_at IS NOT NULL"),
        )

    op.drop_table("email_notice")
