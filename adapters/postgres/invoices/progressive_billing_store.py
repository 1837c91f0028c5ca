"""What the usage of a running period costs so far, and the invoice of the part that is not billed yet (C29, C30).

The prices come from the functions that close periods, so that the invoices of a period add up to one rating (B155).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from adapters.postgres.invoices.billing_store import Bill, Billed, billed_since, version_of
from adapters.postgres.rows import AsyncConnection
from adapters.postgres.usage.usage_store import usages
from billing.invoice import total
from billing.period import Period
from billing.progressive import unbilled_usage
from billing.rating import ProposedLine, rate

_SHORTEST: Final = timedelta(seconds=1)


@dataclass(frozen=True)
class PeriodSpend:
    """The usage lines of one whole period, priced as at its end, and what of them was billed before."""

    period: Period
    currency: str
    proposed: tuple[ProposedLine, ...]
    before: Billed

    @property
    def amount_minor(self) -> int:
        """What the usage costs, billed or not; fixed fees, taxes and discounts are not in it (C30)."""
        return total(self.proposed)


async def period_spend(
    connection: AsyncConnection, subscription_id: UUID, period: Period, *, plan_version_id: UUID
) -> PeriodSpend:
    """Price the usage of a period so far, under the version that billed it before, else the given one."""
    before = await billed_since(connection, subscription_id, period.start)
    version = await version_of(connection, before.versions.get(period.start, plan_version_id))
    metered = [charge for charge in version.charges if charge.metered]
    used = await usages(connection, subscription_id, metered, period=period) if metered else {}
    proposed = rate(metered, used, period=period, full_period=period, currency=version.currency)
    return PeriodSpend(period, version.currency, tuple(proposed), before)


async def unbilled(
    connection: AsyncConnection, subscription_id: UUID, period: Period, *, at: datetime, plan_version_id: UUID
) -> Bill:
    """Work out the invoice in the middle of a period: its usage so far, less what was billed of it (C30).

    Without fixed fees, which stay for the period's end (B156), and without charges that were not used. It shows the
    time from the last invoice of the period to `at`. Must come after the lock of `billing_store.terms_of`.
    """
    spend = await period_spend(connection, subscription_id, period, plan_version_id=plan_version_id)
    lines = unbilled_usage(spend.before.lines, spend.proposed)
    return Bill(
        lines=lines,
        currency=spend.currency,
        period=_shown(spend, at),
        last_invoice_id=spend.before.last_invoice_id,
    )


def _shown(spend: PeriodSpend, at: datetime) -> Period:
    """Return the time that the invoice shows; it ends before the period does, which stays open."""
    start, closed = spend.period.start, spend.before.closed_until
    begins = start if closed is None or not start < closed < at else closed
    return Period(start=begins, end=max(at, begins + _SHORTEST))
