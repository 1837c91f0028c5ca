"""Billing entities: who issues invoices, each with a number series of its own."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, Text, UniqueConstraint, text

from models.tables.base import INSTANT, tenant_table, unique_index

billing_entities = tenant_table(
    "billing_entities",
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
    unique_index("uq_billing_entities_code", "project_id", "code", where="deleted_at IS NULL"),
    unique_index(
        "uq_billing_entities_prefix", "project_id", text("coalesce(invoice_prefix, code)"), where="deleted_at IS NULL"
    ),
    unique_index("uq_billing_entities_default", "project_id", where="is_default AND deleted_at IS NULL"),
    UniqueConstraint("project_id", "id"),
)
