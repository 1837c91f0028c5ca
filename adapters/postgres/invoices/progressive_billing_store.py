"""What the usage of a running period costs so far: what thresholds and spend alerts look at (C29, C30)."""

from dataclasses import dataclass
from uuid import UUID

from adapters.postgres.invoices.billing_store import history_since, version_of
from adapters.postgres.rows import AsyncConnection
from adapters.postgres.usage.usage_store import usages
from billing.invoice import total
from billing.period import Period
from billing.rating import rate


@dataclass(frozen=True)
class PeriodSpend:
    """What the usage of one whole period costs, billed or not, in minor units.

    Fixed fees, taxes and discounts are not in it (C30).
    """

    currency: str
    amount_minor: int


async def period_spend(
    connection: AsyncConnection, subscription_id: UUID, period: Period, *, plan_version_id: UUID
) -> PeriodSpend:
    """Price the usage of a period so far, under the version that billed it before, else the given one."""
    history = await history_since(connection, subscription_id, period.start)
    version = await version_of(connection, history.versions.get(period.start, plan_version_id))
    metered = [charge for charge in version.charges if charge.metered]
    used = await usages(connection, subscription_id, metered, period=period) if metered else {}
    priced = rate(metered, used, period=period, full_period=period, currency=version.currency)
    return PeriodSpend(version.currency, total(priced))
