"""Usage alerts and thresholds as bodies and answers (seed 002). Quantities are decimal strings (conflicts C12)."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters.postgres.alerts.alert_store import AlertProgress
from adapters.postgres.alerts.records import AlertTrigger, UsageAlert, UsageThreshold
from api.http.answers import Answer
from api.http.cents import Cents
from api.http.fields import Currency, Ref
from billing.alerts import MOST_LEVELS, Alert, percentage
from billing.numbers import Positive, plain
from billing.period import inclusive_end
from billing.scope import Combination, PropertyMatch
from models.identifiers import shown_id
from models.problems import invalid

AlertName = Annotated[str | None, Field(default=None, max_length=255)]
Level = Annotated[int, Field(ge=1, le=1000, strict=True)]
Levels = Annotated[list[Level], Field(min_length=1, max_length=MOST_LEVELS)]
_Value = Annotated[str, Field(min_length=1, max_length=255)]
Filters = Annotated[
    dict[_Value, Annotated[list[_Value], Field(min_length=1, max_length=100)]], Field(min_length=1, max_length=10)
]
Kind = Literal["usage", "projected_usage", "spend", "wallet_balance"]

_ON_USAGE: Final = ("usage", "projected_usage")
_ALERT_ID: Final = "550e8400-e29b-41d4-a716-446655440000"


class UsageAlertBody(BaseModel):
    """A new alert: the seed's five fields, and what an alert can do beyond them."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "subscription_id": "sub_01jbq4m8d0e7s9t5v2x3y4z5a6",
                    "billable_metric_id": "api_calls",
                    "threshold_value": 10000,
                    "recurring": True,
                    "name": "API calls warning",
                }
            ]
        },
    )

    subscription_id: Ref
    billable_metric_id: Ref | None = Field(default=None, description="Required unless the alert is on money.")
    threshold_value: Positive = Field(description="Units of the metric; minor units for an alert on money.")
    recurring: bool = Field(default=False, description="Once a period instead of once.")
    name: AlertName
    kind: Kind = Field(
        default="usage",
        description=(
            "`usage` of the current period, `projected_usage` at its end, the period's `spend` on usage, or the "
            "customer's `wallet_balance`, which fires when it falls to the value."
        ),
    )
    levels: Levels = Field(default=[100], description="Percentages of threshold_value, each firing by itself.")
    filters: Filters | None = Field(
        default=None,
        description="Only events with these properties: for each one of its values.",
        examples=[{"region": ["eu"]}],
    )
    currency: Currency | None = Field(default=None, description="Of an alert on money: only the plan's.")

    @model_validator(mode="after")
    def _metric_goes_with_usage(self) -> Self:
        if (self.kind in _ON_USAGE) != (self.billable_metric_id is not None):
            raise ValueError("billable_metric_id goes with an alert on usage, and with no other")
        if self.filters is not None and self.kind not in _ON_USAGE:
            raise ValueError("filters go with an alert on usage")
        if len(set(self.levels)) < len(self.levels):
            raise ValueError("levels must be different from each other")
        return self

    def columns(self, metric_id: UUID | None, plan_currency: str) -> dict[str, object]:
        """Return the columns of the new row. Raises `Problem` 422 `currency_mismatch`."""
        must_be_plans(self.currency, plan_currency)
        return {
            "kind": self.kind,
            "metric_id": metric_id,
            "filter": None if self.filters is None else _combination(self.filters),
            "threshold_value": self.threshold_value,
            "levels": sorted(self.levels),
            "recurring": self.recurring,
            "name": self.name,
        }


def _combination(filters: dict[str, list[str]]) -> dict[str, object]:
    matches = [PropertyMatch(key=key, values=tuple(values)) for key, values in filters.items()]
    return Combination(matches=tuple(matches)).model_dump(mode="json")


def must_be_plans(currency: str | None, plan_currency: str) -> None:
    """Raise `Problem` 422 `currency_mismatch` for another currency than the plan's, in whatever case (C13)."""
    if currency is not None and currency.upper() != plan_currency.upper():
        raise invalid("currency", f"must be the plan's, {plan_currency.upper()}", "currency_mismatch")


class UsageAlertChange(BaseModel):
    """What of an alert may change, at once (B145); its subscription and metric stay whatever the body says."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"threshold_value": 15000}]})

    threshold_value: Positive | None = None
    recurring: bool | None = None
    name: AlertName
    levels: Levels | None = None

    def columns(self) -> dict[str, object]:
        """Return the columns to set: those sent; null empties a name alone. Raises `Problem` 422."""
        values: dict[str, object] = {"name": self.name} if "name" in self.model_fields_set else {}
        for field in ("threshold_value", "recurring"):
            if getattr(self, field) is not None:
                values[field] = getattr(self, field)
        if self.levels is not None:
            if len(set(self.levels)) < len(self.levels):
                raise invalid("levels", "must be different from each other")
            values["levels"] = sorted(self.levels)
        return values


class UsageAlertAnswer(Answer):
    """An alert."""

    id: UUID = Field(examples=[_ALERT_ID])
    organization_id: UUID
    subscription_id: str
    billable_metric_id: str | None
    threshold_value: str = Field(examples=["10000"])
    recurring: bool
    name: str | None
    times_triggered: int
    triggered_at: datetime | None = Field(description="When it fired last.")
    kind: Kind
    levels: list[int]
    filters: dict[str, list[str]] | None
    subscription_uuid: UUID
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, alert: UsageAlert, organization_id: UUID) -> Self:
        """Return the answer for an alert."""
        return cls.showing(
            alert,
            organization_id=organization_id,
            subscription_id=shown_id("subscription", alert.subscription_id),
            billable_metric_id=None if alert.metric_id is None else shown_id("metric", alert.metric_id),
            threshold_value=plain(alert.threshold_value),
            filters=None if alert.filter is None else _filters(alert.filter),
            subscription_uuid=alert.subscription_id,
        )


def _filters(stored: Mapping[str, object]) -> dict[str, list[str]]:
    return {match.key: list(match.values) for match in Combination.model_validate(stored).matches}


class UsageAlertStatus(Answer):
    """How far an alert is in the current period; asking changes nothing."""

    alert_id: UUID
    current_usage: str = Field(examples=["7500"])
    threshold_value: str = Field(examples=["10000"])
    usage_percentage: str = Field(examples=["75.0"])
    billing_period_start: datetime
    billing_period_end: datetime = Field(description="The last second of the period.")
    would_trigger: bool = Field(description="Whether a level is reached that has not fired on this occasion.")
    reached_levels: list[int]

    @classmethod
    def of(cls, alert: UsageAlert, found: AlertProgress) -> Self:
        """Return how far an alert is: 7,500 of 10,000 is "75.0" (B146)."""
        whole = Alert(kind=alert.kind, threshold=alert.threshold_value, levels=tuple(alert.levels))
        fresh = whole.model_copy(update={"fired": found.fired})
        return cls(
            alert_id=alert.id,
            current_usage=plain(found.quantity),
            threshold_value=plain(alert.threshold_value),
            usage_percentage=_shown_percentage(percentage(found.quantity, alert.threshold_value)),
            billing_period_start=found.period.start,
            billing_period_end=inclusive_end(found.period.end),
            would_trigger=bool(fresh.reached(found.quantity)),
            reached_levels=list(whole.reached(found.quantity)),
        )


def _shown_percentage(value: Decimal) -> str:
    text = plain(value)
    return text if "." in text else f"{text}.0"


class UsageAlertTrigger(Answer):
    """One firing, with the values of its moment (B147)."""

    id: UUID
    usage_alert_id: UUID
    current_usage: str = Field(examples=["10250"])
    threshold_value: str = Field(examples=["10000"])
    metric_code: str = Field(description="The metric's key; for an alert on money, what it watches.")
    level: int = Field(examples=[100])
    period_start: datetime
    triggered_at: datetime

    @classmethod
    def of(cls, trigger: AlertTrigger) -> Self:
        """Return the answer for one firing."""
        usage, threshold = plain(trigger.current_usage), plain(trigger.threshold_value)
        return cls.showing(trigger, current_usage=usage, threshold_value=threshold)


class UsageThresholdBody(BaseModel):
    """A spending amount in minor units that makes an invoice in the middle of a period."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "amount_cents": 50000,
                    "currency": "USD",
                    "recurring": True,
                    "threshold_display_name": "Mid-cycle invoice at $500",
                }
            ]
        },
    )

    amount_cents: Cents
    currency: Currency = "USD"
    recurring: bool = Field(default=False, description="Once a period instead of once.")
    threshold_display_name: AlertName

    def columns(self, plan_currency: str) -> dict[str, object]:
        """Return the columns of the new row without its owner.

        The default currency stands for the plan's. Raises `Problem` 422 `currency_mismatch`.
        """
        if "currency" in self.model_fields_set:
            must_be_plans(self.currency, plan_currency)
        same = self.currency.upper() == plan_currency.upper()
        return {
            "amount_cents": self.amount_cents,
            "currency": self.currency if same else plan_currency.upper(),
            "recurring": self.recurring,
            "threshold_display_name": self.threshold_display_name,
        }


class UsageThresholdAnswer(Answer):
    """A threshold; exactly one of `plan_id` and `subscription_id` is set (B152)."""

    id: UUID
    organization_id: UUID
    plan_id: str | None
    subscription_id: str | None
    amount_cents: str = Field(examples=["50000"])
    currency: str = Field(examples=["USD"])
    recurring: bool
    threshold_display_name: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, threshold: UsageThreshold, organization_id: UUID, plan_code: str | None) -> Self:
        """Return the answer for a threshold; a plan is named as elsewhere, by its code."""
        owner = threshold.subscription_id
        return cls.showing(
            threshold,
            organization_id=organization_id,
            plan_id=plan_code,
            subscription_id=None if owner is None else shown_id("subscription", owner),
            amount_cents=plain(threshold.amount_cents),
        )
