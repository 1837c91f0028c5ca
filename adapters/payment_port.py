"""What Durabill asks of a payment provider: charge once, and tell what became of a charge (C7).

A provider never raises for a payment's outcome. What it cannot know is `Unknown`, which is neither success nor failure:
the same attempt is asked again with the same key, and never sent anew.
"""

from datetime import datetime
from typing import Final, Literal, Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from billing.period import Instant

#: The provider of customers who pay outside Durabill.
MANUAL: Final = "manual"


def collects_automatically(payment_provider: str | None) -> bool:
    """Return whether issued invoices of a customer with this provider are charged without being asked."""
    return payment_provider is not None and payment_provider != MANUAL


class ChargeRequest(BaseModel):
    """One payment attempt, as it stands in its committed row.

    `amount_minor` is in the minor units of ISO 4217, `currency` an ISO code in any case; `key` is the attempt's
    idempotency key; `customer_ref` and `method_ref` are the provider's names of the customer and of the saved method
    (None: whatever the provider has); `payment_id` the provider's name of the payment, once it is known; `at` the
    subscription's now; `started_at` the wall-clock instant of the attempt's commit.
    """

    model_config = ConfigDict(frozen=True)

    project_id: UUID
    invoice_id: UUID
    attempt_no: int
    key: str
    amount_minor: int
    currency: str
    customer_ref: str | None
    method_ref: str | None = None
    payment_id: str | None = None
    at: Instant
    started_at: Instant


class Succeeded(BaseModel):
    """The money was taken."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["succeeded"] = "succeeded"
    payment_id: str
    at: Instant


class Declined(BaseModel):
    """The money was certainly not taken; `code` is the provider's word for why."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["declined"] = "declined"
    code: str
    message: str
    payment_id: str | None = None


class RequiresAction(BaseModel):
    """The customer must confirm the payment at `action_url`, if the provider has such a page; nothing was taken yet."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["requires_action"] = "requires_action"
    payment_id: str | None
    action_url: str | None = None
    message: str = "The customer must authenticate this payment."


class Unknown(BaseModel):
    """Nobody can say yet whether the money was taken."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["unknown"] = "unknown"
    reason: str


class RateLimited(BaseModel):
    """The provider takes no requests for `retry_after` seconds: this one did nothing, and is sent again."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["rate_limited"] = "rate_limited"
    retry_after: float


Outcome = Succeeded | Declined | RequiresAction | Unknown | RateLimited


class PaymentProvider(Protocol):
    """A way to take money from a customer without the customer being there."""

    name: str
    serves_live: bool
    """Whether it may take payments of live projects; a simulation may not, in production."""

    async def charge(self, request: ChargeRequest) -> Outcome:
        """Take the money, at most once for one `request.key`, however often this is called."""
        ...

    async def find(self, request: ChargeRequest) -> Outcome | None:
        """Look the attempt up without sending anything; None if the provider certainly never received it."""
        ...

    async def abandon(self, request: ChargeRequest) -> Outcome:
        """Cancel a payment that took nothing yet, so that a new attempt cannot make a second one.

        Answers `Succeeded` if it was taken meanwhile, `Declined` once it can no longer succeed, `Unknown` or
        `RateLimited` if the provider could not be asked.
        """
        ...


def declined(code: str, message: str, payment_id: str | None = None) -> Declined:
    """Make a refusal, its texts cut to what a row holds."""
    return Declined(code=code[:100], message=message[:500], payment_id=payment_id)


def succeeded(payment_id: str, at: datetime) -> Succeeded:
    """Make a success at an instant."""
    return Succeeded(payment_id=payment_id, at=at)
