"""The steps of a close after rating: difference, discounts by period, add-ons, and what goes to or comes from wallets.

The order is R22's: charges, discounts, customer balance, prepaid credits, amount due.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from billing.closing.difference import difference, nothing_left, unbilled_usage
from billing.closing.periods import BillingTerms, History, LeftOut, PeriodToRate, Window, shown_period
from billing.discounts import AppliedCoupon, Discount, after_use, cents_in_major, cents_in_minor, discounts
from billing.invoice import AbsurdInvoice, DiscountedLine, InvoiceLine
from billing.money import normalise_currency
from billing.period import Period

DISCOUNT: Final = "discount"
"""The kind of the lines that coupons make."""

CREDIT: Final = "wallet_credit"
"""The kind of the line that carries what an invoice owes over to a wallet."""


@dataclass(frozen=True)
class Bill:
    """The charges that an invoice for a window has now, in minor units of `currency`; none when all is billed.

    `rated` are the periods that were looked at, in order, `history` is what was billed of them before. `left_out` are
    those that were billed before and cannot be rated again: the next invoice tries them again.
    """

    lines: tuple[InvoiceLine, ...]
    currency: str
    period: Period
    rated: tuple[Period, ...]
    history: History
    left_out: tuple[LeftOut, ...] = ()


Priced = tuple[PeriodToRate, Sequence[InvoiceLine]]
"""A period of a close, and what it costs now."""


@dataclass(frozen=True)
class AddOn:
    """A one-time fee that waits for a customer's next invoice: minor units, perhaps with a fraction."""

    application_id: UUID
    description: str
    amount_cents: Decimal
    currency: str


@dataclass(frozen=True)
class HeldAdjustments:
    """What a customer has for its next invoices: coupons in the order of application, and fees not invoiced yet.

    `coupons` are all that may discount one of the periods at hand. `joined` says for each period and coupon what had
    been billed when it began to discount the period, `taken` what it took off in live invoices, in minor units.
    `available` are those that the customer holds now: they discount periods that were never billed to their end.
    """

    coupons: tuple[AppliedCoupon, ...] = ()
    available: frozenset[UUID] = frozenset()
    joined: Mapping[tuple[datetime, UUID], int] = field(default_factory=dict)
    taken: Mapping[tuple[datetime, UUID], int] = field(default_factory=dict)
    add_ons: tuple[AddOn, ...] = ()

    def after(self, used: "Adjustments") -> "HeldAdjustments":
        """Return what another subscription's invoice finds after an invoice with these adjustments."""
        coupons = tuple(
            coupon
            if coupon.uses_left is None
            else coupon.model_copy(update={"uses_left": coupon.uses_left - used.uses.count(coupon.application_id)})
            for coupon in self.coupons
        )
        add_ons = tuple(fee for fee in self.add_ons if fee.application_id not in used.add_on_ids)
        return replace(self, coupons=coupons, add_ons=add_ons)


@dataclass(frozen=True)
class Adjustments:
    """The lines that an invoice has beside its charges, and what they use up.

    `uses` names a coupon for each period that it discounts for the first time; `joined` are the coupons that discount a
    period from now on, with what had been billed of it before.
    """

    lines: tuple[InvoiceLine, ...] = ()
    uses: tuple[UUID, ...] = ()
    joined: Mapping[tuple[datetime, UUID], int] = field(default_factory=dict)
    add_on_ids: tuple[UUID, ...] = ()


def bill_of(terms: BillingTerms, window: Window, history: History, priced: Sequence[Priced], *, currency: str) -> Bill:
    """Return what is left to bill of the prices of these periods (C2).

    A window that is a period's end has a line also when all of it was billed before. A period that was billed before,
    and whose changes would make the invoice absurd, is left out. Raises `AbsurdInvoice` for the others.
    """
    try:
        return _bill(terms, window, history, priced, currency)
    except AbsurdInvoice:
        known = {each for each, (rated, _) in enumerate(priced) if history.was_billed(rated.period.start)}
        if not known:
            raise
    chosen = [each for each in range(len(priced)) if each not in known]
    bill = _bill(terms, window, history, [priced[each] for each in chosen], currency)
    left_out = []
    for each in sorted(known):
        more = sorted([*chosen, each])
        try:
            bill, chosen = _bill(terms, window, history, [priced[one] for one in more], currency), more
        except AbsurdInvoice as error:
            left_out.append(LeftOut(priced[each][0].period, str(error)))
    return replace(bill, left_out=tuple(left_out))


def _bill(terms: BillingTerms, window: Window, history: History, priced: Sequence[Priced], currency: str) -> Bill:
    lines = [line for _, found in priced for line in found]
    if window.kind == "progressive":
        left = unbilled_usage(history.billed, lines)
    else:
        left = difference(history.billed, lines, closed=history.closed)
        starts = {line.charged_period.start for line in left}
        if window.closes_period and window.start not in history.closed | starts:
            running = [line for line in lines if line.charged_period.start == window.start]
            left += nothing_left(history.billed, running)
    first = min((line.charged_period.start for line in left), default=None)
    return Bill(
        lines=left,
        currency=currency,
        period=shown_period(terms, window, history, first),
        rated=tuple(rated.period for rated, _ in priced),
        history=history,
    )


def adjustments_of(bill: Bill, held: HeldAdjustments) -> Adjustments:
    """Return the lines beside the charges: add-ons in the bill's currency, then each period's discounts (R19).

    A period is discounted by the coupons that discounted it before, however long ago they were used up or removed, and
    until it is billed to its end by those that the customer holds.
    """
    currency = normalise_currency(bill.currency)
    fees = [fee for fee in held.add_ons if normalise_currency(fee.currency) == currency]
    coupons, found, uses = held.coupons, list[InvoiceLine](), list[UUID]()
    joined: dict[tuple[datetime, UUID], int] = {}
    for period in bill.rated:
        lines = [line for line in bill.lines if line.charged_period.start == period.start]
        new = _joining(bill, period, replace(held, coupons=coupons)) if lines else {}
        mine = _coupons_of(period, coupons, {**held.joined, **new}, held.taken)
        amounts = [line.amount_minor for line in lines]
        taken = discounts(mine, amounts, currency, billed_minor=bill.history.billed_minor(period.start))
        found += [_discount_line(discount, lines, period) for discount in taken]
        coupons = after_use(coupons, taken)
        uses += [discount.application_id for discount in taken if discount.counts]
        joined |= new
    return Adjustments(
        lines=(*(_fee_line(fee) for fee in fees), *found),
        uses=tuple(uses),
        joined=joined,
        add_on_ids=tuple(fee.application_id for fee in fees),
    )


def carryover_line(due_minor: int) -> tuple[InvoiceLine, ...]:
    """Return the line that brings a negative sum, in minor units, to 0; none for what is not negative (C2)."""
    if due_minor >= 0:
        return ()
    words = "Credit to your wallet, for your next invoices"
    return (InvoiceLine(reference=CREDIT, kind="wallet_credit", description=words, amount_minor=-due_minor),)


def _joining(bill: Bill, period: Period, held: HeldAdjustments) -> dict[tuple[datetime, UUID], int]:
    """Return the coupons that begin to discount a period, with what was billed of it before they came."""
    if period.start in bill.history.settled:
        return {}
    before = bill.history.billed_minor(period.start)
    return {
        (period.start, coupon.application_id): before
        for coupon in held.coupons
        if coupon.application_id in held.available
        and (coupon.uses_left is None or coupon.uses_left > 0)
        and (period.start, coupon.application_id) not in held.joined
    }


def _coupons_of(
    period: Period,
    coupons: Sequence[AppliedCoupon],
    joined: Mapping[tuple[datetime, UUID], int],
    taken: Mapping[tuple[datetime, UUID], int],
) -> list[AppliedCoupon]:
    keyed = ((coupon, (period.start, coupon.application_id)) for coupon in coupons)
    return [
        coupon.model_copy(update={"taken_minor": taken.get(key), "since_minor": joined[key]})
        for coupon, key in keyed
        if key in joined
    ]


def _fee_line(fee: AddOn) -> InvoiceLine:
    return InvoiceLine(
        reference=f"add_on:{fee.application_id}",
        kind="add_on",
        description=fee.description,
        unit_amount=cents_in_major(fee.amount_cents, fee.currency),
        amount_minor=cents_in_minor(fee.amount_cents, fee.currency),
    )


def _discount_line(discount: Discount, lines: Sequence[InvoiceLine], period: Period) -> InvoiceLine:
    """Write a discount as a line with the other sign; its steps say how much of it belongs to which line (R17)."""
    parts = zip(lines, discount.parts, strict=True)
    return InvoiceLine(
        reference=discount_reference(discount.application_id),
        kind="discount",
        description=discount.description,
        amount_minor=-discount.amount_minor,
        period=period,
        steps=tuple(DiscountedLine(line=line.reference, amount_cents=str(-part)) for line, part in parts if part),
    )


def discount_reference(application_id: UUID) -> str:
    """Name the invoice lines of a coupon's application."""
    return f"coupon:{application_id}"
