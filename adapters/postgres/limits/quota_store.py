"""How the usage of live subscriptions stands against what their plans grant and their limits cap (B72)."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.usage.quantity_store import UsageWindow
from adapters.postgres.usage.usage_store import usages_of_many
from billing.numbers import exact
from billing.period import Period
from billing.usage import NO_USAGE

# A plan's quota for a metric is the entitlement whose feature has the metric's key as code.
_QUOTAS: Final = """
    WITH quotas AS (
        SELECT s.id, s.external_id, s.customer_id, s.current_period_start, s.current_period_end, m.id AS metric_id,
               m.key, g.value::numeric AS most, 'plan' AS source
        FROM subscriptions s
        JOIN entitlements g ON g.plan_id = s.plan_id
        JOIN features f ON f.id = g.feature_id AND f.feature_type = 'quantity' AND f.deleted_at IS NULL
        JOIN metrics m ON m.project_id = s.project_id AND m.key = f.code AND m.deleted_at IS NULL
        WHERE s.project_id = :project AND s.status NOT IN ('canceled', 'terminated', 'pending')
          AND (CAST(:subscription AS uuid) IS NULL OR s.id = :subscription)
        UNION ALL
        SELECT s.id, s.external_id, s.customer_id, s.current_period_start, s.current_period_end, m.id, m.key,
               l.cap, 'limit'
        FROM usage_limits l JOIN subscriptions s ON s.id = l.subscription_id JOIN metrics m ON m.id = l.metric_id
        WHERE s.project_id = :project AND s.status NOT IN ('canceled', 'terminated', 'pending')
          AND (CAST(:subscription AS uuid) IS NULL OR s.id = :subscription)
    )
"""
_COUNT: Final = text(_QUOTAS + "SELECT count(*) FROM quotas")  # noqa: S608 - constants
_PAGE: Final = text(
    _QUOTAS  # noqa: S608 - constants
    + "SELECT q.*, c.code AS customer_code FROM quotas q JOIN customers c ON c.id = q.customer_id "
    + "ORDER BY q.id DESC, q.key, q.source OFFSET :skip LIMIT :limit"
)


@dataclass(frozen=True)
class Quota:
    """What a subscription may use of a metric in its current period, and what it has used."""

    subscription_id: UUID
    external_id: str | None
    customer_code: str
    metric_id: UUID
    metric_key: str
    source: str
    most: Decimal
    used: Decimal
    period_start: datetime
    period_end: datetime

    @property
    def exceeded(self) -> bool:
        """Return whether more was used than granted."""
        return self.used > self.most

    @property
    def left(self) -> Decimal:
        """What may still be used; never below 0."""
        with exact():
            return max(self.most - self.used, Decimal(0))


async def quotas(
    connection: AsyncConnection, project_id: UUID, *, subscription_id: UUID | None, skip: int, limit: int
) -> tuple[list[Quota], int]:
    """Return one part of the quotas of live subscriptions, those of the newest subscription first, and their number."""
    names = {"project": project_id, "subscription": subscription_id}
    total = int(await connection.scalar(_COUNT, names) or 0)
    rows = (await connection.execute(_PAGE, {**names, "skip": skip, "limit": limit})).all()
    begun = [row for row in rows if row.current_period_start is not None]
    windows = [_window(row) for row in begun]
    used = await usages_of_many(connection, list(dict.fromkeys(windows)))
    pairs = zip(begun, windows, strict=True)
    return [_quota(row, used.get(window, NO_USAGE).quantity) for row, window in pairs], total


def _window(row: Any) -> UsageWindow:
    return UsageWindow(row.id, row.metric_id, Period(start=row.current_period_start, end=row.current_period_end))


def _quota(row: Any, used: Decimal) -> Quota:
    return Quota(
        subscription_id=row.id,
        external_id=row.external_id,
        customer_code=row.customer_code,
        metric_id=row.metric_id,
        metric_key=row.key,
        source=row.source,
        most=row.most,
        used=used,
        period_start=row.current_period_start,
        period_end=row.current_period_end,
    )
