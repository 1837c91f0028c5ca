"""When a subscription's service is withheld, and when it is given back (conflicts C23; B93, B136).

An operator suspends and reinstates it, or it happens by itself: an active subscription is suspended when an invoice has
failed every scheduled payment attempt, and reinstated when all such invoices are settled. While it is suspended usage
is kept and its periods are billed, as while it is active. Pure reducers over `SubscriptionState`.
"""

from uuid import UUID

from billing.collection import OpenInvoice
from billing.subscriptions.subscription import SubscriptionState, Suspension, Wake, transition


def suspended(state: SubscriptionState, *, reason: str | None) -> SubscriptionState:
    """Return the state that an operator suspended; only an operator reinstates it. Raises `IllegalTransition`."""
    return _with(state, status=transition(state.status, "suspend"), suspension=Suspension(reason=reason))


def suspended_as_unpaid(state: SubscriptionState) -> SubscriptionState:
    """Return the state that is suspended until its unpaid invoices are settled. Raises `IllegalTransition`."""
    unpaid = _unpaid(state)
    named = ", ".join(invoice.number or str(invoice.invoice_id) for invoice in unpaid)
    reason = f"Every scheduled payment attempt failed for {named}."
    suspension = Suspension(reason=reason, is_unpaid=True)
    return _with(state, status=transition(state.status, "suspend"), suspension=suspension)


def reinstated(state: SubscriptionState) -> SubscriptionState:
    """Return the active state; what is unpaid now does not suspend it again. Raises `IllegalTransition`."""
    return _with(state, status=transition(state.status, "reinstate"), suspension=None, unpaid=())


def retries_exhausted(before: OpenInvoice, after: SubscriptionState) -> bool:
    """Return whether the attempt that was just made for an invoice was the last one of its schedule, and failed."""
    invoice = after.invoice(before.invoice_id)
    has_failed = invoice is not None and invoice.status == "failed" != before.status
    return has_failed and before.invoice_id not in after.unpaid


def with_unpaid(state: SubscriptionState, invoice_id: UUID) -> SubscriptionState:
    """Return the state that knows of an invoice which nobody tries to collect any more."""
    still_open = tuple(invoice.invoice_id for invoice in _unpaid(state))
    return _with(state, unpaid=(*still_open, invoice_id))


def due_transition(state: SubscriptionState) -> Wake | None:
    """Return the suspension or reinstatement that has to happen by itself now; None if none has."""
    if state.status == "active" and _unpaid(state):
        return Wake(kind="suspend", at=state.starts_at)
    if state.status == "suspended" and state.suspension and state.suspension.is_unpaid and not _unpaid(state):
        return Wake(kind="reinstate", at=state.starts_at)
    return None


def _unpaid(state: SubscriptionState) -> tuple[OpenInvoice, ...]:
    return tuple(invoice for invoice in state.invoices if invoice.invoice_id in state.unpaid)


def _with(state: SubscriptionState, **update: object) -> SubscriptionState:
    return state.model_copy(update=update)
