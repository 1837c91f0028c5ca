"""The charge models: what a plan can charge for. A new one is one file here and one name in `ChargeModel`."""

from typing import Annotated, Final, Self, get_args
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from billing.charges.dynamic import Dynamic
from billing.charges.flat import Flat
from billing.charges.graduated import Graduated
from billing.charges.graduated_percentage import Band, GraduatedPercentage
from billing.charges.included import IncludedOverage
from billing.charges.package import Package
from billing.charges.per_unit import PerUnit
from billing.charges.percentage import Percentage
from billing.charges.volume import Volume
from billing.pricing import PricingModel, Step, Tier
from billing.scope import MOST_GROUP_KEYS, EventScope
from billing.usage import Usage

ChargeModel = Annotated[
    Flat | PerUnit | Graduated | IncludedOverage | Volume | Package | Percentage | GraduatedPercentage | Dynamic,
    Field(discriminator="kind"),
]
"""Any charge model, told apart by `kind`."""

CHARGE_MODELS: Final[tuple[type[PricingModel], ...]] = get_args(get_args(ChargeModel)[0])
"""The classes of the union, in its order."""

CHARGE_MODEL: Final[TypeAdapter[ChargeModel]] = TypeAdapter(ChargeModel)
"""Reads a charge model from its stored or received form."""


class Charge(BaseModel):
    """One priced component of a plan version: a charge model and, when it is metered, the metric it prices.

    `description` names the line of a fixed fee ("Growth base fee"); on a metered charge it replaces the metric's name.
    `scope` narrows the metric's events to those that this charge prices; None counts them all. `group_by` names the
    event properties whose values get an invoice line each, priced by itself.
    """

    model_config = ConfigDict(frozen=True)

    id: UUID
    metric_id: UUID | None = None
    metric_key: str | None = None
    metric_name: str | None = None
    unit: str | None = None
    description: str | None = None
    scope: EventScope | None = None
    group_by: tuple[str, ...] = Field(default=(), max_length=MOST_GROUP_KEYS)
    model: ChargeModel

    @model_validator(mode="after")
    def _metric_when_metered(self) -> Self:
        if self.metered and self.metric_id is None:
            raise ValueError(f"a charge of kind {self.model.kind} needs a metric")
        if not self.metered and self.metric_id is not None:
            raise ValueError(f"a charge of kind {self.model.kind} has no metric")
        return self

    @property
    def metered(self) -> bool:
        """Return whether the charge prices a metric's usage."""
        return self.model.metered


__all__ = [
    "CHARGE_MODEL",
    "CHARGE_MODELS",
    "Band",
    "Charge",
    "ChargeModel",
    "Dynamic",
    "Flat",
    "Graduated",
    "GraduatedPercentage",
    "IncludedOverage",
    "Package",
    "PerUnit",
    "Percentage",
    "PricingModel",
    "Step",
    "Tier",
    "Usage",
    "Volume",
]
