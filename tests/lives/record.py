"""A record in memory for one subscription of one life: events, invoices, coupons and a wallet, and the close over them.

It stands where Postgres does. What decides is the product's pure close (`billing/closing`) with `rate` between its
steps, as in `operations/proposing.py`.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Final, Literal
from uuid import UUID

from billing.charges import Charge
from billing.charges.flat import Flat
from billing.charges.graduated import Graduated
from billing.charges.per_unit import PerUnit
from billing.closing.bill import Adjustments, Bill, HeldAdjustments, adjustments_of, bill_of
from billing.closing.difference import LineKey, key_of
from billing.closing.periods import (
    BilledLine,
    BillingTerms,
    CloseKind,
    History,
    PeriodToRate,
    Window,
    first_start,
    history_of,
    periods_to_rate,
)
from billing.discounts import AppliedCoupon, FixedAmountOff, PercentageOff
from billing.invoice import InvoiceLine, total
from billing.period import BillingCycle, Period
from billing.pricing import Tier
from billing.rating import rate
from billing.subscriptions.pauses import Pause, pause_at, stopped_times
from billing.usage import Usage
from billing.wallets import Wallet, split_across_wallets
from tests.lives.lives import ORIGIN, Coupon, Life, Prices, instant, minute_of

CURRENCY: Final = "USD"
METRICS: Final = (UUID(int=1), UUID(int=2))
NAMES: Final = ("units", "calls", "fee")

Kind = CloseKind
InvoiceState = Literal["draft", "issued", "paid", "voided"]


@dataclass
class Event:
    """An event as it counts now."""

    at: datetime
    metric: UUID
    quantity: Decimal
    counts: bool = True


@dataclass
class Invoice:
    """An invoice with what it holds; `due_minor` is before anything is carried to the wallet or paid from it."""

    id: UUID
    kind: Kind
    period: Period
    lines: tuple[InvoiceLine, ...]
    discounts: tuple[InvoiceLine, ...]
    state: InvoiceState = "issued"
    prepaid_minor: int = 0
    forgiven: dict[LineKey, int] = field(default_factory=dict)

    @property
    def due_minor(self) -> int:
        """The sum of the charges less discounts; below zero it goes to the wallet."""
        return total(self.lines) + total(self.discounts)

    @property
    def is_live(self) -> bool:
        """Return whether it bills anything."""
        return self.state != "voided"


@dataclass
class Record:
    """What Postgres would hold."""

    life: Life
    cycle: BillingCycle
    begins: datetime
    ended_at: datetime | None = None
    served: list[tuple[datetime, int]] = field(default_factory=lambda: [(ORIGIN, 0)])
    events: list[Event] = field(default_factory=list)
    pauses: tuple[Pause, ...] = ()
    corrected: set[datetime] = field(default_factory=set)
    invoices: list[Invoice] = field(default_factory=list)
    coupons: tuple[AppliedCoupon, ...] = ()
    joined: dict[tuple[datetime, UUID], int] = field(default_factory=dict)
    wallet_minor: int = 0
    granted_minor: int = 0
    topped_up_minor: int = 0
    paid_minor: int = 0
    forgiven: dict[tuple[int, str], int] = field(default_factory=dict)
    reopened: dict[datetime, UUID] = field(default_factory=dict)

    # What the close does

    def close(
        self, kind: Kind, *, start: datetime, end: datetime, at: datetime, version: int, draft: bool = False
    ) -> Invoice | None:
        """Bill what is unbilled in a window, as `operations.closing.close` does; None if nothing is."""
        bill, adjustments = self.proposed(kind, start=start, end=end, at=at, version=version)
        if kind != "progressive":
            for rated in bill.rated:
                self.reopened.pop(rated.start, None)
        if not bill.lines and (kind == "progressive" or not adjustments.lines):
            return None
        made = Invoice(
            id=UUID(int=len(self.invoices) + 1),
            kind=kind,
            period=bill.period,
            lines=bill.lines,
            discounts=adjustments.lines,
        )
        self.coupons = self._held([]).after(adjustments).coupons
        self.joined |= adjustments.joined
        if kind != "progressive":
            self.corrected.clear()
        self.invoices.append(made)
        made.state = "draft"
        if not draft:
            self.issue(made, at=at)
        return made

    def proposed(
        self, kind: Kind, *, start: datetime, end: datetime, at: datetime, version: int
    ) -> tuple[Bill, Adjustments]:
        """Return what a window would bill now, as `operations.proposing.propose` does."""
        pinned = version_id(version) if kind in ("period", "final", "progressive") else None
        window = Window(kind=kind, start=start, end=end, at=at, plan_version_id=pinned)
        terms = BillingTerms(self.cycle, self.begins, self.ended_at, stopped_times(self.pauses))
        history = self._history(first_start(terms, window))

        def version_of(begins: datetime) -> UUID:
            return pinned or version_id(self.version_at(begins))

        periods = periods_to_rate(terms, window, history, version_of)
        priced = [(period, self._priced(period, kind)) for period in periods]
        bill = bill_of(terms, window, history, priced, currency=CURRENCY)
        return bill, adjustments_of(bill, self._held([period.start for period in bill.rated]))

    def version_at(self, start: datetime) -> int:
        """Return the plan version that served the period with that start."""
        return [version for since, version in self.served if since <= start][-1]

    def spend(self, period: Period, version: int) -> int:
        """Return what the usage of the running period costs so far, in minor units: what thresholds look at."""
        whole = PeriodToRate(period, period, period, period, None, version_id(version))
        return total(self._priced(whole, "progressive"))

    def _priced(self, period: PeriodToRate, kind: Kind) -> tuple[InvoiceLine, ...]:
        end = period.counted.end if period.through is None else min(period.through, period.counted.end)
        counted = Period(start=period.counted.start, end=max(period.counted.start, end))
        found = {metric: self._usage(metric, counted) for metric in METRICS}
        version = period.plan_version_id.int - 1
        charges = charges_of(self.life.versions[version], version)
        if kind == "progressive":
            charges = tuple(charge for charge in charges if charge.metered)
        stopped = stopped_times(self.pauses)
        return rate(charges, found, period=period.active, full_period=period.full, currency=CURRENCY, pauses=stopped)

    def _usage(self, metric: UUID, period: Period) -> Usage:
        mine = [
            one
            for one in self.events
            if one.counts and one.metric == metric and period.contains(one.at) and pause_at(self.pauses, one.at) is None
        ]
        return Usage(quantity=sum((one.quantity for one in mine), Decimal(0)), events=len(mine))

    def _history(self, first: datetime) -> History:
        """Return what was billed of periods since `first`, and of earlier ones that have changed."""
        late = self._late_before(first) | self.reopened.keys()
        lines = [line for line in self._billed_lines() if line.period.start >= first or line.period.start in late]
        return history_of(lines, self.reopened)

    def _billed_lines(self) -> list[BilledLine]:
        found = [
            BilledLine(
                charge_id=line.charged_id,
                group=line.group,
                period=line.charged_period,
                amount_minor=line.amount_minor,
                quantity=line.quantity,
                events=line.events,
                plan_version_id=version_id(line.charged_id.int // 10 - 1),
                invoice_id=invoice.id,
                invoice_end=invoice.period.end,
                voided=not invoice.is_live,
                forgiven_minor=invoice.forgiven.get(key_of(line)),
            )
            for invoice in self.invoices
            for line in invoice.lines
        ]
        return sorted(found, key=lambda line: (line.invoice_end, line.invoice_id.int))

    def _late_before(self, first: datetime) -> set[datetime]:
        """Return the closed periods whose usage has changed, as `late_usage_store.LATE_PERIODS` does."""
        lines = [line for line in self._billed_lines() if line.bills and line.period.start < first]
        closed = {line.period.start: line.period for line in lines if line.invoice_end >= line.period.end}
        found = set()
        for start, period in closed.items():
            for n, metric in enumerate(METRICS):
                mine = [line for line in lines if line.period.start == start and line.charge_id.int % 10 == n]
                if sum(line.events for line in mine) != self._usage(metric, period).events:
                    found.add(start)
            if any(period.contains(at) for at in self.corrected):
                found.add(start)
        return found

    def _held(self, starts: list[datetime]) -> HeldAdjustments:
        """Return the coupons that an invoice of these periods finds, as `held_adjustment_store` does."""
        return HeldAdjustments(
            coupons=self.coupons,
            available=frozenset(one.application_id for one in self.coupons),
            joined=self.joined,
            taken={key: taken for key, taken in self._taken().items() if key[0] in starts},
        )

    def _taken(self, *, but: Invoice | None = None) -> dict[tuple[datetime, UUID], int]:
        taken: dict[tuple[datetime, UUID], int] = {}
        for invoice in self.invoices:
            for line in invoice.discounts if invoice.is_live and invoice is not but else ():
                key = line.charged_period.start, UUID(line.reference.removeprefix("coupon:"))
                taken[key] = taken.get(key, 0) - line.amount_minor
        return taken

    # What happens to invoices, and money

    def issue(self, invoice: Invoice, *, at: datetime) -> None:
        """Issue an invoice: it is paid from the wallet first, or carries what it owes into it."""
        due = invoice.due_minor
        if due < 0:
            self.granted_minor -= due
            self.wallet_minor -= due
        wallet = Wallet(
            id=UUID(int=1),
            currency=CURRENCY,
            rate_amount=Decimal(1),
            credits=Decimal(self.wallet_minor),
            priority=1,
            created_at=ORIGIN,
        )
        drawn = split_across_wallets([wallet], due_minor=due, currency=CURRENCY, at=at)
        invoice.prepaid_minor = sum(draw.amount_minor for draw in drawn)
        self.wallet_minor -= invoice.prepaid_minor
        invoice.state = "issued" if due > invoice.prepaid_minor else "paid"

    def pay(self, invoice: Invoice) -> None:
        """Take the money for what is open of an invoice."""
        self.paid_minor += invoice.due_minor - invoice.prepaid_minor
        invoice.state = "paid"

    def void(self, invoice: Invoice, *, rebill: bool) -> None:
        """Void an open invoice; what it held is forgiven unless it is to be billed again (R20)."""
        self._give_back(invoice)
        self._reopen(invoice)
        if not rebill:
            for line in invoice.lines:
                if line.amount_minor < 0:
                    continue  # it gives money back: the customer still gets it
                held = min(line.amount_minor, self.live_of(line.charged_period.start, line.charged_id))
                key = (minute_of(line.charged_period.start), name_of(line.charged_id))
                invoice.forgiven[key_of(line)] = max(0, held)
                self.forgiven[key] = self.forgiven.get(key, 0) + max(0, held)
        self.wallet_minor += invoice.prepaid_minor
        invoice.prepaid_minor = 0
        invoice.state = "voided"

    def delete(self, invoice: Invoice) -> None:
        """Delete a draft: it was never billed."""
        self._give_back(invoice)
        self._reopen(invoice)
        self.invoices.remove(invoice)

    def _reopen(self, invoice: Invoice) -> None:
        for line in invoice.lines:
            self.reopened[line.charged_period.start] = version_id(line.charged_id.int // 10 - 1)

    def _give_back(self, invoice: Invoice) -> None:
        self.corrected |= {line.charged_period.start for line in invoice.lines if line.reason == "adjustment"}
        mine = {(line.charged_period.start, UUID(line.reference.removeprefix("coupon:"))) for line in invoice.discounts}
        returned = [application for _, application in mine - self._taken(but=invoice).keys()]
        self.coupons = tuple(
            one
            if one.uses_left is None
            else one.model_copy(update={"uses_left": one.uses_left + returned.count(one.application_id)})
            for one in self.coupons
        )

    def live_of(self, start: datetime, charge_id: UUID) -> int:
        """Return what live invoices bill for a charge in a period, whatever version it is of."""
        lines = [line for one in self.invoices if one.is_live for line in one.lines]
        mine = [line for line in lines if line.charged_period.start == start]
        return total([line for line in mine if name_of(line.charged_id) == name_of(charge_id)])


def version_id(version: int) -> UUID:
    """Return the id of a plan version, counted from 0."""
    return UUID(int=version + 1)


@cache
def charges_of(prices: Prices, version: int) -> tuple[Charge, ...]:
    """Return a plan version's charges; their ids say which charge of which version they are."""
    tiers = tuple(Tier(up_to=up_to, unit_price=unit, flat_fee=flat) for up_to, unit, flat in prices.tiers)
    models = (PerUnit(unit_price=Decimal(prices.unit)), Graduated(tiers=tiers), Flat(fee=Decimal(prices.fee)))
    return tuple(
        Charge(id=UUID(int=10 * (version + 1) + n), metric_id=METRICS[n] if n < 2 else None, model=model)
        for n, model in enumerate(models)
    )


def name_of(charge_id: UUID) -> str:
    """Return what the naive account calls a charge."""
    return NAMES[charge_id.int % 10]


def applied(coupons: tuple[Coupon, ...]) -> tuple[AppliedCoupon, ...]:
    """Return the coupons of a life as a customer holds them."""
    return tuple(
        AppliedCoupon(
            application_id=UUID(int=n + 1),
            name=f"c{n}",
            off=PercentageOff(rate=Decimal(one.worth))
            if one.is_percentage
            else FixedAmountOff(amount_cents=Decimal(one.worth), currency=CURRENCY),
            uses_left=one.periods,
        )
        for n, one in enumerate(coupons)
    )


def record_of(life: Life) -> Record:
    """Return the record of a life that has just begun."""
    begins = instant(life.anchor)
    cycle = BillingCycle(interval="monthly", anchor=begins, timezone="UTC", alignment="anniversary")
    made = Record(life=life, cycle=cycle, begins=begins, coupons=applied(life.coupons))
    made.wallet_minor = made.topped_up_minor = life.wallet
    return made
