"""What one more event would cost on top of a subscription's current usage (B75); stores nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.events.correction_store import metric_of
from adapters.postgres.events.ingest_events import IngestEvent
from adapters.postgres.events.ingest_targets import value_of
from adapters.postgres.reports.usage_report_store import SubscriptionUsageContext
from adapters.postgres.resolver import resolve_metrics
from adapters.postgres.usage.event_slice_store import EventSlice, UnstoredEvent, usage_of_part
from adapters.postgres.usage.quantity_store import measures_of
from adapters.postgres.usage.usage_store import usages
from billing.charges import Charge
from billing.numbers import exact, plain
from billing.scope import group_of
from billing.usage import NO_USAGE, Usage
from models.problems import not_found


@dataclass(frozen=True)
class Estimate:
    """What one more event would add: units of the metric and money in major units, unrounded.

    `charge` is the first that prices it, None if none does; `skip_reason` says why such an event would not count.
    """

    metric_key: str
    charge: Charge | None
    units: Decimal
    quantity_before: Decimal
    amount: Decimal
    currency: str
    skip_reason: str | None = None


async def estimate(
    connection: AsyncConnection,
    of: SubscriptionUsageContext,
    metric_ref: str,
    value: Decimal | None,
    properties: Mapping[str, object],
) -> Estimate:
    """Price a hypothetical event of now, read as ingestion reads one, by all charges on its metric.

    Its properties decide the filter by which a charge prices it, and the group on whose usage it comes. Raises
    `Problem` 404 `metric_not_found`.
    """
    metric = (await resolve_metrics(connection, of.subscription.project_id, [metric_ref])).get(metric_ref)
    if metric is None:
        raise not_found("metric", metric_ref)
    kind = await metric_of(connection, metric.project_id, metric.key, metric.id)
    assert kind is not None, "the metric was found"
    sent = IngestEvent(metric.key, value=None if value is None else plain(value), properties=dict(properties))
    counts_for, reason = value_of(kind, sent)
    charges = [each for each in of.metered if each.metric_id == metric.id]
    charges = [each for each in charges if each.scope is None or each.scope.holds(properties)]
    if reason is not None or not charges:
        first = charges[0] if charges else None
        units = Decimal(counts_for or 0) if reason is None else Decimal(0)
        return Estimate(metric.key, first, units, Decimal(0), Decimal(0), of.version.currency, reason)
    end = of.current.end - timedelta(microseconds=1)
    event = UnstoredEvent(
        None if counts_for is None else Decimal(counts_for), properties, max(min(of.now, end), of.current.start)
    )
    measure = (await measures_of(connection, [metric.id]))[metric.id]
    part = EventSlice(of.subscription.id, metric.id, measure, of.current)
    steps = await _steps(connection, charges, part, event)
    with exact():
        amount = sum(
            (charge.model.amount_between(*step) for charge, step in zip(charges, steps, strict=True)), Decimal(0)
        )
        units = steps[0][1].quantity - steps[0][0].quantity
    return Estimate(metric.key, charges[0], units, steps[0][0].quantity, amount, of.version.currency)


async def _steps(
    connection: AsyncConnection, charges: list[Charge], part: EventSlice, event: UnstoredEvent
) -> list[tuple[Usage, Usage]]:
    """Return the usage that each charge prices before the event, and with it."""
    found = await usages(connection, part.subscription_id, charges, part.period)
    steps: list[tuple[Usage, Usage]] = []
    for charge in charges:
        before = _before(charge, found.get(charge.id, NO_USAGE), event)
        own = part.priced_together(charge, event.properties)
        steps.append((before, await _after(connection, own, charge, before, event)))
    return steps


def _before(charge: Charge, usage: Usage, event: UnstoredEvent) -> Usage:
    """Return the usage that the event comes on top of: the charge's, or that of the event's group."""
    if not charge.group_by:
        return usage
    group = group_of(charge.group_by, event.properties)
    return next((part.usage for part in usage.groups if part.group == group), NO_USAGE)


async def _after(
    connection: AsyncConnection, part: EventSlice, charge: Charge, before: Usage, event: UnstoredEvent
) -> Usage:
    """Return the usage with the event: added up where that is exact, else folded from the events and this one."""
    folding = part.measure.folding
    own = folding.worth_of(event.value)
    if charge.model.is_ordered:
        return charge.model.with_event(before, own)
    if folding.is_additive and part.measure.rounding is None:
        with exact():
            quantity = before.quantity + own
    else:
        quantity = (await usage_of_part(connection, part, event)).quantity
    with exact():
        priced = before.priced + charge.model.cost_of(event.value, event.properties)
    return Usage(quantity=quantity, events=before.events + 1, priced=priced)
