"""Connections to Airtable, rules, links of leads to records, conflicts, and the calls of a month."""

import sqlalchemy as sa
from alembic import op

from app.kit import db as kit

revision = "leads_0002"
down_revision = "leads_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "leads_airtable_call_count",
        sa.Column("base_id", sa.String(length=40), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("base_id", "month", name=op.f("pk_leads_airtable_call_count")),
    )
    op.create_table(
        "leads_airtable_connection",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=True),
        sa.Column("stand_in", sa.Boolean(), nullable=False),
        sa.Column("base_id", sa.String(length=40), nullable=False),
        sa.Column("base_name", sa.String(length=200), nullable=False),
        sa.Column("table_id", sa.String(length=40), nullable=False),
        sa.Column("table_name", sa.String(length=200), nullable=False),
        sa.Column("columns", kit.Json, nullable=False),
        sa.Column("field_map", kit.Json, nullable=False),
        sa.Column("id_column", sa.String(length=40), nullable=False),
        sa.Column("modified_column", sa.String(length=40), nullable=False),
        sa.Column("direction", sa.String(length=8), nullable=False),
        sa.Column("policy", sa.String(length=8), nullable=False),
        sa.Column("new_records", sa.String(length=8), nullable=False),
        sa.Column("remote_deletions", sa.String(length=8), nullable=False),
        sa.Column("local_deletions", sa.String(length=8), nullable=False),
        sa.Column("create_options", sa.Boolean(), nullable=False),
        sa.Column("poll_minutes", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("error_code", sa.String(length=60), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("held_until", kit.UtcDateTime(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("claimed_until", kit.UtcDateTime(), nullable=True),
        sa.Column("claim_token", sa.String(length=36), nullable=True),
        sa.Column("next_pull_at", kit.UtcDateTime(), nullable=True),
        sa.Column("next_full_at", kit.UtcDateTime(), nullable=True),
        sa.Column("pull_since", sa.String(length=40), nullable=False),
        sa.Column("pulled_at", kit.UtcDateTime(), nullable=True),
        sa.Column("pushed_at", kit.UtcDateTime(), nullable=True),
        sa.Column("asked_deletions", kit.Json, nullable=False),
        sa.Column("webhook_wanted", sa.Boolean(), nullable=False),
        sa.Column("webhook_id", sa.String(length=40), nullable=False),
        sa.Column("webhook_secret", sa.LargeBinary(), nullable=True),
        sa.Column("webhook_cursor", sa.Integer(), nullable=False),
        sa.Column("webhook_expires_at", kit.UtcDateTime(), nullable=True),
        sa.Column("webhook_pinged", sa.String(length=40), nullable=False),
        sa.Column("webhook_error", sa.Text(), nullable=True),
        sa.Column("created_at", kit.UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "state IN ('draft', 'active', 'paused', 'stopped')",
            name=op.f("ck_leads_airtable_connection_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leads_airtable_connection")),
    )
    with op.batch_alter_table("leads_airtable_connection", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_leads_airtable_connection_base_id"), ["base_id"], unique=False)

    op.create_table(
        "leads_airtable_route",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("connection_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("conditions", kit.Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["leads_airtable_connection.id"],
            name="fk_leads_airtable_route_connection",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leads_airtable_route")),
    )
    with op.batch_alter_table("leads_airtable_route", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_leads_airtable_route_connection_id"), ["connection_id"], unique=False
        )

    op.create_table(
        "leads_airtable_conflict",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("connection_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("lead_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("field", sa.String(length=80), nullable=False),
        sa.Column("ours", kit.Json, nullable=True),
        sa.Column("theirs", kit.Json, nullable=True),
        sa.Column("winner", sa.String(length=8), nullable=False),
        sa.Column("at", kit.UtcDateTime(), nullable=False),
        sa.Column("resolved_at", kit.UtcDateTime(), nullable=True),
        sa.Column("resolved_by", sa.String(length=130), nullable=True),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["leads_airtable_connection.id"],
            name="fk_leads_airtable_conflict_connection",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["lead_id"],
            ["leads_lead.id"],
            name=op.f("fk_leads_airtable_conflict_lead_id_leads_lead"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leads_airtable_conflict")),
    )
    with op.batch_alter_table("leads_airtable_conflict", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_leads_airtable_conflict_lead_id"), ["lead_id"], unique=False)
        batch_op.create_index("ix_leads_airtable_conflict_open", ["resolved_at", "id"], unique=False)

    op.create_table(
        "leads_airtable_link",
        sa.Column("lead_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("connection_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("record_id", sa.String(length=40), nullable=True),
        sa.Column("tagged", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("shadow", kit.Json, nullable=False),
        sa.Column("changed_at", kit.Json, nullable=False),
        sa.Column("elsewhere", kit.Json, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("dirty_since", kit.UtcDateTime(), nullable=True),
        sa.Column("due_at", kit.UtcDateTime(), nullable=True),
        sa.Column("error_code", sa.String(length=60), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("synced_at", kit.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["leads_airtable_connection.id"],
            name="fk_leads_airtable_link_connection",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["lead_id"],
            ["leads_lead.id"],
            name=op.f("fk_leads_airtable_link_lead_id_leads_lead"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("lead_id", name=op.f("pk_leads_airtable_link")),
    )
    with op.batch_alter_table("leads_airtable_link", schema=None) as batch_op:
        batch_op.create_index("ix_leads_airtable_link_due", ["due_at", "lead_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_leads_airtable_link_status"), ["status"], unique=False)
        batch_op.create_index("uq_leads_airtable_link_record", ["connection_id", "record_id"], unique=True)


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("leads_airtable_link", schema=None) as batch_op:
        batch_op.drop_index("uq_leads_airtable_link_record")
        batch_op.drop_index(batch_op.f("ix_leads_airtable_link_status"))
        batch_op.drop_index("ix_leads_airtable_link_due")

    op.drop_table("leads_airtable_link")
    with op.batch_alter_table("leads_airtable_conflict", schema=None) as batch_op:
        batch_op.drop_index("ix_leads_airtable_conflict_open")
        batch_op.drop_index(batch_op.f("ix_leads_airtable_conflict_lead_id"))

    op.drop_table("leads_airtable_conflict")
    with op.batch_alter_table("leads_airtable_route", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_leads_airtable_route_connection_id"))

    op.drop_table("leads_airtable_route")
    with op.batch_alter_table("leads_airtable_connection", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_leads_airtable_connection_base_id"))

    op.drop_table("leads_airtable_connection")
    op.drop_table("leads_airtable_call_count")
