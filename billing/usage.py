"""What was used in one period, folded from its events: the only thing that a charge model prices."""

from decimal import Decimal
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from billing.numbers import ExactDecimal, Quantity


class Usage(BaseModel):
    """The usage of one charge in one period.

    `quantity` is the metric's aggregated quantity, `events` the number of events behind it, and `priced` the sum of
    price x quantity in major units over the events, which only a dynamic charge reads.
    """

    model_config = ConfigDict(frozen=True)

    quantity: Quantity
    events: int = Field(default=0, ge=0)
    priced: ExactDecimal = Decimal(0)

    @property
    def billable(self) -> Decimal:
        """The quantity that is priced: a negative total counts as 0 (R10)."""
        return max(self.quantity, Decimal(0))


NO_USAGE: Final = Usage(quantity=Decimal(0))
"""A period without a single event."""
