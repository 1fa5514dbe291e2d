"""A table is read in several turns: where the reading goes on, and which records it has seen."""

import sqlalchemy as sa
from alembic import op

from app.kit import db as kit

revision = "leads_0004"
down_revision = "leads_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("leads_airtable_connection", schema=None) as batch_op:
        batch_op.add_column(sa.Column("reading_id", sa.String(length=36), nullable=True))
        batch_op.add_column(sa.Column("reading_after", sa.String(length=40), nullable=True))
        batch_op.add_column(sa.Column("reading_offset", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("reading_since", sa.String(length=40), nullable=True))
        batch_op.add_column(sa.Column("reading_began_at", kit.UtcDateTime(), nullable=True))
    with op.batch_alter_table("leads_airtable_link", schema=None) as batch_op:
        batch_op.add_column(sa.Column("seen_in", sa.String(length=36), nullable=True))


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("leads_airtable_link", schema=None) as batch_op:
        batch_op.drop_column("seen_in")
    with op.batch_alter_table("leads_airtable_connection", schema=None) as batch_op:
        for name in (
            "reading_began_at", "reading_since", "reading_offset", "reading_after", "reading_id",
        ):  # fmt: skip
            batch_op.drop_column(name)
