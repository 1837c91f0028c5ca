"""Usage in units and money: current, projected and past, its daily trend, and the fee of a hypothetical event."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Final, Self
from uuid import UUID

from fastapi import Path, Query, Response
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints

from adapters.postgres import resolver
from adapters.postgres.reports import estimate_store, usage_report_store
from adapters.postgres.reports.trend_store import Days, trend
from adapters.postgres.reports.usage_report_store import PeriodUsage, SubscriptionUsageContext
from api.catalogue.boxbilling_charge_shapes import charge_model_of
from api.http.answers import Answer
from api.http.deps import CallerDep, DatabaseDep
from api.http.responses import reply
from api.http.routing import resource_router
from billing.charges import Charge
from billing.invoice import InvoiceLine
from billing.money import exponent
from billing.numbers import Quantity, exact, plain, rounded_ratio
from billing.period import inclusive_end
from billing.usage import Usage
from models.problems import conflict, invalid

router = resource_router("Usage", idempotent=False)

_LONGEST_TREND: Final = 366
_DEFAULT_TREND: Final = timedelta(days=29)
_MOST_PERIODS: Final = 36
_LIVE: Final = ("trialing", "active", "paused", "suspended")


class BillableMetricUsage(Answer):
    """The metric of a charge."""

    code: str = Field(examples=["api_calls"])
    name: str = Field(examples=["API Calls"])
    aggregation_type: str = Field(examples=["sum"])


class GroupUsage(Answer):
    """The usage of the events with the same values of the properties that a charge is grouped by."""

    group: dict[str, str | None] = Field(examples=[{"region": "eu"}])
    units: str = Field(examples=["1200000"])
    events_count: int
    amount_cents: str = Field(examples=["10000"])
    steps: list[dict[str, object]]

    @classmethod
    def of(cls, line: InvoiceLine) -> Self:
        """Return the usage of one group from its priced line."""
        return cls.showing(
            line,
            group=dict(line.group),
            units=plain(line.quantity),
            events_count=line.events,
            amount_cents=str(line.amount_minor),
            steps=_steps([line]),
        )


class ChargeUsage(Answer):
    """The usage of one charge; `units` and `amount_cents` are decimal strings."""

    billable_metric: BillableMetricUsage
    charge_id: str
    metric_key: str
    units: str = Field(examples=["1200000"])
    events_count: int
    amount_cents: str = Field(examples=["10000"])
    charge_model: str = Field(examples=["graduated"])
    filters: dict[str, str] = Field(
        description="The property values whose events this entry counts; empty for those that no filter takes.",
        examples=[{"region": "eu"}],
    )
    groups: list[GroupUsage] = Field(description="Of a charge with group_by, each group with its own price.")
    steps: list[dict[str, object]] = Field(description="How the amount comes about, tier by tier, in major units.")

    @classmethod
    def of(cls, charge: Charge, used: Usage, lines: Sequence[InvoiceLine], aggregation: str) -> Self:
        """Return the usage of one charge with the lines that price it."""
        return cls.showing(
            charge,
            billable_metric=BillableMetricUsage.showing(
                None, code=charge.metric_key, name=used.metric_name or charge.metric_name, aggregation_type=aggregation
            ),
            charge_id=str(charge.id),
            units=plain(used.billable),
            events_count=used.events,
            amount_cents=str(sum(line.amount_minor for line in lines)),
            charge_model=charge_model_of(charge.model)[0],
            filters=_filters(charge),
            groups=[GroupUsage.of(line) for line in lines if line.group],
            steps=_steps(lines),
        )


def _steps(lines: Sequence[InvoiceLine]) -> list[dict[str, object]]:
    return [step.model_dump(mode="json") for line in lines for step in line.steps]


class CurrentUsageResponse(Answer):
    """The usage of `[from_datetime, to_datetime)`; the plan's fixed fees are not in it."""

    from_datetime: datetime
    to_datetime: datetime = Field(description="Exclusive.")
    amount_cents: str = Field(examples=["10000"])
    currency: str = Field(examples=["usd"])
    charges: list[ChargeUsage]

    @classmethod
    def of(cls, usage: PeriodUsage, **more: object) -> Self:
        """Return the priced usage of a period; `more` are fields that a subclass has beside these."""
        return cls.showing(
            usage,
            from_datetime=usage.period.start,
            to_datetime=usage.period.end,
            amount_cents=str(usage.amount_minor),
            charges=[
                ChargeUsage.of(
                    charge, used, lines, "" if charge.metric_id is None else usage.aggregations[charge.metric_id]
                )
                for charge, used, lines in usage.by_charge
            ],
            **more,
        )


class SubscriptionUsageResponse(CurrentUsageResponse):
    """The current usage of a subscription."""

    subscription_id: str
    subscription_uuid: UUID
    current_usage_amount_cents: str
    billing_period_start: datetime
    billing_period_end: datetime = Field(description="The last second of the period.")


class ProjectedUsageResponse(CurrentUsageResponse):
    """The current period's usage, extrapolated to its end."""

    method: str = Field(examples=["linear"])


def _filters(charge: Charge) -> dict[str, str]:
    """Return which property values a part of a charge with filters counts, as BoxBilling does."""
    only = None if charge.scope is None else charge.scope.only
    return {} if only is None else {match.key: ", ".join(match.values) for match in only.matches}


_Ref = Annotated[str, Path(max_length=255)]
_SubscriptionQuery = Annotated[str | None, Query(max_length=255, description="Without it, the customer's oldest.")]


@router.get(
    "/subscriptions/{subscription_id}/current_usage",
    operation_id="get_subscription_current_usage",
    summary="Get current subscription usage",
    response_model=SubscriptionUsageResponse,
)
async def get_subscription_current_usage(subscription_id: _Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Return what the subscription used so far in its current period, exact to the last accepted event."""
    async with database.transaction(caller.scope) as connection:
        of = await usage_report_store.subscribed(connection, caller.project_id, subscription_id)
        usage = await usage_report_store.usage_in(connection, of, of.current)
    return reply(
        SubscriptionUsageResponse.of(
            usage,
            subscription_id=subscription_id,
            subscription_uuid=of.subscription.id,
            current_usage_amount_cents=str(usage.amount_minor),
            billing_period_start=usage.period.start,
            billing_period_end=inclusive_end(usage.period.end),
        )
    )


@router.get(
    "/customers/{external_id}/current_usage",
    operation_id="get_customer_current_usage",
    summary="Get customer current usage",
    response_model=CurrentUsageResponse,
)
async def get_customer_current_usage(
    external_id: _Ref, caller: CallerDep, database: DatabaseDep, subscription_id: _SubscriptionQuery = None
) -> Response:
    """Return the usage of the current period of one of the customer's subscriptions."""
    async with database.transaction(caller.scope) as connection:
        of = await usage_report_store.subscribed_of_customer(
            connection, caller.project_id, external_id, subscription_id
        )
        return reply(CurrentUsageResponse.of(await usage_report_store.usage_in(connection, of, of.current)))


@router.get(
    "/customers/{external_id}/projected_usage",
    operation_id="get_customer_projected_usage",
    summary="Get customer projected usage",
    response_model=ProjectedUsageResponse,
)
async def get_customer_projected_usage(
    external_id: _Ref, caller: CallerDep, database: DatabaseDep, subscription_id: _SubscriptionQuery = None
) -> Response:
    """Extrapolate the current period to its end at the pace so far; maxima, averages and the like stay as they are."""
    async with database.transaction(caller.scope) as connection:
        of = await usage_report_store.subscribed_of_customer(
            connection, caller.project_id, external_id, subscription_id
        )
        usage = await usage_report_store.projected(connection, of)
    return reply(ProjectedUsageResponse.of(usage, method="linear"))


@router.get(
    "/customers/{external_id}/past_usage",
    operation_id="get_customer_past_usage",
    summary="Get customer past usage",
    response_model=list[CurrentUsageResponse],
)
async def get_customer_past_usage(
    external_id: _Ref,
    caller: CallerDep,
    database: DatabaseDep,
    external_subscription_id: _SubscriptionQuery = None,
    periods_count: Annotated[int, Query(ge=1, le=_MOST_PERIODS)] = 1,
) -> Response:
    """Return the last closed periods, the newest first; none lies before the subscription's start."""
    async with database.transaction(caller.scope) as connection:
        of = await usage_report_store.subscribed_of_customer(
            connection, caller.project_id, external_id, external_subscription_id
        )
        found = await usage_report_store.past(connection, of, periods_count)
    return reply([CurrentUsageResponse.of(usage) for usage in found])


class UsageTrendPoint(Answer):
    """One UTC day."""

    date: date
    value: str = Field(examples=["1250"])
    events_count: int


class UsageTrendResponse(Answer):
    """Usage by day; days without events are there with 0."""

    subscription_id: str
    subscription_uuid: UUID
    start_date: date
    end_date: date
    data_points: list[UsageTrendPoint]


@router.get(
    "/subscriptions/{subscription_id}/usage_trend",
    operation_id="get_subscription_usage_trend",
    summary="Get daily usage trend for a subscription",
    response_model=UsageTrendResponse,
)
async def get_subscription_usage_trend(
    *,
    subscription_id: _Ref,
    caller: CallerDep,
    database: DatabaseDep,
    start_date: Annotated[date | None, Query(description="The first day; 30 days before the end by default.")] = None,
    end_date: Annotated[date | None, Query(description="The last day; by default the subscription's today.")] = None,
    metric_key: Annotated[str | None, Query(max_length=255)] = None,
) -> Response:
    """Return the usage of each UTC day in `[start_date, end_date]`."""
    async with database.transaction(caller.scope) as connection:
        of = await usage_report_store.subscribed(connection, caller.project_id, subscription_id)
        start, end = _span(of, start_date, end_date)
        metric_id = None
        if metric_key is not None:
            metric_id = (await resolver.required(connection, caller.project_id, resolver.METRIC, metric_key)).id
        points = await trend(connection, Days(of.subscription.id, start, end), metric_id)
    return reply(
        UsageTrendResponse.showing(
            None,
            subscription_id=subscription_id,
            subscription_uuid=of.subscription.id,
            start_date=start,
            end_date=end,
            data_points=[
                UsageTrendPoint.showing(day, value=plain(day.value), events_count=day.events) for day in points
            ],
        )
    )


def _span(of: SubscriptionUsageContext, start: date | None, end: date | None) -> tuple[date, date]:
    last = end or (of.now.astimezone(UTC).date() if start is None else max(start, of.now.astimezone(UTC).date()))
    if last <= date.min + _DEFAULT_TREND:
        raise invalid("end_date", "lies too far back")
    first = start or last - _DEFAULT_TREND
    if not 0 <= (last - first).days < _LONGEST_TREND:
        raise invalid("start_date", f"must not be after end_date, and at most {_LONGEST_TREND} days before it")
    return first, last


class EstimateFees(BaseModel):
    """A hypothetical event: BoxBilling's `code` and `properties`, or ABAXUS's `metric_key` and `value`."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"examples": [{"subscription_id": "sub_123", "metric_key": "api_calls", "value": 1000}]},
    )

    subscription_id: Annotated[str, StringConstraints(min_length=1, max_length=255)] = Field(
        validation_alias=AliasChoices("subscription_id", "external_subscription_id")
    )
    code: Annotated[str, StringConstraints(min_length=1, max_length=255)] = Field(
        validation_alias=AliasChoices("code", "metric_key")
    )
    value: Quantity | None = None
    properties: dict[str, Any] = Field(default_factory=dict)


class EstimateFeesResponse(Answer):
    """What the event would add to the current period's bill; amounts are minor units as decimal strings, unrounded."""

    charge_model: str | None = Field(examples=["graduated"])
    metric_code: str
    units: str
    amount_cents: str
    unit_amount_cents: str
    currency: str
    current_usage: str
    skip_reason: str | None = Field(
        description="Why such an event would not count, and so costs nothing.", examples=["property_missing"]
    )


@router.post(
    "/events/estimate_fees",
    operation_id="estimate_event_fees",
    summary="Estimate fees for a hypothetical event",
    response_model=EstimateFeesResponse,
)
async def estimate_event_fees(body: EstimateFees, caller: CallerDep, database: DatabaseDep) -> Response:
    """Price an event of now on top of the current usage, by all charges on its metric, storing nothing."""
    async with database.transaction(caller.scope) as connection:
        of = await usage_report_store.subscribed(connection, caller.project_id, body.subscription_id)
        if of.subscription.status not in _LIVE:
            raise conflict("subscription_not_active", f"The subscription is {of.subscription.status}.")
        found = await estimate_store.estimate(connection, of, body.code, body.value, body.properties)
    with exact():
        cents = found.amount.scaleb(exponent(found.currency))
    each = rounded_ratio(Fraction(cents) / Fraction(found.units)) if found.units else Decimal(0)
    return reply(
        EstimateFeesResponse.showing(
            found,
            charge_model=None if found.charge is None else charge_model_of(found.charge.model)[0],
            metric_code=found.metric_key,
            units=plain(found.units),
            amount_cents=plain(cents),
            unit_amount_cents=plain(each),
            current_usage=plain(found.quantity_before),
        )
    )
