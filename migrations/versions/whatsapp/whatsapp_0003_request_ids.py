"""Rows that lead to calls keep the id of the request that made them, so that logs join up."""

import sqlalchemy as sa
from alembic import op

revision = "whatsapp_0003"
down_revision = "whatsapp_0002"
branch_labels = None
depends_on = None

TABLES = ("whatsapp_webhook", "whatsapp_message")


def upgrade() -> None:
    """Apply."""
    for table in TABLES:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column("request_id", sa.String(length=80), nullable=True))


def downgrade() -> None:
    """Undo."""
    for table in TABLES:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("request_id")
