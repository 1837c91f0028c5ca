"""Members and invitations at the API's edge (seed 003, step 11)."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from adapters.postgres.tenancy.member_store import Member
from api.http.answers import Answer
from api.http.fields import Email

Role = Literal["OWNER", "ADMIN", "DEVELOPER", "VIEWER"]


class InvitationCreate(BaseModel):
    """Who is invited, and what they may do."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"email": "dev@cloudai.dev", "role": "DEVELOPER"}]}
    )

    email: Email
    role: Role


class MemberAnswer(Answer):
    """A member, or a person who has been invited to become one."""

    id: UUID
    organization_id: UUID
    email: str = Field(examples=["dev@cloudai.dev"])
    role: Role
    status: Literal["invited", "active"]
    expires_at: datetime | None = Field(description="When the invitation ends; null for a member.")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, member: Member, **more: str) -> Self:
        """Return the answer that shows a member; `more` are fields of a subclass."""
        return cls.showing(
            member, expires_at=member.invitation_expires_at if member.status == "invited" else None, **more
        )


class InvitationAnswer(MemberAnswer):
    """A new invitation with the secret that accepts it, which is shown this once."""

    token: str = Field(examples=["invite_3q2Ww0nN0yX8m1p5R7tUvYzA4bCdEfGhIjKlMnOpQrS"])
