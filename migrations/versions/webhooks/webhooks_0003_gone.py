"""Leads that are gone are remembered, so that late events do not bring their data back."""

import sqlalchemy as sa
from alembic import op

from app.kit import db as kit

revision = "webhooks_0003"
down_revision = "webhooks_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "webhooks_gone",
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("at", kit.UtcDateTime(), nullable=False),
        sa.Column("noted_at", kit.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_webhooks_gone")),
    )
    with op.batch_alter_table("webhooks_gone", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_webhooks_gone_noted_at"), ["noted_at"], unique=False)


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("webhooks_gone", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_webhooks_gone_noted_at"))

    op.drop_table("webhooks_gone")
