"""The people of an organization, and who has been invited to become one (seed 003, B21, B22)."""

from sqlalchemy import CheckConstraint, Column, LargeBinary, Table, Text, Uuid, text

from models.tables.base import INSTANT, created, identity, metadata, unique_index, updated

members = Table(
    "members",
    metadata,
    identity(),
    Column("organization_id", Uuid, nullable=False),
    Column("email", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="invited"),
    # Of the secret that accepts the invitation; only the hash is kept.
    Column("invitation_hash", LargeBinary),
    Column("invitation_expires_at", INSTANT),
    Column("deleted_at", INSTANT),
    created(),
    updated(),
    CheckConstraint("role IN ('OWNER', 'ADMIN', 'DEVELOPER', 'VIEWER')", name="role"),
    CheckConstraint("status IN ('invited', 'active')", name="status"),
    unique_index("uq_members_email", "organization_id", text("lower(email)"), where="deleted_at IS NULL"),
    unique_index("uq_members_invitation_hash", "invitation_hash", where="invitation_hash IS NOT NULL"),
)
