"""Cached keys that changed while their writer had no Redis: the relay drops them."""

import sqlalchemy as sa
from alembic import op

revision = "leads_0005"
down_revision = "leads_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "leads_left_key",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leads_left_key")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("leads_left_key")
