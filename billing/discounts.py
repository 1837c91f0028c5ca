"""Discounts: what a customer's coupons take off an invoice (B121, R2, R17).

The order is fixed, because it changes the amount. Percentages come first and fixed amounts after them, each on what is
left, the older application first among equals: a percentage is one of the bill, not of the bill less other gifts, and a
fixed amount, which can be more than the bill, is what gets cut. 100.00 with 10 % and 5.00 off: 90.00, then 85.00 (the
other way round it would be 85.50).

Only what a plan charges is discounted; fees of add-ons, like one-off invoices, are not.
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from billing.money import CurrencyCode, allocate, exponent, normalise_currency, to_minor
from billing.numbers import ExactDecimal, NonNegative, exact, plain

CouponType = Literal["fixed_amount", "percentage"]
Frequency = Literal["once", "recurring", "forever"]

HIGHEST_RATE: Final = Decimal(100)
"""More than the whole bill is never taken off."""


def _a_part(rate: Decimal) -> Decimal:
    if rate > HIGHEST_RATE:
        raise ValueError(f"must be 0 to {HIGHEST_RATE}, got {plain(rate)}")
    return rate


Rate = Annotated[NonNegative, AfterValidator(_a_part)]
"""A percentage from 0 to 100."""


class PercentageOff(BaseModel):
    """A part of the bill: `rate` is in percent."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["percentage"] = "percentage"
    rate: Rate


class FixedAmountOff(BaseModel):
    """An amount in minor units of a currency, perhaps with a fraction; bills in another currency keep theirs."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["fixed_amount"] = "fixed_amount"
    amount_cents: NonNegative
    currency: CurrencyCode


class AppliedCoupon(BaseModel):
    """A coupon that a customer holds.

    `uses_left` counts the billing periods that it may still discount; None is for ever. `taken_minor` is what it took
    off other invoices of the billing period at hand, in minor units; None if it did not discount that period yet.
    `since_minor` is what had been billed of the period when the coupon came: it discounts only what is billed beyond.
    """

    model_config = ConfigDict(frozen=True)

    application_id: UUID
    name: str
    off: Annotated[PercentageOff | FixedAmountOff, Field(discriminator="kind")]
    uses_left: int | None = None
    taken_minor: int | None = None
    since_minor: int = 0


class Discount(BaseModel):
    """What one coupon takes off an invoice, in minor units; below zero it gives back what it took off before.

    `parts` says how much of it belongs to each charged line, in their order; they add up to `amount_minor` (R17), and
    are all 0 where no line has that direction. `counts` says whether it is the coupon's first in the billing period:
    each period counts as one use.
    """

    model_config = ConfigDict(frozen=True)

    application_id: UUID
    description: str
    amount_minor: int
    parts: tuple[int, ...]
    counts: bool = True


def uses_of(frequency: Frequency, duration: int | None) -> int | None:
    """Return the number of periods that a new application discounts: once 1, recurring its duration, forever None."""
    match frequency:
        case "once":
            return 1
        case "recurring":
            return duration
        case "forever":
            return None


def discounts(
    coupons: Sequence[AppliedCoupon], amounts: Sequence[int], currency: str, *, billed_minor: int = 0
) -> tuple[Discount, ...]:
    """Work out what coupons take off one billing period's lines of these amounts, in minor units of `currency`.

    `coupons` are in the order of their application, `billed_minor` is what earlier invoices charge for the period. Each
    coupon is taken off the whole period, rounded once, half away from zero (R2), and never more than is left; what it
    took before is subtracted. The discounts of a period's invoices therefore add up to the discount of the whole, and a
    correction gives back what was paid (R19). Each is split over the lines in proportion to what is left of each (R17),
    so that no line falls below zero. A coupon that is used up or of another currency takes nothing.

    10 % of 100.00 -> 10.00 (B121); 50 % and 50 % of 100.00 -> 50.00 and 25.00; 150.00 off 100.00 -> 100.00.
    """
    whole = max(0, billed_minor + sum(amounts))
    left, nets = whole, list(amounts)
    found = []
    for coupon in sorted(coupons, key=lambda one: one.off.kind == "fixed_amount"):
        worth = min(_worth(coupon, left, whole, currency), left)
        left -= worth
        taken = worth - (coupon.taken_minor or 0)
        if not taken:
            continue
        parts = _parts(taken, nets)
        nets = [net - part for net, part in zip(nets, parts, strict=True)]
        found.append(
            Discount(
                application_id=coupon.application_id,
                description=_described(coupon),
                amount_minor=taken,
                parts=parts,
                counts=coupon.taken_minor is None,
            )
        )
    return tuple(found)


def _parts(taken: int, nets: Sequence[int]) -> tuple[int, ...]:
    """Split a discount over the lines of its direction; none has a part where there are none."""
    sign = 1 if taken > 0 else -1
    weights = [Decimal(max(0, sign * net)) for net in nets]
    if not any(weights):
        return tuple(0 for _ in nets)
    return tuple(sign * part for part in allocate(abs(taken), weights))


def after_use(coupons: Sequence[AppliedCoupon], used: Sequence[Discount]) -> tuple[AppliedCoupon, ...]:
    """Return the coupons as another subscription's invoice finds them: each that was used has one use less."""
    spent = {discount.application_id for discount in used if discount.counts}
    return tuple(
        coupon.model_copy(update={"uses_left": coupon.uses_left - 1})
        if coupon.application_id in spent and coupon.uses_left is not None
        else coupon
        for coupon in coupons
    )


def cents_in_minor(amount_cents: Decimal, currency: str) -> int:
    """Round an amount that is given in minor units to whole ones, half away from zero (R2): 20.5 -> 21."""
    with exact():
        return to_minor(amount_cents.scaleb(-exponent(currency)), currency)


def cents_in_major(amount_cents: Decimal, currency: str) -> ExactDecimal:
    """Return an amount that is given in minor units in major ones, exactly: 2500 USD -> 25."""
    with exact():
        return amount_cents.scaleb(-exponent(currency))


def _worth(coupon: AppliedCoupon, left: int, whole: int, currency: str) -> int:
    """Return what a coupon takes off a whole period of which `left` minor units are left, before it is cut to them."""
    is_over = coupon.uses_left is not None and coupon.uses_left <= 0
    if left <= 0 or (is_over and coupon.taken_minor is None):
        return 0
    base = Fraction(left * max(0, whole - coupon.since_minor), whole)
    match coupon.off:
        case PercentageOff(rate=rate):
            # Half away from zero of a ratio that is never negative, without leaving whole numbers.
            share = Fraction(rate) * base / 100
            return (2 * share.numerator + share.denominator) // (2 * share.denominator)
        case FixedAmountOff(amount_cents=amount, currency=own):
            is_mine = own == normalise_currency(currency)
            return min(cents_in_minor(amount, own), int(base)) if is_mine else 0


def _described(coupon: AppliedCoupon) -> str:
    match coupon.off:
        case PercentageOff(rate=rate):
            return f"Coupon {coupon.name} ({plain(rate)} % off)"
        case FixedAmountOff():
            return f"Coupon {coupon.name}"
