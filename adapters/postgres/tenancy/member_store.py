"""The people of an organization: who is invited, and with which role (seed 003, B21, B22)."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.audit_store import Actor, record_for_organization
from adapters.postgres.paging import Page, page_of
from adapters.postgres.rows import record, records
from adapters.postgres.tenancy import organization_store
from models.identifiers import new_id
from models.problems import conflict
from models.tables import members

INVITATION_LASTS: Final = timedelta(days=7)
_RANDOM_BYTES: Final = 32
_now = func.clock_timestamp()


@dataclass(frozen=True, slots=True)
class Member:
    """A member, or a person who has been invited to become one."""

    id: UUID
    organization_id: UUID
    email: str
    role: str
    status: str
    invitation_expires_at: datetime | None
    created_at: datetime
    updated_at: datetime


def new_secret() -> str:
    """Make the secret of an invitation: 256 random bits, such as ``invite_`` and 43 characters."""
    return f"invite_{secrets.token_urlsafe(_RANDOM_BYTES)}"


def hashed(secret: str) -> bytes:
    """Hash the whole of a secret; only this is stored."""
    return hashlib.sha256(secret.encode()).digest()


async def invite(
    connection: AsyncConnection, actor: Actor, organization_id: UUID, *, email: str, role: str
) -> tuple[Member, str]:
    """Invite a person; returns the row and the secret that accepts the invitation, which nobody can read again.

    An address is taken in any case of its letters. An invitation that has expired is made anew, with the new role.
    Raises ``Problem`` 409 ``invitation_pending``, or ``member_exists`` for a person who is a member already.
    """
    # The organization's row serialises the look-up and the insert.
    await organization_store.get(connection, organization_id, lock=True)
    before = await _find(connection, organization_id, email)
    if before is not None:
        _must_have_expired(before, email)
    secret = new_secret()
    values = {
        "email": email,
        "role": role,
        "invitation_hash": hashed(secret),
        "invitation_expires_at": _now + INVITATION_LASTS,
    }
    if before is None:
        statement = insert(members).values(id=new_id(), organization_id=organization_id, **values).returning(members)
        row = (await connection.execute(statement)).one()
    else:
        again = update(members).where(members.c.id == before.id).values(**values, updated_at=_now)
        row = (await connection.execute(again.returning(members))).one()
    member = record(Member, row)
    await record_for_organization(
        connection,
        organization_id,
        actor,
        resource_type="member",
        resource_id=member.id,
        action="invited",
        title=f"{member.email} invited as {member.role}",
        data={"email": member.email, "role": member.role},
    )
    return member, secret


async def _find(connection: AsyncConnection, organization_id: UUID, email: str) -> Row[Any] | None:
    expired = (members.c.invitation_expires_at <= _now).label("expired")
    statement = select(members, expired).where(*_of(organization_id), func.lower(members.c.email) == func.lower(email))
    row: Row[Any] | None = (await connection.execute(statement)).one_or_none()
    return row


def _must_have_expired(before: Row[Any], email: str) -> None:
    if before.status == "active":
        raise conflict("member_exists", f"{email} is a member of this organization already.")
    if not before.expired:
        raise conflict("invitation_pending", f"{email} has been invited already, and the invitation still holds.")


def _of(organization_id: UUID) -> list[ColumnElement[bool]]:
    return [members.c.organization_id == organization_id, members.c.deleted_at.is_(None)]


async def listing(connection: AsyncConnection, organization_id: UUID, page: Page) -> tuple[tuple[Member, ...], int]:
    """Return one part of the organization's members and invitations, newest first, and their number."""
    wanted = _of(organization_id)
    orderable = {"email": members.c.email, "role": members.c.role, "status": members.c.status}
    rows, total = await page_of(connection, members, page, *wanted, orderable=orderable)
    return records(Member, rows), total
