"""What the portal reads of its customer, for the JSON routes and for the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final
from uuid import UUID

from adapters.postgres.catalogue import entitlement_store
from adapters.postgres.catalogue.entitlement_store import Entitlement
from adapters.postgres.customers import clock_store, customer_store
from adapters.postgres.invoices import invoice_store
from adapters.postgres.invoices.invoice_store import InvoiceFilter
from adapters.postgres.paging import Page
from adapters.postgres.reports import portal_store, usage_report_store
from adapters.postgres.reports.usage_report_store import PeriodUsage, SubscriptionUsageContext
from adapters.postgres.resources import Customer
from adapters.postgres.rows import AsyncConnection
from adapters.postgres.subscriptions import subscription_store
from adapters.postgres.subscriptions.subscription_store import Subscription, SubscriptionFilter
from api.customers.customer_shapes import DEFAULT_CURRENCY
from api.invoices.invoice_shapes import PortalInvoice
from api.portal.portal_auth import PortalCaller, customer_of
from api.portal.portal_shapes import (
    VISIBLE_STATUSES,
    PortalCustomer,
    PortalDashboardSummary,
    PortalNextBilling,
    PortalQuickActions,
    PortalSubscription,
    PortalUpcomingCharge,
    PortalUsageProgress,
    fixed_fees,
)
from billing.money import to_minor
from billing.numbers import exact, parse_decimal, plain, rounded_ratio
from billing.period import zone
from models.problems import not_found

_MOST_SUBSCRIPTIONS: Final = 100
_ACTIVE: Final = ("active", "trialing")


@dataclass(frozen=True)
class PortalSubscriptionView:
    """A subscription of the customer with its pinned plan version and, where it was asked for, its current usage."""

    row: Subscription
    of: SubscriptionUsageContext
    usage: PeriodUsage | None = None

    @property
    def fee_minor(self) -> int:
        """The fixed fees of a whole period, in minor units."""
        return to_minor(fixed_fees(self.of.version.charges), self.of.version.currency)

    @property
    def next_billing(self) -> datetime:
        """The end of the running period, exclusive; of the first one before the start."""
        return self.of.current.end

    @property
    def days_left(self) -> int:
        """Calendar days of the billing time zone until then."""
        local = zone(self.row.timezone)
        left = self.next_billing.astimezone(local).date() - self.of.now.astimezone(local).date()
        return max(0, left.days)

    def document(self) -> PortalSubscription:
        """Show it."""
        return PortalSubscription.of(self.row, self.fee_minor)


async def customer_profile(connection: AsyncConnection, caller: PortalCaller) -> PortalCustomer:
    """Show the customer to itself."""
    return await own_profile(connection, caller, await customer_of(connection, caller))


async def own_profile(connection: AsyncConnection, caller: PortalCaller, row: Customer) -> PortalCustomer:
    """Show the customer's row, with what applies where it has set nothing."""
    by = await customer_store.billing_entity_terms_of(connection, caller.project_id, [row])
    return PortalCustomer.of(row, by[row.billing_entity_id])


async def subscriptions_of_customer(
    connection: AsyncConnection, caller: PortalCaller, *, usage: bool = False
) -> list[PortalSubscriptionView]:
    """List the customer's subscriptions, newest first; with ``usage``, those that have not ended carry theirs."""
    wanted = SubscriptionFilter(customer_id=caller.customer_id)
    page = Page(limit=_MOST_SUBSCRIPTIONS)
    rows, _ = await subscription_store.listed(connection, caller.project_id, wanted, page)
    return [await _held(connection, caller, row, usage=usage and row.ended_at is None) for row in rows]


async def subscription_of_customer(
    connection: AsyncConnection, caller: PortalCaller, ref: str
) -> PortalSubscriptionView:
    """Read one subscription of the customer. Raises ``Problem`` 404, also for another customer's."""
    row = await subscription_store.view(connection, caller.project_id, ref)
    if row.customer_id != caller.customer_id:
        raise not_found("subscription", ref)
    return await _held(connection, caller, row, usage=False)


async def _held(
    connection: AsyncConnection, caller: PortalCaller, row: Subscription, *, usage: bool
) -> PortalSubscriptionView:
    of = await usage_report_store.subscribed(connection, caller.project_id, str(row.id))
    return PortalSubscriptionView(
        row, of, await usage_report_store.usage_in(connection, of, of.current) if usage else None
    )


async def invoices(
    connection: AsyncConnection, caller: PortalCaller, page: Page
) -> tuple[list[PortalInvoice], int, UUID | None]:
    """List the customer's issued invoices with their lines, newest first; with their number and the last one's uuid."""
    wanted = InvoiceFilter(customer_id=caller.customer_id, statuses=VISIBLE_STATUSES)
    rows, total = await invoice_store.listed(connection, caller.project_id, wanted, page)
    lines = await invoice_store.lines_of(connection, [row.id for row in rows])
    return [PortalInvoice.of(row, lines.get(row.id, [])) for row in rows], total, rows[-1].id if rows else None


async def invoice(connection: AsyncConnection, caller: PortalCaller, ref: str) -> PortalInvoice:
    """Read one invoice of the customer. Raises ``Problem`` 404, also for another customer's and for a draft (B169)."""
    row = await invoice_store.view(connection, caller.project_id, ref)
    if row.customer_id != caller.customer_id or row.status not in VISIBLE_STATUSES:
        raise not_found("invoice", ref)
    return PortalInvoice.of(row, (await invoice_store.lines_of(connection, [row.id])).get(row.id, []))


async def summary(connection: AsyncConnection, caller: PortalCaller) -> PortalDashboardSummary:
    """Return what is due next, what it comes to so far, how far limits are used, and what is to be paid."""
    customer = await customer_of(connection, caller)
    running = [
        each for each in await subscriptions_of_customer(connection, caller, usage=True) if each.usage is not None
    ]
    return PortalDashboardSummary(
        next_billing=[_next_billing(each) for each in running],
        upcoming_charges=[_upcoming(each) for each in running],
        usage_progress=[line for each in running for line in await _progress(connection, each)],
        quick_actions=await _quick_actions(connection, customer, running),
    )


def _next_billing(each: PortalSubscriptionView) -> PortalNextBilling:
    shown = each.document()
    return PortalNextBilling(
        subscription_id=shown.id,
        subscription_external_id=shown.external_id,
        plan_name=each.row.plan_name,
        currency=each.of.version.currency,
        plan_interval=each.row.interval,
        next_billing_date=each.next_billing,
        days_until_next_billing=each.days_left,
        amount_cents=each.fee_minor,
    )


def _upcoming(each: PortalSubscriptionView) -> PortalUpcomingCharge:
    shown, used = each.document(), 0 if each.usage is None else each.usage.amount_minor
    return PortalUpcomingCharge(
        subscription_id=shown.id,
        subscription_external_id=shown.external_id,
        plan_name=each.row.plan_name,
        currency=each.of.version.currency,
        base_amount_cents=each.fee_minor,
        usage_amount_cents=used,
        total_estimated_cents=each.fee_minor + used,
    )


async def _progress(connection: AsyncConnection, each: PortalSubscriptionView) -> list[PortalUsageProgress]:
    """Set each entitlement of the plan beside the usage of the metric with the feature's code."""
    used: dict[str | None, Decimal] = {}
    if each.usage is not None:
        with exact():
            for charge, line in each.usage.by_line:
                used[charge.metric_key] = used.get(charge.metric_key, Decimal(0)) + line.quantity
    granted = await entitlement_store.of_plan(connection, each.row.plan_id)
    return [_limit(row, used.get(row.feature_code)) for row in granted]


def _limit(row: Entitlement, quantity: Decimal | None) -> PortalUsageProgress:
    limit = parse_decimal(row.value) if row.feature_type == "quantity" else None
    share = None
    if quantity is not None and limit:
        share = rounded_ratio(Fraction(quantity) * 100 / Fraction(limit)).quantize(Decimal("0.01"))
    return PortalUsageProgress(
        feature_name=row.feature_name,
        feature_code=row.feature_code,
        feature_type=row.feature_type,
        entitlement_value=row.value,
        current_usage=None if quantity is None or limit is None else plain(quantity),
        usage_percentage=share,
    )


async def _quick_actions(
    connection: AsyncConnection, customer: Customer, running: Sequence[PortalSubscriptionView]
) -> PortalQuickActions:
    """Add up what is open in the customer's currency; in the one with most open invoices if nothing is open in it."""
    open_by_currency = {each.currency: each for each in await portal_store.outstanding(connection, customer.id)}
    now = await clock_store.now(connection, customer.test_clock_id)
    balances = await portal_store.wallet_balances(connection, customer.id, now)
    own = (customer.currency or DEFAULT_CURRENCY).upper()
    found = open_by_currency.get(own) or next(iter(open_by_currency.values()), None)
    currency = own if found is None else found.currency
    return PortalQuickActions(
        outstanding_invoice_count=0 if found is None else found.invoices,
        outstanding_amount_cents=0 if found is None else found.amount_minor,
        has_wallet=bool(balances),
        wallet_balance_cents=balances.get(currency, 0),
        has_active_subscription=any(each.row.status in _ACTIVE for each in running),
        currency=currency,
    )
