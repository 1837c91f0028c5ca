"""The activity log: what arrived, what it was rated at, what was charged (UsageBox)."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, Self

from fastapi import Query, Request, Response
from pydantic import Field

from adapters.postgres import resolver
from adapters.postgres.limits import quota_store
from adapters.postgres.limits.quota_store import Quota
from adapters.postgres.reports import activity_store
from adapters.postgres.reports.activity_store import ActivityFilter, EventEntry, InvoiceEntry
from api.http.answers import Answer, EventTime
from api.http.deps import CallerDep, DatabaseDep
from api.http.pagination import LISTED, PageDep, listed
from api.http.responses import exact_instant, instant, reply
from api.http.routing import resource_router
from billing.aggregations import COUNTING
from billing.money import exponent, to_major
from billing.numbers import exact, plain
from billing.period import inclusive_end
from models.identifiers import parse_id, shown_id
from models.problems import invalid

router = resource_router("Activity")


class ActivityResponse(Answer):
    """An event with what it added to the bill, a rating outcome, or a charge."""

    id: str
    type: Literal["event", "rating", "charge"]
    status: str = Field(examples=["counted", "skipped", "issued", "charged"])
    title: str
    subscription_id: str | None
    customer_id: str | None
    meter_id: str | None = Field(examples=["met_01hx8kj2p3q4r5s6t7u8v9w0a1"])
    metric_key: str | None = Field(examples=["api_calls"])
    quantity: Decimal | None = Field(examples=[1])
    amount: Decimal | None = Field(
        description="Major units, unrounded; null for what no single event decides, such as a maximum.", examples=[0.01]
    )
    amount_cents: str | None = Field(examples=["1"])
    currency: str | None
    reason: str | None = Field(description="Why a skipped event does not count.", examples=["unknown_metric"])
    invoice_id: str | None
    occurred_at: EventTime
    recorded_at: datetime

    @classmethod
    def of(cls, entry: EventEntry | InvoiceEntry) -> Self:
        """Return the answer for an entry of the log."""
        return cls._of_event(entry) if isinstance(entry, EventEntry) else cls._of_invoice(entry)

    @classmethod
    def _of_event(cls, event: EventEntry) -> Self:
        own = event.subscription_id
        return cls.showing(
            event,
            id=shown_id("event", event.id),
            type="event",
            title="Usage counted" if event.status == "counted" else f"Usage {event.status}",
            subscription_id=shown_id("subscription", own)
            if event.subscription_ref is None and own is not None
            else event.subscription_ref,
            customer_id=event.customer_ref,
            meter_id=event.metric_ref if event.metric_id is None else shown_id("metric", event.metric_id),
            metric_key=event.metric_key or event.metric_ref,
            quantity=Decimal(1) if event.aggregation in COUNTING else event.value,
            amount_cents=_cents(event.amount, event.currency),
            reason=event.skip_reason,
            invoice_id=None,
            occurred_at=exact_instant(event.occurred_at),
            recorded_at=event.received_at,
        )

    @classmethod
    def _of_invoice(cls, entry: InvoiceEntry) -> Self:
        own, total, currency = entry.subscription_id, entry.total_minor, entry.currency
        amount = None if total is None or currency is None else to_major(total, currency)
        return cls.showing(
            entry,
            id=str(entry.id),
            status=entry.action,
            title=entry.title or f"Invoice {entry.action.replace('_', ' ')}",
            subscription_id=None if own is None else shown_id("subscription", own),
            customer_id=entry.customer_code,
            meter_id=None,
            metric_key=None,
            quantity=None,
            amount=amount,
            amount_cents=_cents(amount, currency),
            reason=None,
            invoice_id=shown_id("invoice", entry.resource_id),
            occurred_at=instant(entry.occurred_at),
        )


def _cents(amount: Decimal | None, currency: str | None) -> str | None:
    if amount is None or currency is None:
        return None
    with exact():
        return plain(amount.scaleb(exponent(currency)))


@router.get(
    "/activity",
    operation_id="list_activity",
    summary="Inspect rating outcomes, charges, and events",
    response_model=list[ActivityResponse],
    responses=LISTED,
)
async def list_activity(
    *,
    request: Request,
    caller: CallerDep,
    database: DatabaseDep,
    page: PageDep,
    subscription_id: Annotated[str | None, Query(max_length=255)] = None,
    meter_id: Annotated[str | None, Query(max_length=255)] = None,
    type: Annotated[Literal["event", "rating", "charge"] | None, Query()] = None,
    status: Annotated[Literal["counted", "skipped", "voided"] | None, Query()] = None,
) -> Response:
    """Return the newest entries first: events with status, quantity and amount, and what became of invoices."""
    if page.order_by is not None or page.after is not None:
        raise invalid("order_by" if page.order_by is not None else "cursor", "is not for activity: the newest is first")
    if page.skip > activity_store.MOST_SKIPPED:
        raise invalid("skip", f"is at most {activity_store.MOST_SKIPPED} here")
    async with database.transaction(caller.scope) as connection:
        subscription = None
        if subscription_id is not None:
            row = await resolver.required(connection, caller.project_id, resolver.SUBSCRIPTION, subscription_id)
            subscription = row.id
        wanted = ActivityFilter(
            type=type,
            status=status,
            subscription_id=subscription,
            metric=meter_id,
            metric_id=None if meter_id is None else parse_id(meter_id),
        )
        found = await activity_store.recent(connection, caller.project_id, wanted, skip=page.skip, limit=page.limit)
        total = await activity_store.counted(connection, caller.project_id, wanted)
    headers = {"X-Total-Count": str(total)}
    if len(found) == page.limit:
        following = request.url.include_query_params(skip=page.skip + page.limit, limit=page.limit)
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return reply([ActivityResponse.of(each) for each in found], headers=headers)


class QuotaResponse(Answer):
    """How a subscription's usage of a metric stands against its plan's quota, or against a limit of its own.

    Usage above a plan's quota is counted and billed; a limit refuses reservations above it.
    """

    subscription_id: str
    customer_id: str
    metric_key: str = Field(examples=["api_calls"])
    source: Literal["plan", "limit"]
    limit: Decimal = Field(examples=[100])
    used: Decimal = Field(examples=[150])
    remaining: Decimal = Field(examples=[0])
    exceeded: bool = Field(examples=[True])
    period_start: datetime
    period_end: datetime = Field(description="Inclusive: one second before the next period.")

    @classmethod
    def of(cls, quota: Quota) -> Self:
        """Return the answer for a quota or a limit."""
        return cls.showing(
            quota,
            subscription_id=quota.external_id or shown_id("subscription", quota.subscription_id),
            customer_id=quota.customer_code,
            limit=quota.most,
            remaining=quota.left,
            period_end=inclusive_end(quota.period_end),
        )


@router.get(
    "/activity/limits",
    operation_id="list_activity_limits",
    summary="Show how usage stands against quotas and limits",
    response_model=list[QuotaResponse],
    responses=LISTED,
)
async def list_activity_limits(
    *,
    request: Request,
    caller: CallerDep,
    database: DatabaseDep,
    page: PageDep,
    subscription_id: Annotated[str | None, Query(max_length=255)] = None,
) -> Response:
    """Return quotas (a plan's entitlement under the metric's key) and limits of live subscriptions, current period."""
    async with database.transaction(caller.scope) as connection:
        subscription = None
        if subscription_id is not None:
            row = await resolver.required(connection, caller.project_id, resolver.SUBSCRIPTION, subscription_id)
            subscription = row.id
        found, total = await quota_store.quotas(
            connection, caller.project_id, subscription_id=subscription, skip=page.skip, limit=page.limit
        )
    return listed(page, [QuotaResponse.of(each) for each in found], total, request)
