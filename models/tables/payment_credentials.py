"""Keys of payment providers, one for each provider and project."""

from sqlalchemy import CheckConstraint, Column, Table, Text, UniqueConstraint

from models.tables.base import INSTANT, created, identity, metadata, project, updated

payment_credentials = Table(
    "payment_credentials",
    metadata,
    identity(),
    project(),
    Column("provider", Text, nullable=False),
    # Whether the key moves real money; a project takes keys of its own environment alone.
    Column("mode", Text, nullable=False),
    # Encrypted (adapters/secret_box.py); the last four characters tell people which key it is.
    Column("sealed_key", Text, nullable=False),
    Column("last_four", Text, nullable=False),
    # The provider's account, when the provider could be asked
    Column("account_id", Text),
    Column("verified_at", INSTANT),
    created(),
    updated(),
    CheckConstraint("mode IN ('live', 'test')", name="mode"),
    UniqueConstraint("project_id", "provider"),
)
