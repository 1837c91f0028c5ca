"""What a plan would cost, at the API's edge: ABAXUS's usage by metric, BoxBilling's units for every charge (B43)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from adapters.postgres.catalogue.plan_store import PlanDetail, charges_of
from adapters.postgres.resolver import Found
from adapters.postgres.resources import Metric
from api.catalogue.plan_responses import shown_charge
from api.http.fields import ExactNumber, Name
from billing.aggregations import COUNTING
from billing.charges import Charge
from billing.invoice import InvoiceLine
from billing.numbers import NonNegative
from billing.period import Period
from billing.rating import rate
from billing.usage import Usage
from models.identifiers import shown_id
from models.problems import invalid

#: A simulation bills one full period; which one does not matter, as no fee is prorated.
_ANY_PERIOD: Final = Period(start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime(2026, 2, 1, tzinfo=UTC))


class SimulationBody(BaseModel):
    """UnstoredEvent usage: `usage` by metric (ABAXUS), or the same `units` for every charge (BoxBilling)."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"usage": {"api_calls": 1200000}}, {"units": 120}]}
    )

    usage: Annotated[dict[Name, NonNegative], Field(max_length=200)] | None = None
    units: NonNegative | None = None
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = Field(
        default=None, description="The plan's version; the current one if not given."
    )


class SimulatedStep(BaseModel):
    """One step of a price, in major units; units in (from, up_to]."""

    description: str
    lower: ExactNumber | None = Field(alias="from")
    up_to: ExactNumber | None
    units: ExactNumber
    unit_price: ExactNumber
    flat_fee: ExactNumber
    amount: ExactNumber


class SimulatedLine(BaseModel):
    """What one charge would cost in one full period."""

    charge_id: str
    metric_key: str | None
    description: str
    quantity: ExactNumber
    amount: int = Field(description="Minor units.")
    steps: list[SimulatedStep]


class SimulatedCharge(BaseModel):
    """The same for BoxBilling: one entry for each charge of the plan."""

    charge_id: str
    billable_metric_id: str | None
    charge_model: str
    units: ExactNumber
    amount_cents: int
    properties: dict[str, Any]


class SimulationAnswer(BaseModel):
    """What a plan would cost; nothing is stored."""

    plan_id: str
    plan_version: int
    currency: str
    base_amount_cents: int
    charges: list[SimulatedCharge]
    line_items: list[SimulatedLine]
    total_amount: int = Field(description="Minor units.", examples=[14900])
    total_amount_cents: int


def simulated(found: PlanDetail, body: SimulationBody, metrics: Mapping[str, Metric]) -> dict[str, Any]:
    """Rate hypothetical usage by the very function that invoices are rated by, and show it in both shapes.

    Usage without properties is priced by a filtered charge itself, not by its filters. A metric that counts has as many
    events as units; of others the number of events, and so a percentage's fee for each event, is unknown and left out.
    """
    rows = [row for row in found.charges if "part_of" not in row.supplied]
    charges = charges_of(rows)
    usages = _usages(body, rows, charges, metrics)
    lines = rate(charges, usages, period=_ANY_PERIOD, full_period=_ANY_PERIOD, currency=found.plan.currency)
    paired = list(zip(rows, charges, lines, strict=True))
    total = sum(line.amount_minor for line in lines)
    return {
        "plan_id": found.plan.code,
        "plan_version": found.plan.version,
        "currency": found.plan.currency,
        "base_amount_cents": sum(line.amount_minor for row, _, line in paired if row.position == 0),
        "charges": [_charge(row, found.plan.code, line) for row, _, line in paired if row.position > 0],
        "line_items": [_line(row, line) for row, _, line in paired],
        "total_amount": total,
        "total_amount_cents": total,
    }


def _usages(
    body: SimulationBody, rows: Sequence[Found], charges: Sequence[Charge], metrics: Mapping[str, Metric]
) -> dict[UUID, Usage]:
    if (body.usage is None) == (body.units is None):
        raise invalid("usage", "send either usage (by metric) or units (for every charge)", "missing")
    counting = {row.metric_id for row in rows if row.aggregation in COUNTING}
    charged = {charge.metric_id for charge in charges if charge.metric_id is not None}
    if body.units is not None:
        return {metric: _usage(body.units, metric in counting) for metric in charged}
    usages = {}
    for ref, quantity in (body.usage or {}).items():
        metric = metrics[ref].id
        if metric not in charged:
            raise invalid(f"usage.{ref}", "is priced by no charge of this plan", "metric_not_charged")
        usages[metric] = _usage(quantity, metric in counting)
    return usages


def _usage(quantity: Decimal, counts: bool) -> Usage:
    return Usage(quantity=quantity, events=int(quantity) if counts else 0)


def _charge(row: Found, plan_id: str, line: InvoiceLine) -> dict[str, Any]:
    shown = shown_charge(row, plan_id)
    return {
        "charge_id": shown["id"],
        "billable_metric_id": shown["billable_metric_id"],
        "charge_model": shown["charge_model"],
        "units": line.quantity,
        "amount_cents": line.amount_minor,
        "properties": shown["properties"],
    }


def _line(row: Found, line: InvoiceLine) -> dict[str, Any]:
    return {
        "charge_id": shown_id("charge", row.id),
        "metric_key": row.metric_key,
        "description": line.description,
        "quantity": line.quantity,
        "amount": line.amount_minor,
        "steps": [step.model_dump(by_alias=True) for step in line.steps],
    }
