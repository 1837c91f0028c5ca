"""What the alerts and thresholds of a subscription are compared with: quantities, projections, spend, wallets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, or_, select, text

from adapters.postgres.alerts.records import UsageAlert
from adapters.postgres.database import driver
from adapters.postgres.invoices.progressive_billing_store import period_spend
from adapters.postgres.prepared import Prepared
from adapters.postgres.reports.usage_report_store import GROWS
from adapters.postgres.rows import AsyncConnection
from adapters.postgres.usage.usage_store import metric_usages, usages
from billing.alerts import Threshold, projected
from billing.charges import Charge, PerUnit
from billing.period import Period
from billing.scope import Combination, EventScope
from models.messages.alerting import EvaluateAlerts
from models.tables import metrics, plan_versions, subscriptions, usage_alerts, wallets

_COLUMNS: Final[dict[str, ColumnElement[Any]]] = {
    **dict(usage_alerts.c.items()),
    "metric_key": metrics.c.key.label("metric_key"),
    "grows": GROWS.label("grows"),
}
VIEWED_ALERTS: Final = select(*(_COLUMNS[field.name] for field in fields(UsageAlert))).outerjoin_from(
    usage_alerts, metrics, metrics.c.id == usage_alerts.c.metric_id
)
"""Selects the fields of `UsageAlert`, in their order."""


@dataclass(frozen=True)
class Measured:
    """What was measured: a quantity for each alert that has one, and the spend if anything asks for it.

    `quantities` are units of the metric, for money minor units of `currency`. `crossed_before` are thresholds that were
    crossed on this occasion by another look; `thresholds` is empty while the subscription is not billed, and
    `has_thresholds` says that there are some all the same. `unpriced` says why the spend cannot be told.
    """

    quantities: Mapping[UUID, Decimal]
    has_thresholds: bool = False
    thresholds: Sequence[Threshold] = ()
    crossed_before: frozenset[UUID] = frozenset()
    spend_minor: int = 0
    currency: str = ""
    unpriced: str | None = None


async def measure(
    connection: AsyncConnection, message: EvaluateAlerts, alerts: Sequence[UsageAlert], *, without_spend: bool = False
) -> Measured:
    """Read everything that an evaluation compares; what nothing asks for costs no statement.

    Usage that cannot be priced raises `ValueError` or `ArithmeticError`; `without_spend` measures the rest all the
    same.
    """
    subscription_id = message.subscription.subscription_id
    period = Period(start=message.period_start, end=message.period_end)
    every, before = await _thresholds(connection, message)
    thresholds = every if message.billable and not message.closing else []
    quantities = await quantities_of(connection, subscription_id, alerts, period, at=message.at)
    kinds = {row.kind for row in alerts}
    currency, spend_minor, unpriced = "", 0, None
    # In a trial and in a pause nothing is spent, and a threshold that was crossed asks for nothing.
    if message.billable and ("spend" in kinds or any(each.id not in before for each in thresholds)):
        try:
            spend = await period_spend(connection, subscription_id, period, plan_version_id=message.plan_version_id)
            currency, spend_minor = spend.currency, spend.amount_minor
        except (ValueError, ArithmeticError) as error:
            if not without_spend:
                raise
            unpriced = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        else:
            quantities |= {row.id: Decimal(spend_minor) for row in alerts if row.kind == "spend"}
    if "wallet_balance" in kinds:
        currency = currency or await _currency(connection, message.plan_version_id)
        balance = await wallet_balance(connection, subscription_id, currency, at=message.at)
        quantities |= {row.id: balance for row in alerts if row.kind == "wallet_balance"}
    return Measured(quantities, bool(every), thresholds, before, spend_minor, currency, unpriced)


async def quantities_of(
    connection: AsyncConnection, subscription_id: UUID, alerts: Sequence[UsageAlert], period: Period, *, at: datetime
) -> dict[UUID, Decimal]:
    """Return the quantity of each alert on usage, keyed by alert; none for a projection in its period's first tenth.

    What does not grow with time, such as a maximum, is its own projection.
    """
    on_usage = [row for row in alerts if row.metric_id is not None]
    plain = {row.id: row.metric_id for row in on_usage if row.metric_id is not None and row.filter is None}
    found: dict[UUID, Decimal] = {}
    if plain:
        whole = await metric_usages(connection, subscription_id, sorted(set(plain.values())), period)
        found |= {alert: whole[metric].quantity for alert, metric in plain.items()}
    parts = [row for row in on_usage if row.filter is not None]
    if parts:
        counted = await usages(connection, subscription_id, [_part(row) for row in parts], period)
        found |= {row.id: counted[row.id].quantity for row in parts}
    for row in on_usage:
        if row.kind == "projected_usage":
            so_far = found.pop(row.id)
            quantity = projected(so_far, period, at)
            found |= {} if quantity is None else {row.id: quantity if row.grows else so_far}
    return found


def _part(row: UsageAlert) -> Charge:
    """Count an alert's part of its metric's events in the way in which a charge with a filter counts its own."""
    scope = EventScope(buckets=(Combination.model_validate(row.filter),), bucket=0)
    return Charge(id=row.id, metric_id=row.metric_id, scope=scope, model=PerUnit(unit_price=Decimal(0)))


_THRESHOLDS: Final = Prepared(
    text("""
    SELECT t.id, t.amount_cents, EXISTS (
        SELECT FROM usage_threshold_crossings c
        WHERE c.usage_threshold_id = t.id AND c.subscription_id = s.id AND c.billing_key <> :billing_key
          AND (NOT t.recurring OR c.period_start = :period_start)
    ) AS crossed
    FROM subscriptions s JOIN usage_thresholds t ON t.subscription_id = s.id OR t.plan_id = s.plan_id
    JOIN plan_versions v ON v.id = s.plan_version_id AND upper(v.currency) = upper(t.currency)
    WHERE s.id = :subscription AND t.deleted_at IS NULL
    """)
)


async def _thresholds(connection: AsyncConnection, message: EvaluateAlerts) -> tuple[list[Threshold], frozenset[UUID]]:
    """Return the thresholds of the subscription and of its plan, and which of them are crossed on this occasion.

    A plan's threshold is an amount in the currency that the plan had then: versions in another one have not got it.
    One that was crossed by an earlier run of this very look counts as open, so that its invoice is found (C8).
    """
    asked = {
        "subscription": message.subscription.subscription_id,
        "billing_key": message.billing_key,
        "period_start": message.period_start,
    }
    rows = await (await _THRESHOLDS.run(await driver(connection), asked)).fetchall()
    return (
        [Threshold(id=row.id, amount_minor=row.amount_cents) for row in rows],
        frozenset(row.id for row in rows if row.crossed),
    )


async def _currency(connection: AsyncConnection, plan_version_id: UUID) -> str:
    found = await connection.scalar(select(plan_versions.c.currency).where(plan_versions.c.id == plan_version_id))
    return str(found)


async def wallet_balance(connection: AsyncConnection, subscription_id: UUID, currency: str, *, at: datetime) -> Decimal:
    """Return what the customer's wallets of a currency hold, in minor units: nothing once expired or terminated."""
    held = func.coalesce(func.sum(wallets.c.credits_balance * wallets.c.rate_amount), 0)
    return Decimal((await connection.execute(_of_wallets(held, subscription_id, currency, at))).scalar_one())


async def next_expiry(
    connection: AsyncConnection, subscription_id: UUID, currency: str, *, at: datetime
) -> datetime | None:
    """Return the instant at which the first of these wallets expires that holds something; None if none does."""
    first = _of_wallets(func.min(wallets.c.expires_at), subscription_id, currency, at)
    found: datetime | None = (await connection.execute(first.where(wallets.c.credits_balance > 0))).scalar_one()
    return found


def _of_wallets(what: ColumnElement[Any], subscription_id: UUID, currency: str, at: datetime) -> Select[Any]:
    """Select something of the customer's wallets of a currency that have not expired by an instant."""
    return (
        select(what)
        .join(subscriptions, subscriptions.c.customer_id == wallets.c.customer_id)
        .where(
            subscriptions.c.id == subscription_id,
            wallets.c.status == "active",
            func.upper(wallets.c.currency) == currency.upper(),
            or_(wallets.c.expires_at.is_(None), wallets.c.expires_at > at),
        )
    )
