"""Add-ons: one-time fees, and the customers they were applied to."""

from sqlalchemy import CheckConstraint, Column, Index, Text, UniqueConstraint, Uuid

from models.tables.base import DECIMAL, INSTANT, partial_index, refers_to, tenant_table, unique_index

add_ons = tenant_table(
    "add_ons",
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("invoice_display_name", Text),
    # Minor units, perhaps with a fraction
    Column("amount_cents", DECIMAL, nullable=False),
    Column("amount_currency", Text, nullable=False),
    Column("deleted_at", INSTANT),
    CheckConstraint("amount_cents >= 0", name="amount_cents"),
    unique_index("uq_add_ons_code", "project_id", "code", where="deleted_at IS NULL"),
    UniqueConstraint("project_id", "id"),
)

applied_add_ons = tenant_table(
    "applied_add_ons",
    Column("add_on_id", Uuid, nullable=False),
    refers_to("add_on_id", "add_ons"),
    Column("customer_id", Uuid, nullable=False),
    refers_to("customer_id", "customers"),
    Column("amount_cents", DECIMAL, nullable=False),
    Column("amount_currency", Text, nullable=False),
    # The invoice that has the fee; NULL while it waits for one. Set before the invoice's row, in its transaction.
    Column("invoice_id", Uuid),
    refers_to("invoice_id", "invoices", deferrable=True, initially="DEFERRED"),
    CheckConstraint("amount_cents >= 0", name="amount_cents"),
    Index("ix_applied_add_ons_add_on_id", "add_on_id", "id"),
    Index("ix_applied_add_ons_customer_id", "customer_id", "id"),
    partial_index("ix_applied_add_ons_invoice_id", "invoice_id", where="invoice_id IS NOT NULL"),
)
