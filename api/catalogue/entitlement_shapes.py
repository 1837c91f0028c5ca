"""Features and entitlements at the API's edge (BoxBilling, B40, B41)."""

from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from adapters.postgres.catalogue.entitlement_store import Entitlement
from adapters.postgres.resources import Feature
from adapters.postgres.rows import Columns
from api.http.answers import Answer
from api.http.fields import AnyCase, ClientId, Name, Prose, Ref, refuse_reserved
from billing.entitlements import FeatureType
from models.identifiers import shown_id
from models.problems import invalid

#: Words that are routes beside `/features/{code}` (C37).
RESERVED: Final = frozenset({"plan_counts"})

Code = Annotated[ClientId, StringConstraints(max_length=100)]
Kind = Annotated[FeatureType, AnyCase]
Value = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class FeatureBody(BaseModel):
    """A feature: a switch, a limit or a text that plans grant."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"examples": [{"code": "seats", "name": "Seats", "feature_type": "quantity"}]},
    )

    code: Code
    name: Name
    description: Prose | None = None
    feature_type: Kind = Field(description="What its values are: true or false, a number, or a text.")


class FeatureChange(BaseModel):
    """What may be changed of a feature; fields that are not sent stay."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"description": "Users who may log in"}]})

    code: Ref | None = None
    name: Name | None = None
    description: Prose | None = None
    feature_type: Kind | None = None


class FeatureAnswer(Answer):
    """A feature."""

    id: str = Field(examples=["feat_01kaqs2v8yf0y8f7bn1qv0c5te"])
    uuid: UUID
    code: str
    name: str
    description: str | None
    feature_type: FeatureType
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, feature: Feature) -> Self:
        """Return the answer that shows a feature."""
        return cls.showing(feature, id=shown_id("feature", feature.id), uuid=feature.id)


class EntitlementBody(BaseModel):
    """What a plan grants of a feature; the plan and the feature by any of their names."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"examples": [{"plan_id": "plan_growth", "feature_id": "seats", "value": "10"}]},
    )

    plan_id: Ref
    feature_id: Ref
    value: Value = Field(description='"true" or "false", a number as text, or a text: as the feature\'s type says.')


class EntitlementChange(BaseModel):
    """Another value; which plan grants which feature never changes."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"value": "20"}]})

    plan_id: Ref | None = None
    feature_id: Ref | None = None
    value: Value | None = None


class EntitlementCopy(BaseModel):
    """From which plan to which; values that the target has of the same features are overwritten."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"examples": [{"source_plan_id": "plan_growth", "target_plan_id": "plan_scale"}]},
    )

    source_plan_id: Ref
    target_plan_id: Ref


class EntitlementAnswer(Answer):
    """What a plan grants of a feature."""

    id: str = Field(examples=["entl_01kaqs2v8yf0y8f7bn1qv0c5te"])
    uuid: UUID
    plan_id: str
    plan_uuid: UUID
    feature_id: str
    feature_uuid: UUID
    feature_code: str
    feature_name: str
    feature_type: FeatureType
    value: str = Field(description='"true", "false", a number as text, or a text.')
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, row: Entitlement) -> Self:
        """Return the answer that shows an entitlement, which names its plan by the code."""
        return cls.showing(
            row,
            id=shown_id("entitlement", row.id),
            uuid=row.id,
            plan_id=row.plan_code,
            plan_uuid=row.plan_id,
            feature_id=shown_id("feature", row.feature_id),
            feature_uuid=row.feature_id,
        )


def new_feature_columns(body: FeatureBody) -> Columns:
    """Turn a body into columns of `features`. Raises `Problem` 422 for a code that is a path of its own."""
    refuse_reserved(body.code, "code", RESERVED)
    return body.model_dump()


def changed_feature_columns(body: FeatureChange, row: Feature) -> Columns:
    """Turn a change into columns. Raises `Problem` 422 for another code or type."""
    if body.code is not None and body.code != row.code:
        raise invalid("code", "is stable; create another feature", "immutable")
    if body.feature_type is not None and body.feature_type != row.feature_type:
        raise invalid("feature_type", "is stable, as plans grant values of it; create another feature", "immutable")
    columns: dict[str, object] = {} if body.name is None else {"name": body.name}
    return columns | ({"description": body.description} if "description" in body.model_fields_set else {})


def changed_value(body: EntitlementChange, row: Entitlement) -> str:
    """Return the value that applies after a change. Raises `Problem` 422 for another plan or feature."""
    owners = {
        "plan_id": (row.plan_code, str(row.plan_id), shown_id("plan", row.plan_id)),
        "feature_id": (row.feature_code, str(row.feature_id), shown_id("feature", row.feature_id)),
    }
    for name, own in owners.items():
        value = getattr(body, name)
        if value is not None and value not in own:
            raise invalid(name, "is stable; create another entitlement", "immutable")
    return row.value if body.value is None else body.value
