"""What activities' answers say to the counters, in one place rather than in each activity."""

from typing import Any, Final

from adapters.telemetry import counters
from models.messages.alerting import AlertsEvaluated
from models.messages.closing import InvoiceClosed
from models.messages.collecting import InvoiceCollected

#: Others answer an invoice that they only looked up.
_CLOSING: Final = frozenset({"close_periods", "bill_after_end"})


def count_answer(activity_type: str, answer: Any) -> None:
    """Count a close, a payment provider's answer or the alerts of an evaluation."""
    match answer:
        case InvoiceClosed(invoice_id=invoice) if activity_type in _CLOSING:
            counters.CLOSES.labels("nothing" if invoice is None else "invoiced").inc()
        case InvoiceCollected(status=status):
            counters.PAYMENTS.labels(status).inc()
        case AlertsEvaluated(notified=notified) if notified:
            counters.ALERTS.inc(len(notified))


def count_failure(activity_type: str) -> None:
    """Count a close that raised."""
    if activity_type in _CLOSING:
        counters.CLOSES.labels("failed").inc()
