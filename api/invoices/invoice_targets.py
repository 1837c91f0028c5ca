"""Which subscriptions an invoice is about, and up to which instant each of them is billed (conflicts C9, C14, C24)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from adapters.postgres import resolver
from adapters.postgres.invoices import billing_store, invoice_store
from adapters.postgres.invoices.billing_store import Terms
from adapters.postgres.invoices.invoice_store import Billable, BillableFilter
from adapters.postgres.rows import AsyncConnection
from api.http.auth import Caller
from api.http.moments import Moment
from api.invoices.cutoff import cutoff_end
from api.invoices.invoice_bodies import NewInvoice, PreviewRequest
from models.problems import Problem, conflict, invalid, not_found


@dataclass(frozen=True)
class Target:
    """One subscription with its terms, the exclusive end of what is to be billed of it, and its present time."""

    terms: Terms
    end: datetime
    now: datetime


async def targets(
    connection: AsyncConnection, caller: Caller, body: NewInvoice | PreviewRequest, cutoff: Moment | None
) -> list[Target]:
    """List what a body asks to bill: one subscription, or those of a customer, live ones first, oldest first.

    Raises `Problem` 404 for unknown names, 409 `nothing_to_bill` for a customer without subscriptions, 422
    `cutoff_before_open_period`, `cutoff_after_current_period`.
    """
    found = await _billable(connection, caller, body)
    if not found:
        raise conflict("nothing_to_bill", "No subscription has begun.", existing_invoice_id=None)
    chosen = [target for one in found if (target := await _target(connection, one, cutoff)) is not None]
    if not chosen:
        raise Problem(
            422,
            "cutoff_before_open_period",
            "cutoff_date: is before the first instant that can be billed; send a later one.",
        )
    return chosen


async def _billable(
    connection: AsyncConnection, caller: Caller, body: NewInvoice | PreviewRequest
) -> Sequence[Billable]:
    project = caller.project_id
    if body.subscription_id is not None:
        subscription = await resolver.required(connection, project, resolver.SUBSCRIPTION, body.subscription_id)
        if body.customer_id is not None:
            customer = await resolver.required(connection, project, resolver.CUSTOMER, body.customer_id)
            if customer.id != subscription.customer_id:
                raise invalid("subscription_id", "belongs to another customer than customer_id")
        return await invoice_store.billable(connection, project, BillableFilter(subscription_id=subscription.id))
    if body.customer_id is not None:
        customer = await resolver.required(connection, project, resolver.CUSTOMER, body.customer_id)
    elif body.organization_id is not None:
        if body.organization_id != str(caller.organization_id):
            raise not_found("organization", body.organization_id)
        # The hidden customer that stands for the organization has its id as code (C9).
        customer = await resolver.required(connection, project, resolver.CUSTOMER, body.organization_id)
    else:
        raise invalid("customer_id", "is required: or subscription_id, or organization_id", "missing")
    return await invoice_store.billable(connection, project, BillableFilter(customer_id=customer.id))


async def _target(connection: AsyncConnection, one: Billable, cutoff: Moment | None) -> Target | None:
    """Return the window's end of one subscription; None if it had not begun by the cutoff."""
    terms = await billing_store.terms_of(connection, one.subscription_id, lock=False)
    end = cutoff_end(cutoff, terms.cycle, now=one.now)
    if end <= terms.billing_starts_at:
        return None
    latest = terms.cycle.period_containing(max(one.now, terms.billing_starts_at)).end
    if end > latest and terms.ended_at is None:
        raise Problem(
            422,
            "cutoff_after_current_period",
            f"cutoff_date: is after the end of the current period, {latest.isoformat()}; send an earlier one.",
        )
    return Target(terms, end, one.now)
