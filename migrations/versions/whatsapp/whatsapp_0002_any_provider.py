"""Which providers there are is for the code to say: a new one needs no migration."""

from alembic import op

revision = "whatsapp_0002"
down_revision = "whatsapp_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("whatsapp_channel") as batch_op:
        batch_op.drop_constraint(op.f("ck_whatsapp_channel_provider"), type_="check")


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("whatsapp_channel") as batch_op:
        batch_op.create_check_constraint(
            op.f("ck_whatsapp_channel_provider"), "provider IN ('twilio', 'meta', 'simulator')"
        )
