"""Webhooks: retries as workflows, a sequence for each resource, rotated secrets; notifications; parked outbox rows.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

from adapters.postgres.schema import security_statements

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_WAITING = "delivered_at IS NULL AND parked_at IS NULL"


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    _notifications()
    _outbox()
    _endpoints_and_messages()
    _deliveries()
    for statement in security_statements(["notifications"]):
        op.execute(statement)


def _notifications() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("resource_type", sa.Text(), nullable=True),
        sa.Column("resource_id", sa.Uuid(), nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        sa.UniqueConstraint("project_id", "key", name=op.f("uq_notifications_project_id_key")),
    )
    op.create_index("ix_notifications_project_id", "notifications", ["project_id", "id"])
    op.create_index(
        "ix_notifications_unread", "notifications", ["project_id", "id"], postgresql_where=sa.text("read_at IS NULL")
    )


def _outbox() -> None:
    op.add_column("outbox", sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_index("ix_outbox_undelivered", "outbox")
    op.drop_index("ix_outbox_ordering", "outbox")
    for name, columns, condition in (
        ("ix_outbox_workflows", ["id"], f"{_WAITING} AND topic <> 'webhook'"),
        ("ix_outbox_webhooks", ["id"], f"{_WAITING} AND topic = 'webhook'"),
        ("ix_outbox_ordering", ["ordering_key", "id"], f"{_WAITING} AND topic <> 'webhook'"),
        ("ix_outbox_parked", ["id"], "parked_at IS NOT NULL"),
    ):
        op.create_index(name, "outbox", columns, postgresql_where=sa.text(condition))


def _endpoints_and_messages() -> None:
    for name, kind in (
        ("old_secret_until", sa.DateTime(timezone=True)),
        ("failing_since", sa.DateTime(timezone=True)),
        ("disabled_reason", sa.Text()),
    ):
        op.add_column("webhook_endpoints", sa.Column(name, kind, nullable=True))
    # So far a message's sequence was its outbox row's id; the numbers of each resource go on from there.
    op.add_column("webhook_messages", sa.Column("outbox_id", sa.BigInteger(), nullable=True))
    op.execute("UPDATE webhook_messages SET outbox_id = sequence")
    op.alter_column("webhook_messages", "outbox_id", nullable=False)
    op.drop_constraint("uq_webhook_messages_sequence", "webhook_messages")
    op.create_unique_constraint("uq_webhook_messages_outbox_id", "webhook_messages", ["outbox_id"])
    op.create_unique_constraint(
        "uq_webhook_messages_project_id_ordering_key_sequence",
        "webhook_messages",
        ["project_id", "ordering_key", "sequence"],
    )
    op.create_index("ix_webhook_messages_created", "webhook_messages", ["project_id", "created_at"])


def _deliveries() -> None:
    op.add_column(
        "webhook_deliveries",
        sa.Column("scheduled_attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
    )
    # What waits for a retry has no workflow yet: the relay makes that attempt, and starts one if it fails as well.
    op.execute(
        "UPDATE webhook_deliveries SET scheduled_attempts = attempts, "
        "status = CASE WHEN status = 'failed' AND next_attempt_at IS NOT NULL THEN 'pending' ELSE status END"
    )
    op.drop_index("ix_webhook_deliveries_due", "webhook_deliveries")
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["endpoint_id", "next_attempt_at", "id"],
        postgresql_where=sa.text("status = 'pending' AND next_attempt_at IS NOT NULL"),
    )
    op.create_index(
        "ix_webhook_deliveries_retried",
        "webhook_deliveries",
        ["endpoint_id", "next_attempt_at"],
        postgresql_where=sa.text("status = 'failed' AND next_attempt_at IS NOT NULL"),
    )


def downgrade() -> None:
    """Go back to the revision before; the numbers of messages become those of their outbox rows again."""
    op.drop_index("ix_webhook_deliveries_retried", "webhook_deliveries")
    op.drop_index("ix_webhook_deliveries_due", "webhook_deliveries")
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["endpoint_id", "next_attempt_at", "id"],
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.drop_column("webhook_deliveries", "scheduled_attempts")
    op.drop_index("ix_webhook_messages_created", "webhook_messages")
    op.drop_constraint("uq_webhook_messages_project_id_ordering_key_sequence", "webhook_messages")
    op.execute("UPDATE webhook_messages SET sequence = outbox_id")
    op.drop_column("webhook_messages", "outbox_id")
    op.create_unique_constraint("uq_webhook_messages_sequence", "webhook_messages", ["sequence"])
    for column in ("disabled_reason", "failing_since", "old_secret_until"):
        op.drop_column("webhook_endpoints", column)
    for index in ("ix_outbox_parked", "ix_outbox_ordering", "ix_outbox_webhooks", "ix_outbox_workflows"):
        op.drop_index(index, "outbox")
    op.drop_column("outbox", "parked_at")
    op.create_index("ix_outbox_undelivered", "outbox", ["id"], postgresql_where=sa.text("delivered_at IS NULL"))
    op.create_index(
        "ix_outbox_ordering", "outbox", ["ordering_key", "id"], postgresql_where=sa.text("delivered_at IS NULL")
    )
    op.drop_table("notifications")
