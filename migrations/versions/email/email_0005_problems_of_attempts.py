"""Tries keep why a mail could not be written as problems, so that each reader is told in their language."""

import sqlalchemy as sa
from alembic import op

from app.kit import db as kit

revision = "email_0005"
down_revision = "email_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("email_attempt", schema=None) as batch_op:
        batch_op.add_column(sa.Column("problems", kit.Json, nullable=True))


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("email_attempt", schema=None) as batch_op:
        batch_op.drop_column("problems")
