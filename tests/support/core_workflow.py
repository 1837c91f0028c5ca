"""A workflow that rates a month with the rules of billing/, for running them inside Temporal's sandbox."""

from datetime import UTC, datetime
from uuid import UUID

from temporalio import workflow

from billing.aggregations import EventValue, aggregation
from billing.charges import CHARGE_MODEL, Charge, Usage
from billing.closing.difference import difference
from billing.invoice import total
from billing.period import BillingCycle
from billing.rating import rate

METRIC = UUID(int=1)


@workflow.defn
class RateAMonth:
    """Fold two events, price them with a fixed fee in a Berlin month, and answer with the invoice's total in cents."""

    @workflow.run
    async def run(self) -> int:
        cycle = BillingCycle(
            interval="monthly",
            anchor=datetime(2026, 3, 10, tzinfo=UTC),
            timezone="Europe/Berlin",
            alignment="calendar",
        )
        at = datetime(2026, 3, 20, tzinfo=UTC)
        period = cycle.period_containing(at)
        events = [EventValue(key=key, value=1500, occurred_at=at, received_at=at) for key in ("a", "b")]
        usage = Usage(quantity=aggregation("sum").fold(events, period), events=2)
        included = CHARGE_MODEL.validate_python({"kind": "included", "included": 1000, "unit_price": "0.01"})
        fee = CHARGE_MODEL.validate_python({"kind": "flat", "amount": "49.00"})
        charges = (
            Charge(id=UUID(int=2), metric_id=METRIC, metric_name="API Calls", model=included),
            Charge(id=UUID(int=3), description="Base fee", model=fee),
        )
        full = cycle.full_period_containing(at)
        lines = rate(charges, {METRIC: usage}, period=period, full_period=full, currency="usd")
        return total(difference({}, lines))
