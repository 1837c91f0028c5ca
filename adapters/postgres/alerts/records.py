"""What the stores of alerts return."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from billing.alerts import AlertKind


@dataclass(frozen=True, slots=True)
class UsageAlert:
    """An alert with its metric's key; `grows` says whether the metric grows with the time of a period."""

    id: UUID
    subscription_id: UUID
    metric_id: UUID | None
    metric_key: str | None
    grows: bool | None
    kind: AlertKind
    filter: Mapping[str, object] | None
    threshold_value: Decimal
    levels: Sequence[int]
    recurring: bool
    name: str | None
    times_triggered: int
    triggered_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class AlertTrigger:
    """One firing of one level of an alert, with the values of its moment."""

    id: UUID
    usage_alert_id: UUID
    current_usage: Decimal
    threshold_value: Decimal
    metric_code: str
    level: int
    period_start: datetime
    triggered_at: datetime


@dataclass(frozen=True, slots=True)
class UsageThreshold:
    """A spending amount in minor units of a currency, of a plan or of a subscription."""

    id: UUID
    project_id: UUID
    plan_id: UUID | None
    subscription_id: UUID | None
    amount_cents: Decimal
    currency: str
    recurring: bool
    threshold_display_name: str | None
    created_at: datetime
    updated_at: datetime
