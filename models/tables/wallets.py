"""Wallets of prepaid credits, and every movement of them."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Text, UniqueConstraint, Uuid, text

from models.tables.base import DECIMAL, INSTANT, partial_index, refers_to, tenant_table, unique_index

wallets = tenant_table(
    "wallets",
    Column("customer_id", Uuid, nullable=False),
    refers_to("customer_id", "customers"),
    Column("name", Text),
    Column("code", Text),
    Column("status", Text, nullable=False, server_default="active"),
    # As the client wrote it (C13)
    Column("currency", Text, nullable=False),
    # Minor units that one credit is worth; never changes
    Column("rate_amount", DECIMAL, nullable=False),
    # Lower ones are drawn on first
    Column("priority", Integer, nullable=False, server_default=text("1")),
    Column("expires_at", INSTANT),
    # The sum of the transactions, inbound less outbound
    Column("credits_balance", DECIMAL, nullable=False, server_default=text("0")),
    Column("consumed_credits", DECIMAL, nullable=False, server_default=text("0")),
    Column("consumed_minor", BigInteger, nullable=False, server_default=text("0")),
    Column("terminated_at", INSTANT),
    CheckConstraint("status IN ('active', 'terminated')", name="status"),
    CheckConstraint("credits_balance >= 0", name="balance"),
    CheckConstraint("rate_amount > 0", name="rate"),
    CheckConstraint("priority BETWEEN 1 AND 50", name="priority"),
    unique_index("uq_wallets_code", "customer_id", "code", where="code IS NOT NULL AND status = 'active'"),
    Index("ix_wallets_customer_id", "customer_id"),
    UniqueConstraint("project_id", "id"),
)

wallet_transactions = tenant_table(
    "wallet_transactions",
    Column("wallet_id", Uuid, nullable=False),
    refers_to("wallet_id", "wallets"),
    Column("direction", Text, nullable=False),
    # granted, invoiced, transferred, returned (by a voided invoice)
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("credits", DECIMAL, nullable=False),
    # What an invoice got or gave back; NULL otherwise: credits x rate_amount
    Column("amount_minor", BigInteger),
    Column("invoice_id", Uuid),
    refers_to("invoice_id", "invoices"),
    # In the customer's time
    Column("moved_at", INSTANT, nullable=False),
    CheckConstraint("direction IN ('inbound', 'outbound')", name="direction"),
    CheckConstraint("kind IN ('granted', 'invoiced', 'transferred', 'returned')", name="kind"),
    CheckConstraint("credits >= 0", name="credits"),
    Index("ix_wallet_transactions_wallet_id", "wallet_id", "id"),
    partial_index("ix_wallet_transactions_invoice_id", "invoice_id", where="invoice_id IS NOT NULL"),
    has_updated=False,
)
