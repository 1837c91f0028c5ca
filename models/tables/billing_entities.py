"""Billing entities: who issues invoices, each with a number series of its own."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, Text, text

from models.tables.base import INSTANT, created, identity, metadata, project, updated

billing_entities = Table(
    "billing_entities",
    metadata,
    identity(),
    project(),
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("legal_name", Text),
    Column("address_line1", Text),
    Column("address_line2", Text),
    Column("city", Text),
    Column("state", Text),
    Column("country", Text),
    Column("zip_code", Text),
    Column("tax_id", Text),
    Column("email", Text),
    Column("currency", Text, nullable=False, server_default="USD"),
    # NULL: the project's applies.
    Column("timezone", Text),
    Column("document_locale", Text, nullable=False, server_default="en"),
    # NULL: the code stands before the number.
    Column("invoice_prefix", Text),
    # WalletDraw in the transaction that issues an invoice; only ever grows by that.
    Column("next_invoice_number", BigInteger, nullable=False, server_default=text("1")),
    # What new customers of the entity start with.
    Column("invoice_grace_period", Integer, nullable=False, server_default=text("0")),
    Column("net_payment_term", Integer, nullable=False, server_default=text("30")),
    Column("invoice_footer", Text),
    Column("is_default", Boolean, nullable=False, server_default=text("false")),
    Column("deleted_at", INSTANT),
    created(),
    updated(),
    Index("uq_billing_entities_code", "project_id", "code", unique=True, postgresql_where=text("deleted_at IS NULL")),
    Index(
        "uq_billing_entities_prefix",
        "project_id",
        text("coalesce(invoice_prefix, code)"),
        unique=True,
        postgresql_where=text("deleted_at IS NULL"),
    ),
    Index(
        "uq_billing_entities_default",
        "project_id",
        unique=True,
        postgresql_where=text("is_default AND deleted_at IS NULL"),
    ),
)
