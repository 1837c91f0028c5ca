"""What a subscription is doing, told in Markdown for the people who open its workflow in the Temporal UI."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from billing.collection import OpenInvoice
from billing.money import exponent
from billing.numbers import grouped
from billing.period import Period
from billing.subscriptions.subscription import DueClose, SubscriptionState, UsageSoFar, WakeKind

#: What a subscription's workflow waits for, in the words of its timers.
WAITS_FOR: Final[Mapping[WakeKind, str]] = MappingProxyType(
    {
        "evaluate_alerts": "an evaluation of the alerts",
        "activate": "the subscription's start",
        "trial_end": "the end of the trial",
        "period_end": "the end of the period",
        "close": "the end of the grace period",
        "cancel": "the end of the subscription",
        "suspend": "the suspension",
        "reinstate": "the reinstatement",
        "payment_retry": "the next payment attempt",
        "payment_resolve": "asking again about an unknown payment outcome",
        "clock_reached": "the test clock",
        "nothing": "a command",
    }
)


def describe_state(state: SubscriptionState) -> str:
    """Tell a subscription's state: status, plan, period, usage so far, what waits, open invoices."""
    return "\n".join(line for section in _sections(state) for line in section)


def shown_instant(at: datetime) -> str:
    """Show an instant to the second, in UTC."""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def shown_period(period: Period) -> str:
    """Show a half-open period by its two instants."""
    return f"{shown_instant(period.start)} to {shown_instant(period.end)}"


def shown_amount(minor: int, currency: str) -> str:
    """Show an amount given in minor units in major units: 14900, USD -> 149.00 USD."""
    digits = exponent(currency)
    whole, rest = divmod(abs(minor), 10**digits)
    fraction = f".{rest:0{digits}d}" if digits else ""
    return f"{'-' if minor < 0 else ''}{whole:,}{fraction} {currency.upper()}"


def _sections(state: SubscriptionState) -> Iterator[list[str]]:
    yield [f"**{state.status}**, plan `{state.plan_code}` version {state.plan_version}", ""]
    yield list(_facts(state))
    yield list(_usage(state))
    yield list(_alerts(state))
    if state.due_closes:
        yield ["", "Waiting to be billed:", *map(_due, state.due_closes)]
    if state.invoices:
        yield ["", "Open invoices:", *map(_invoice, state.invoices)]


def _facts(state: SubscriptionState) -> Iterator[str]:
    if state.needs_attention:
        yield f"- **needs attention:** {state.needs_attention}"
    if state.status == "suspended" and state.suspension is not None and state.suspension.reason:
        yield f"- suspended: {state.suspension.reason}"
    if state.clock is not None:
        yield f"- test clock at {shown_instant(state.clock.frozen_time)}"
    if state.period is not None:
        yield f"- {'trial' if state.status == 'trialing' else 'period'} {shown_period(state.period)}"
    elif state.status == "pending":
        yield f"- starts {shown_instant(state.starts_at)}"
    if state.cancel_at is not None:
        yield f"- {'ended' if state.is_over else 'ends'} {shown_instant(state.cancel_at)}"
    if state.plan_change is not None:
        yield f"- moves to plan version {state.plan_change.plan_version} with the next period"
    yield f"- {state.periods_closed} periods closed"


def _usage(state: SubscriptionState) -> Iterator[str]:
    if state.period is None or state.usage_period_start != state.period.start or not state.usage:
        return
    yield ""
    yield "Usage so far in this period:"
    yield from map(_total, state.usage)


def _alerts(state: SubscriptionState) -> Iterator[str]:
    """Tell the last things that fired, and where the next line of each metric is."""
    alert_state = state.alert_state
    if alert_state is None or not (alert_state.notified or alert_state.thresholds):
        return
    yield ""
    yield "Alerts and thresholds:"
    yield from (f"- {told}" for told in alert_state.notified)
    keys = {used.metric_id: used.metric_key for used in state.usage}
    known = [line for line in alert_state.thresholds if line.metric_id in keys]
    yield from (f"- next line of `{keys[line.metric_id]}`: {grouped(line.quantity)}" for line in known)


def _total(total: UsageSoFar) -> str:
    return f"- `{total.metric_key}`: {grouped(total.quantity)} ({total.events} events)"


def _due(close: DueClose) -> str:
    when = f"set aside: {close.error}" if close.close_at is None else f"due {shown_instant(close.close_at)}"
    return f"- {shown_period(close.period)}, {when}"


def _invoice(invoice: OpenInvoice) -> str:
    what = f"- {invoice.number or invoice.invoice_id}: {shown_amount(invoice.total_minor, invoice.currency)}"
    status = invoice.status.replace("_", " ")
    if invoice.next_attempt_at is not None:
        return f"{what}, {status}, payment attempt {invoice.attempt_to_make} {shown_instant(invoice.next_attempt_at)}"
    if invoice.resolve_at is not None:
        return f"{what}, outcome of attempt {invoice.attempts} unknown, asked again {shown_instant(invoice.resolve_at)}"
    return f"{what}, {status}" + (f": {invoice.error}" if invoice.error else "")
