"""Usage alerts and thresholds: which levels a quantity has reached, and which it may reach next (seed 002, B138-B158).

An alert has one line for each of its levels, a percentage of its threshold value. A line is reached at its very value
(B138). It fires once, or once in each period for a recurring alert (B140, B141); what has fired stays fired when a
correction brings the quantity back. Everything is exact: no level is rounded.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from billing.numbers import ExactDecimal, exact, rounded_ratio
from billing.period import Instant, Period

AlertKind = Literal["usage", "projected_usage", "spend", "wallet_balance"]

MOST_ALERTS: Final = 100
"""Alerts of one subscription; one more is refused."""

MOST_THRESHOLDS: Final = 100
"""Thresholds of one plan, and of one subscription."""

MOST_LEVELS: Final = 10
"""Levels of one alert."""

ONCE: Final = "once"
_ALL: Final = 100
#: Part of a period that must be over before its usage says something about the whole of it.
_PROJECTED_FROM: Final = 10
_TOLD: Final = 3


class Alert(BaseModel):
    """The lines of one alert, and the levels that have fired already on this occasion."""

    model_config = ConfigDict(frozen=True)

    kind: AlertKind = "usage"
    threshold: ExactDecimal
    levels: tuple[int, ...] = (_ALL,)
    fired: frozenset[int] = frozenset()

    def reached(self, quantity: Decimal) -> tuple[int, ...]:
        """Return the levels that fire at a quantity, those that are reached first in front.

        10,000 at 50, 80 and 100 %, jumping from 0 to 8,200: the levels 50 and 80. A wallet's balance falls: 1,000 at
        100 and 50 % with 400 left fires 100, then 50.
        """
        falling = self.kind == "wallet_balance"
        open_levels = sorted(set(self.levels) - self.fired, reverse=falling)
        return tuple(level for level in open_levels if self._is_at(quantity, level))

    def _is_at(self, quantity: Decimal, level: int) -> bool:
        line = level_threshold(self.threshold, level)
        return quantity <= line if self.kind == "wallet_balance" else quantity >= line

    def next_threshold(self, quantity: Decimal) -> Decimal | None:
        """Return the nearest threshold above a quantity that has not fired; None if nothing can fire any more.

        A level that is reached at this quantity fires now and is not next.
        """
        lines = (level_threshold(self.threshold, level) for level in set(self.levels) - self.fired)
        return min((line for line in lines if line > quantity), default=None)


def level_threshold(threshold: Decimal, level: int) -> Decimal:
    """Return the quantity of a level: 80 % of 10,000 is 8,000; exact."""
    with exact():
        return (threshold * level).scaleb(-2)


def occasion(*, recurring: bool, period_start: datetime) -> str:
    """Name the occasion on which something fires at most once: ever, or a period (B140, B141, B157)."""
    return period_start.isoformat() if recurring else ONCE


def percentage(quantity: Decimal, threshold: Decimal) -> Decimal:
    """Return a quantity as a percentage of a threshold, to two digits half up: 7,500 of 10,000 is 75 (B146)."""
    hundredths = rounded_ratio(Fraction(quantity) * 10_000 / Fraction(threshold))
    with exact():
        halved = abs(hundredths) + Decimal("0.5")
        whole = Decimal(int(halved)).copy_sign(hundredths)
        return whole.scaleb(-2)


def projected(quantity: Decimal, period: Period, at: datetime) -> Decimal | None:
    """Extrapolate a quantity to the end of its period at the pace so far; None in the period's first tenth.

    3,000 after 10 of 30 days: 9,000. After the end it is the quantity itself.
    """
    if at < projected_from(period):
        return None
    elapsed = min(at, period.end) - period.start
    return rounded_ratio(Fraction(quantity) * Fraction(period.duration // _TICK) / Fraction(elapsed // _TICK))


def projected_from(period: Period) -> datetime:
    """Return the first instant at which a period's usage is projected: when a tenth of it is over."""
    return period.start - (-period.duration // _PROJECTED_FROM)


_TICK: Final = timedelta(microseconds=1)


class Threshold(BaseModel):
    """A spending amount in minor units at which a subscription is invoiced in the middle of its period."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    amount_minor: ExactDecimal


def crossed(thresholds: Iterable[Threshold], spend_minor: int, *, done: Collection[UUID] = ()) -> tuple[UUID, ...]:
    """Return the thresholds that the spend of a period has reached and that were not crossed on this occasion yet.

    All that one jump crosses come together, the lowest first: they share one invoice. Without spend none is crossed.
    """
    over = [each for each in thresholds if each.id not in done and spend_minor > 0 and each.amount_minor <= spend_minor]
    return tuple(each.id for each in sorted(over, key=lambda each: (each.amount_minor, each.id)))


class EvaluationThreshold(BaseModel):
    """The quantity of a metric at which a subscription's alerts have to be looked at."""

    model_config = ConfigDict(frozen=True)

    metric_id: UUID
    quantity: ExactDecimal


def nearest(lines: Iterable[EvaluationThreshold]) -> tuple[EvaluationThreshold, ...]:
    """Keep the nearest threshold of each metric, in the order of their ids."""
    found: dict[UUID, EvaluationThreshold] = {}
    for line in lines:
        known = found.get(line.metric_id)
        if known is None or line.quantity < known.quantity:
            found[line.metric_id] = line
    return tuple(found[metric_id] for metric_id in sorted(found))


class AlertState(BaseModel):
    """What a subscription's workflow knows about its alerts: when to evaluate them, and what it has requested.

    The alerts themselves stay in the record, so that this stays small however many there are. `requested` counts the
    changes of alerts, thresholds and wallets that were signalled, `evaluated` those that the last evaluation included.
    `thresholds` are the nearest of each metric; `on_every_signal` says that spend or a part of the events is watched,
    which only the record knows. `evaluate_at` is when a level may be reached without new usage: a projection begins, a
    wallet expires. `evaluations` numbers the evaluations, and with them the invoices in the middle of a period.
    `failures` counts the latest evaluations that failed one after the other; `parked` says that the record shows the
    error of one.
    """

    model_config = ConfigDict(frozen=True)

    requested: int = 1
    evaluated: int = 0
    evaluations: int = 0
    watermark: int = 0
    period_start: Instant | None = None
    plan_version_id: UUID | None = None
    billable: bool = False
    thresholds: Annotated[tuple[EvaluationThreshold, ...], Field(max_length=10_000)] = ()
    on_every_signal: bool = False
    evaluate_at: Instant | None = None
    error: str | None = None
    failures: int = 0
    parked: bool = False
    notified: tuple[str, ...] = ()

    def reached(self, quantities: Iterable[EvaluationThreshold]) -> tuple[EvaluationThreshold, ...]:
        """Return the quantities that have reached their metric's line."""
        lines = {line.metric_id: line.quantity for line in self.thresholds}
        return tuple(at for at in quantities if at.metric_id in lines and at.quantity >= lines[at.metric_id])

    def notified_with(self, told: Sequence[str]) -> tuple[str, ...]:
        """Return what was told last, with something new."""
        return (*self.notified, *told)[-_TOLD:]
