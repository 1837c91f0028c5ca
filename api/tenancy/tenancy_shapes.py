"""Bodies and answers of organizations, projects and API keys: the union of the seeds' and BoxBilling's shapes."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from adapters.postgres.events.ingest_events import FUTURE_SECONDS
from adapters.postgres.rows import Columns
from adapters.postgres.tenancy.key_store import ApiKey
from adapters.postgres.tenancy.organization_store import Organization, Project
from api.http.answers import Answer
from api.http.moments import InstantField
from billing.money import normalise_currency
from billing.period import zone
from models.scopes import AREAS, SCOPES, default_scopes

Role = Literal["OWNER", "ADMIN", "DEVELOPER", "VIEWER"]
Environment = Literal["live", "test"]

_YEAR: Final = 366 * 86_400
_CENTURY: Final = 100 * _YEAR


def _currency(value: str) -> str:
    normalise_currency(value)
    return value


def _zone(value: str) -> str:
    return zone(value).key


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
Currency = Annotated[str, Field(pattern="^[A-Za-z]{3}$", examples=["USD"]), AfterValidator(_currency)]
Zone = Annotated[str, Field(min_length=1, max_length=50, examples=["Europe/Berlin"]), AfterValidator(_zone)]
Color = Annotated[str, Field(max_length=7, examples=["#336699"])]


def _scope(value: str) -> str:
    if value not in SCOPES:
        raise ValueError(f"is no scope; these are, each with :read or :write: {', '.join(sorted(AREAS))}")
    return value


Scope = Annotated[str, Field(max_length=50, examples=["invoices:read"]), AfterValidator(_scope)]
SecureUrl = Annotated[str, Field(max_length=2048, pattern=r"^https://[^\s/?#@\\]+([/?#]\S*)?$")]


class OrganizationChange(BaseModel):
    """What may be changed of an organization; a field that is left out stays as it is."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"name": "CloudAI", "timezone": "Europe/Berlin"}]}
    )

    name: Name | None = None
    default_currency: Currency | None = None
    timezone: Zone | None = None
    email: Annotated[str, Field(max_length=320)] | None = None
    hmac_key: Annotated[str, Field(max_length=255)] | None = None
    logo_url: SecureUrl | None = Field(None, description="An https address; the portal's page shows the picture.")
    portal_accent_color: Color | None = None
    brand_color: Color | None = Field(None, description="The same as portal_accent_color.")
    portal_welcome_message: Annotated[str, Field(max_length=500)] | None = None

    def columns(self) -> Columns:
        """Return the columns of ``organizations`` that the body sets; what may not be null is left out then."""
        given = self.model_dump(exclude_unset=True)
        color = given.pop("brand_color", None)
        if color is not None:
            given.setdefault("portal_accent_color", color)
        required = ("name", "default_currency", "timezone")
        return {name: value for name, value in given.items() if value is not None or name not in required}


class OrganizationCreate(OrganizationChange):
    """A new organization."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "CloudAI", "default_currency": "USD"}]})

    name: Name


class OrganizationResponse(Answer):
    """An organization: the company that bills with Durabill."""

    id: UUID
    name: str = Field(examples=["CloudAI"])
    slug: str = Field(examples=["cloudai"])
    default_currency: str = Field(examples=["USD"])
    timezone: str = Field(examples=["UTC"])
    email: str | None
    hmac_key: str | None
    logo_url: str | None
    portal_accent_color: str | None
    brand_color: str | None
    portal_welcome_message: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, organization: Organization, **values: Any) -> Self:
        """Return the answer that shows an organization; `values` stand in place of its own, or beside them."""
        return cls.showing(organization, brand_color=organization.portal_accent_color, **values)


class ApiKeyCreate(BaseModel):
    """A new API key."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"name": "ci"}]})

    name: Annotated[str, Field(max_length=255)] | None = None
    kind: Annotated[Literal["secret", "ingest"], BeforeValidator(_lower)] | None = Field(
        None, description="An ingest key (`uf_`) sends usage and reads usage, nothing else."
    )
    environment: Annotated[Environment, BeforeValidator(_lower)] | None = Field(
        None, description="Where the key works at first, shown in its prefix; that of the first project, else live."
    )
    project_ids: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=100)] | None = Field(
        None, description="The projects that it may serve; all of them if left out."
    )
    role: Annotated[Role, BeforeValidator(_upper)] | None = None
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=100)] | None = Field(
        None,
        description="What the key may do, such as `invoices:read` or `events:write`; all (`*`) if left out, for an "
        "ingest key `events:write` and `usage:read`. The role bounds it further.",
    )
    expires_at: InstantField | None = None


class ApiKeyRotate(BaseModel):
    """How a key is rotated."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"overlap_seconds": 3600}]})

    overlap_seconds: int = Field(0, ge=0, le=30 * 86_400, description="How long the old key goes on working.")


class ApiKeyListResponse(Answer):
    """An API key without its secret."""

    id: UUID
    organization_id: UUID
    name: str | None
    key_prefix: str = Field(examples=["sk_live_3f9a"])
    last_four: str = Field(examples=["c01d"])
    kind: Literal["secret", "ingest"]
    environment: Environment
    role: Role
    scopes: list[str] = Field(description="What the key may do; `*` is all.", examples=[["*"]])
    project_ids: list[UUID] = Field(description="Empty: every project of the organization.")
    active_project_id: UUID
    status: Literal["active", "expired", "revoked"]
    rotated_from: UUID | None
    last_used_at: datetime | None = Field(description="To the minute.")
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def listed(cls, key: ApiKey) -> Self:
        """Return the answer that shows a key."""
        return cls.showing(key, scopes=list(key.scopes or default_scopes(key.kind)))


class ApiKeyCreateResponse(ApiKeyListResponse):
    """An API key with its secret, which is shown this once."""

    key: str = Field(examples=["sk_live_3f9a..."])
    raw_key: str = Field(description="The same as key.")

    @classmethod
    def of(cls, key: ApiKey, secret: str) -> Self:
        """Return the answer that shows a key that was just made."""
        return cls.showing(key, key=secret, raw_key=secret, scopes=list(key.scopes or default_scopes(key.kind)))


class OrganizationCreateResponse(OrganizationResponse):
    """A new organization with its first API key, whose secret is shown this once."""

    api_key: ApiKeyCreateResponse
    default_project_id: UUID
    test_project_id: UUID


class ProjectCreate(BaseModel):
    """A new project."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "Staging", "environment": "test"}]}
    )

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)] | None = Field(
        None, description="Your own id of the project; without it, the uuid is the id.", examples=["prj_staging"]
    )
    name: Name
    environment: Annotated[Environment, BeforeValidator(_lower)] = "live"
    timezone: Zone | None = None


class ProjectChange(BaseModel):
    """What may be changed of a project."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"active": True}]})

    active: bool | None = Field(None, description="true: the calling key works in this project from now on.")
    name: Name | None = None
    timezone: Zone | None = None
    event_past_seconds: Annotated[int, Field(ge=0, le=_CENTURY)] | None = Field(
        None, description="How far behind its customer's clock an event may lie; null: any age.", examples=[2_678_400]
    )
    event_future_seconds: Annotated[int, Field(ge=0, le=_YEAR)] | None = Field(
        None, description="How far ahead of its customer's clock an event may lie; null: 300.", examples=[300]
    )
    event_outside_window: Literal["refuse", "skip"] | None = Field(
        None,
        description="What becomes of an event outside these limits: `refuse` (422, the default), or `skip`: it is kept "
        "with the reason `too_old` or `too_far_in_future`. More than a year ahead is always refused.",
    )
    allow_test_clocks: bool | None = Field(
        None, description="Whether a live project may have test clocks; a test project always may."
    )


class ProjectSelect(ProjectChange):
    """Which project the calling key works in from now on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"project_id": "prj_live"}]})

    project_id: Annotated[str, Field(max_length=100)] | None = None
    id: Annotated[str, Field(max_length=100)] | None = Field(None, description="The same as project_id.")
    code: Annotated[str, Field(max_length=100)] | None = Field(None, description="The same as project_id.")


class ProjectResponse(Answer):
    """A project: an isolated environment of an organization."""

    id: str = Field(description="Your own id where you chose one, else the uuid.")
    uuid: UUID
    organization_id: UUID
    name: str = Field(examples=["Live"])
    environment: Environment
    timezone: str | None
    is_default: bool
    active: bool = Field(description="Whether the calling key works in it.")
    event_past_seconds: int | None = Field(description="How old an event may be; null: any age.")
    event_future_seconds: int
    event_outside_window: Literal["refuse", "skip"]
    allow_test_clocks: bool = Field(description="Whether it may have test clocks; a test project always may.")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, project: Project, *, active_project_id: UUID) -> Self:
        """Return the answer that shows a project to a key that works in one of them."""
        kept = project.settings
        return cls.showing(
            project,
            id=kept.get("code") or str(project.id),
            uuid=project.id,
            active=project.id == active_project_id,
            event_past_seconds=kept.get("event_past_seconds"),
            event_future_seconds=kept.get("event_future_seconds", FUTURE_SECONDS),
            event_outside_window=kept.get("event_outside_window", "refuse"),
            allow_test_clocks=project.environment == "test" or bool(kept.get("allow_test_clocks")),
        )


#: What of a project is kept in its settings and may be changed.
PROJECT_SETTINGS: Final = ("event_past_seconds", "event_future_seconds", "event_outside_window", "allow_test_clocks")
