"""Keys of payment providers, one for each provider and project."""

from sqlalchemy import CheckConstraint, Column, Text, UniqueConstraint

from models.tables.base import INSTANT, tenant_table

payment_credentials = tenant_table(
    "payment_credentials",
    Column("provider", Text, nullable=False),
    # Whether the key moves real money; a project takes keys of its own environment alone.
    Column("mode", Text, nullable=False),
    # Encrypted (adapters/secret_box.py); the last four characters tell people which key it is.
    Column("sealed_key", Text, nullable=False),
    Column("last_four", Text, nullable=False),
    # The provider's account, when the provider could be asked
    Column("account_id", Text),
    Column("verified_at", INSTANT),
    CheckConstraint("mode IN ('live', 'test')", name="mode"),
    UniqueConstraint("project_id", "provider"),
)
