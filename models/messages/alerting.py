"""Messages of usage alerts and thresholds (activities/alerting.py), and the signal that they changed."""

from datetime import datetime
from uuid import UUID

from billing.alerts import EvaluationThreshold
from models.messages.base import Message, SubscriptionRef


class AlertsChanged(Message):
    """An alert, a threshold or a wallet that a subscription watches was made, changed or removed (signal).

    It says only that: the workflow reads the record, so that lost order and duplicates do no harm. ``next_usage`` lets
    it look when it hears of usage next, which is when a new threshold is evaluated first (C29); ``usage_known`` is the
    watermark of the usage that was there by then. A workflow that has heard of newer usage already looks at once.
    """

    next_usage: bool = False
    usage_known: int | None = None


class EvaluateAlerts(Message):
    """Fire what the usage of ``[period_start, period_end)`` has reached, once, in one transaction.

    ``at`` is the subscription's now. ``billable`` says whether its usage is billed: only then are thresholds crossed.
    ``closing`` says that the period ends: its bill follows, so no threshold is evaluated. ``billing_key`` names the
    invoice that this evaluation may make; a second run finds the thresholds again that the first one crossed under it.
    """

    subscription: SubscriptionRef
    period_start: datetime
    period_end: datetime
    at: datetime
    plan_version_id: UUID
    billable: bool
    closing: bool = False
    billing_key: str


class AlertsEvaluated(Message):
    """What an evaluation found. ``notified`` says in words what fired.

    ``crossed`` are thresholds to be invoiced now, ``spend_minor`` the spend of the period in minor units of
    ``currency``. ``thresholds``, ``on_every_signal`` and ``evaluate_at`` say when to evaluate again, ``nothing`` that
    nothing is watched. ``error`` says why the spend is not known; what does not need it has fired.
    """

    notified: tuple[str, ...] = ()
    crossed: tuple[UUID, ...] = ()
    spend_minor: int = 0
    currency: str = ""
    thresholds: tuple[EvaluationThreshold, ...] = ()
    on_every_signal: bool = False
    evaluate_at: datetime | None = None
    nothing: bool = False
    error: str | None = None
