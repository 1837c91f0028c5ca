"""Add-ons: one-time fees, and the customers they were applied to."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, Text, Uuid, text

from models.tables.base import DECIMAL, INSTANT, created, identity, metadata, project, updated

add_ons = Table(
    "add_ons",
    metadata,
    identity(),
    project(),
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("invoice_display_name", Text),
    # Minor units, perhaps with a fraction
    Column("amount_cents", DECIMAL, nullable=False),
    Column("amount_currency", Text, nullable=False),
    Column("deleted_at", INSTANT),
    created(),
    updated(),
    CheckConstraint("amount_cents >= 0", name="amount_cents"),
    Index("uq_add_ons_code", "project_id", "code", unique=True, postgresql_where=text("deleted_at IS NULL")),
)

applied_add_ons = Table(
    "applied_add_ons",
    metadata,
    identity(),
    project(),
    Column("add_on_id", Uuid, ForeignKey("add_ons.id"), nullable=False),
    Column("customer_id", Uuid, ForeignKey("customers.id"), nullable=False),
    Column("amount_cents", DECIMAL, nullable=False),
    Column("amount_currency", Text, nullable=False),
    # The invoice that has the fee; NULL while it waits for one. Set before the invoice's row, in its transaction.
    Column("invoice_id", Uuid, ForeignKey("invoices.id", deferrable=True, initially="DEFERRED")),
    created(),
    updated(),
    CheckConstraint("amount_cents >= 0", name="amount_cents"),
    Index("ix_applied_add_ons_add_on_id", "add_on_id", "id"),
    Index("ix_applied_add_ons_customer_id", "customer_id", "id"),
    Index("ix_applied_add_ons_invoice_id", "invoice_id", postgresql_where=text("invoice_id IS NOT NULL")),
)
