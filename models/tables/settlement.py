"""What paid an invoice, what was given back, and the ways in which customers pay."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.base import INSTANT, refers_to, tenant_table, unique_index

# invoices.settled_minor is the sum of these rows: both are written by settlement_store under the invoice's lock.
settlements = tenant_table(
    "settlements",
    Column("invoice_id", Uuid, nullable=False),
    refers_to("invoice_id", "invoices"),
    Column("type", Text, nullable=False),
    # A payment attempt, a refund of one, or a wallet transaction
    Column("source_id", Uuid, nullable=False),
    # Less than 0 where money or credits went back while the invoice was open
    Column("amount_minor", BigInteger, nullable=False),
    Column("settled_at", INSTANT, nullable=False),
    CheckConstraint("type IN ('payment', 'wallet_credit')", name="type"),
    CheckConstraint("amount_minor <> 0", name="amount"),
    UniqueConstraint("invoice_id", "type", "source_id"),
    has_updated=False,
)

# Every refund stays; payment_attempts.refunded_minor is their sum.
refunds = tenant_table(
    "refunds",
    Column("payment_id", Uuid, nullable=False),
    refers_to("payment_id", "payment_attempts"),
    Column("amount_minor", BigInteger, nullable=False),
    Column("reason", Text),
    Column("refunded_at", INSTANT, nullable=False),
    CheckConstraint("amount_minor > 0", name="amount"),
    Index("ix_refunds_payment_id", "payment_id"),
    has_updated=False,
)

payment_methods = tenant_table(
    "payment_methods",
    Column("customer_id", Uuid, nullable=False),
    refers_to("customer_id", "customers"),
    Column("provider", Text, nullable=False),
    Column("provider_payment_method_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("is_default", Boolean, nullable=False, server_default=text("false")),
    Column("details", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    UniqueConstraint("customer_id", "provider", "provider_payment_method_id"),
    # One default for each customer (B131).
    unique_index("uq_payment_methods_default", "customer_id", where="is_default"),
    Index("ix_payment_methods_project_id", "project_id", "id"),
)
