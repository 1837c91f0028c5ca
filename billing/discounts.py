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
    """

    model_config = ConfigDict(frozen=True)

    application_id: UUID
    name: str
    off: Annotated[PercentageOff | FixedAmountOff, Field(discriminator="kind")]
    uses_left: int | None = None
    taken_minor: int | None = None


class Discount(BaseModel):
    """What one coupon takes off an invoice, in minor units: positive, and less than or equal to what was left.

    `parts` says how much of it belongs to each charged line, in their order; they add up to `amount_minor` (R17).
    `counts` says whether it is the coupon's first in the billing period: each period counts as one use.
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


def discounts(coupons: Sequence[AppliedCoupon], amounts: Sequence[int], currency: str) -> tuple[Discount, ...]:
    """Work out what coupons take off lines of these amounts, in minor units of `currency`.

    `coupons` are in the order of their application. Each discount is rounded once, half away from zero (R2), never
    more than what is left of the lines' sum, and split over the lines in proportion to what is left of each (R17), so
    that no line falls below zero. A coupon that is used up, of another currency, or that takes nothing gives no
    discount. Lines that add up to 0 or less are not discounted; a negative line carries no part. Of a billing period
    with several invoices a percentage is taken off each, a fixed amount off all of them together.

    10 % of 100.00 -> 10.00 (B121); 50 % and 50 % of 100.00 -> 50.00 and 25.00; 150.00 off 100.00 -> 100.00.
    """
    left = sum(amounts)
    nets = [max(0, amount) for amount in amounts]
    found = []
    for coupon in sorted(coupons, key=lambda one: one.off.kind == "fixed_amount"):
        taken = min(_worth(coupon, left, currency), left)
        if taken <= 0:
            continue
        parts = allocate(taken, [Decimal(net) for net in nets])
        nets = [net - part for net, part in zip(nets, parts, strict=True)]
        left -= taken
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


def _worth(coupon: AppliedCoupon, left: int, currency: str) -> int:
    """Return what a coupon would take off `left` minor units, rounded, before it is cut to what is left."""
    is_over = coupon.uses_left is not None and coupon.uses_left <= 0
    if left <= 0 or (is_over and coupon.taken_minor is None):
        return 0
    match coupon.off:
        case PercentageOff(rate=rate):
            # Half away from zero of a ratio that is never negative, without leaving whole numbers.
            share = Fraction(rate) * left / 100
            return (2 * share.numerator + share.denominator) // (2 * share.denominator)
        case FixedAmountOff(amount_cents=amount, currency=own):
            whole = cents_in_minor(amount, own) if own == normalise_currency(currency) else 0
            return whole - (coupon.taken_minor or 0)


def _described(coupon: AppliedCoupon) -> str:
    match coupon.off:
        case PercentageOff(rate=rate):
            return f"Coupon {coupon.name} ({plain(rate)} % off)"
        case FixedAmountOff():
            return f"Coupon {coupon.name}"
