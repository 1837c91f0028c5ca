"""Messages of the AfterEndWorkflow: usage that came, or was corrected, after a subscription's final invoice."""

from datetime import datetime

from models.messages.base import Message, SubscriptionRef


class AfterEnd(Message):
    """The argument of the workflow. ``wait_seconds`` is how long it gathers late usage before it bills."""

    subscription: SubscriptionRef
    wait_seconds: int = 0


class LateUsage(Message):
    """The usage of the ended subscription has changed (signal); ``version`` is that of its usage mark."""

    version: int


class BillAfterEnd(Message):
    """Bill what is unbilled of an ended subscription, once.

    ``request_id`` makes a second run find the first one's invoice (C8). Without ``cutoff_end`` (exclusive) only periods
    that were billed to their end and have changed since are billed; with it, everything unbilled up to it.
    """

    subscription: SubscriptionRef
    request_id: str
    cutoff_end: datetime | None = None
    start: datetime | None = None
    draft: bool = False


class AfterEndDone(Message):
    """What the workflow ends with: everything that it was asked for is billed."""

    invoices: int = 0
