"""Members and invitations at the API's edge (seed 003, step 11)."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from adapters.postgres.rows import Row
from api.http.fields import Email

Role = Literal["OWNER", "ADMIN", "DEVELOPER", "VIEWER"]


class InvitationCreate(BaseModel):
    """Who is invited, and what they may do."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"email": "dev@cloudai.dev", "role": "DEVELOPER"}]}
    )

    email: Email
    role: Role


class MemberAnswer(BaseModel):
    """A member, or a person who has been invited to become one."""

    id: UUID
    organization_id: UUID
    email: str = Field(examples=["dev@cloudai.dev"])
    role: Role
    status: Literal["invited", "active"]
    expires_at: datetime | None = Field(description="When the invitation ends; null for a member.")
    created_at: datetime
    updated_at: datetime


class InvitationAnswer(MemberAnswer):
    """A new invitation with the secret that accepts it, which is shown this once."""

    token: str = Field(examples=["invite_3q2Ww0nN0yX8m1p5R7tUvYzA4bCdEfGhIjKlMnOpQrS"])


def member_document(row: Row[Any], secret: str | None = None) -> dict[str, Any]:
    """Show a row of ``members``, with the invitation's secret only where it has just been made."""
    shown = {
        "id": row.id,
        "organization_id": row.organization_id,
        "email": row.email,
        "role": row.role,
        "status": row.status,
        "expires_at": row.invitation_expires_at if row.status == "invited" else None,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
    return shown if secret is None else {**shown, "token": secret}
