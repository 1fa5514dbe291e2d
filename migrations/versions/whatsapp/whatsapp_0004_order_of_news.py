"""A contact knows how new its lead and owner are, and leads that are gone are remembered: events come in any order."""

import sqlalchemy as sa
from alembic import op

from app.kit import db as kit

revision = "whatsapp_0004"
down_revision = "whatsapp_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "whatsapp_gone",
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("at", kit.UtcDateTime(), nullable=False),
        sa.Column("noted_at", kit.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_whatsapp_gone")),
    )
    with op.batch_alter_table("whatsapp_gone", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_whatsapp_gone_noted_at"), ["noted_at"], unique=False)
    with op.batch_alter_table("whatsapp_contact", schema=None) as batch_op:
        batch_op.add_column(sa.Column("lead_told_at", kit.UtcDateTime(), nullable=True))


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("whatsapp_contact", schema=None) as batch_op:
        batch_op.drop_column("lead_told_at")

    with op.batch_alter_table("whatsapp_gone", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_whatsapp_gone_noted_at"))

    op.drop_table("whatsapp_gone")
