"""What was used in one period, folded from its events: the only thing that a charge model prices."""

from decimal import Decimal
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from billing.numbers import ExactDecimal
from billing.scope import Group


class Usage(BaseModel):
    """The usage of one charge in one period.

    `quantity` is the metric's aggregated quantity, of any size: a total may be longer than any single value, and is to
    be seen then; it is the bill that refuses it. `events` is the number of events behind it. `priced` is what they
    cost by themselves in major units: the sum of price x quantity for a dynamic charge, and what a percentage that
    prices single events asks for them; then `charged_value` and `charged_events` are what its allowances leave (R7). A
    charge with group_by has its parts in `groups`, each priced by itself. `metric_name` and `unit` are the metric's
    now: a rename shows on the next invoice, whatever a process remembers of the plan.
    """

    model_config = ConfigDict(frozen=True)

    quantity: ExactDecimal
    events: int = Field(default=0, ge=0)
    priced: ExactDecimal = Decimal(0)
    charged_value: ExactDecimal = Decimal(0)
    charged_events: int = Field(default=0, ge=0)
    groups: "tuple[GroupUsage, ...]" = ()
    metric_name: str | None = None
    unit: str | None = None

    @property
    def billable(self) -> Decimal:
        """The quantity that is priced: a negative total counts as 0 (R10)."""
        return max(self.quantity, Decimal(0))


class GroupUsage(BaseModel):
    """The usage of the events of one group, in the order of an invoice's lines."""

    model_config = ConfigDict(frozen=True)

    group: Group
    usage: Usage


NO_USAGE: Final = Usage(quantity=Decimal(0))
"""A period without a single event."""
