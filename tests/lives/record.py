"""A record in memory for one subscription of one life: events, invoices, coupons and a wallet, and the close over them.

It stands where Postgres does. What decides is the product's: `rate`, `assemble`, `discounts`, `draws`. The close below
puts them together as the transaction of the real one does.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Final, Literal
from uuid import UUID

from billing.charges import Charge
from billing.charges.flat import Flat
from billing.charges.graduated import Graduated
from billing.charges.per_unit import PerUnit
from billing.discounts import AppliedCoupon, FixedAmountOff, PercentageOff, discounts
from billing.invoice import BilledLine, InvoiceLine, assemble, nothing_left, total
from billing.period import BillingCycle, Period
from billing.pricing import Tier
from billing.progressive import unbilled_usage
from billing.rating import ProposedLine, rate
from billing.subscriptions.pauses import Pause, pause_at, stopped_times
from billing.usage import Usage
from billing.wallets import Wallet, split_across_wallets
from tests.lives.lives import ORIGIN, Coupon, Life, Prices, instant, minute_of

CURRENCY: Final = "USD"
METRICS: Final = (UUID(int=1), UUID(int=2))
NAMES: Final = ("units", "calls", "fee")

Kind = Literal["period", "final", "on_demand", "progressive", "adjustment"]
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
    taken: dict[UUID, int]
    counted: tuple[UUID, ...]
    state: InvoiceState = "issued"
    prepaid_minor: int = 0

    @property
    def due_minor(self) -> int:
        """The sum of the charges less discounts; below zero it goes to the wallet."""
        return total(self.lines) - sum(self.taken.values())

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
    coupons: list[AppliedCoupon] = field(default_factory=list)
    wallet_minor: int = 0
    granted_minor: int = 0
    topped_up_minor: int = 0
    paid_minor: int = 0
    forgiven: dict[tuple[int, str], int] = field(default_factory=dict)

    # What the close does

    def close(
        self, kind: Kind, *, start: datetime, end: datetime, at: datetime, version: int, draft: bool = False
    ) -> Invoice | None:
        """Bill what is unbilled in a window, as `activities.closing.close` does; None if nothing is."""
        lines = self.unbilled(kind, start=start, end=end, version=version)
        if not lines:
            return None
        until = end if self.ended_at is None else min(end, self.ended_at)
        shown = Period(start=min(start, until), end=until)
        taken = discounts(self._held(shown.end), [line.amount_minor for line in lines], CURRENCY)
        counted = tuple(one.application_id for one in taken if one.counts)
        made = Invoice(
            id=UUID(int=len(self.invoices) + 1),
            kind=kind,
            period=shown,
            lines=lines,
            taken={one.application_id: one.amount_minor for one in taken},
            counted=counted,
        )
        self._use_coupons(counted, by=-1)
        if kind != "progressive":
            self.corrected.clear()
        self.invoices.append(made)
        made.state = "draft"
        if not draft:
            self.issue(made, at=at)
        return made

    def unbilled(self, kind: Kind, *, start: datetime, end: datetime, version: int) -> tuple[InvoiceLine, ...]:
        """Return the lines of a window that are not billed yet, as the close and `progressive_billing_store` do."""
        if kind == "progressive":
            running = Period(start=start, end=end)
            return unbilled_usage(self._billed(start), self._proposed(running, running, end, version))
        ended_at = end if kind == "final" else self.ended_at
        until = end if ended_at is None else min(end, ended_at)
        periods = self.cycle.periods_between(max(start, self.begins), until)
        first = periods[0].start if periods else start
        late = self._late_before(first) if periods or ended_at is not None else []
        proposed: list[ProposedLine] = []
        for period in (*(self.cycle.period_containing(begin) for begin in late), *periods):
            active = period if ended_at is None or ended_at >= period.end else Period(start=period.start, end=ended_at)
            pinned = version if kind in ("period", "final") else self.version_at(period.start)
            chosen = self._billed_under(period.start)
            proposed += self._proposed(active, period, min(until, active.end), pinned if chosen is None else chosen)
        before = self._billed(first, late)
        closed = self._closed()
        lines = assemble(before, proposed, closed=closed)
        if kind in ("period", "final") and start not in closed | {line.period.start for line in lines}:
            lines += nothing_left(before, [line for line in proposed if line.period.start == start])
        return lines

    def version_at(self, start: datetime) -> int:
        """Return the plan version that served the period with that start."""
        return [version for since, version in self.served if since <= start][-1]

    def spend(self, period: Period, version: int) -> int:
        """Return what the usage of the running period costs so far, in minor units: what thresholds look at."""
        lines = self._proposed(period, period, period.end, version)
        return total([line for line in lines if line.kind == "usage"])

    def _proposed(self, active: Period, full: Period, until: datetime, version: int) -> tuple[ProposedLine, ...]:
        counted = Period(start=active.start, end=max(active.start, until))
        found = {metric: self._usage(metric, counted) for metric in METRICS}
        charges = charges_of(self.life.versions[version], version)
        stopped = stopped_times(self.pauses)
        return rate(charges, found, period=active, full_period=full, currency=CURRENCY, pauses=stopped)

    def _usage(self, metric: UUID, period: Period) -> Usage:
        mine = [
            one
            for one in self.events
            if one.counts and one.metric == metric and period.contains(one.at) and pause_at(self.pauses, one.at) is None
        ]
        return Usage(quantity=sum((one.quantity for one in mine), Decimal(0)), events=len(mine))

    def _billed(self, first: datetime, late: list[datetime] | None = None) -> list[BilledLine]:
        return [
            BilledLine(
                charge_id=line.charge_id,
                period_start=line.period.start,
                amount_minor=line.amount_minor,
                quantity=line.quantity,
                events=line.events,
            )
            for invoice in self.invoices
            if invoice.is_live
            for line in invoice.lines
            if line.period.start >= first or line.period.start in (late or ())
        ]

    def _billed_under(self, start: datetime) -> int | None:
        for invoice in reversed(self.invoices):
            for line in invoice.lines if invoice.is_live else ():
                if line.period.start == start:
                    return line.charge_id.int // 10 - 1
        return None

    def _closed(self) -> frozenset[datetime]:
        lines = [(i, line) for i in self.invoices if i.is_live for line in i.lines]
        return frozenset(line.period.start for i, line in lines if i.period.end >= line.period.end)

    def _late_before(self, first: datetime) -> list[datetime]:
        """Return the closed periods whose usage has changed, as `late_usage_store.LATE_PERIODS` does."""
        found = set()
        for start in sorted(begin for begin in self._closed() if begin < first):
            lines = [line for one in self.invoices for line in one.lines if line.period.start == start]
            period = Period(start=start, end=max(line.period.end for line in lines))
            for metric in METRICS:
                billed = sum(
                    line.events
                    for one in self.invoices
                    for line in (one.lines if one.is_live else ())
                    if line.period.start == start and line.metric_id == metric
                )
                if billed != self._usage(metric, period).events:
                    found.add(start)
            if any(period.contains(at) for at in self.corrected):
                found.add(start)
        return sorted(found)

    def _held(self, end: datetime) -> list[AppliedCoupon]:
        """Return the coupons that an invoice ending there finds, as `pending_adjustments` does."""
        period = self.cycle.period_containing(end - timedelta.resolution)
        taken: dict[UUID, int] = {}
        for one in self.invoices:
            if one.is_live and period.start < one.period.end <= period.end:
                for coupon, minor in one.taken.items():
                    taken[coupon] = taken.get(coupon, 0) + minor
        return [one.model_copy(update={"taken_minor": taken.get(one.application_id)}) for one in self.coupons]

    def _use_coupons(self, used: tuple[UUID, ...], *, by: int) -> None:
        self.coupons = [
            one.model_copy(update={"uses_left": one.uses_left + by})
            if one.application_id in used and one.uses_left is not None
            else one
            for one in self.coupons
        ]

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
        if not rebill:
            for line in invoice.lines:
                held = min(line.amount_minor, self.live_of(line.period.start, line.charge_id))
                key = (minute_of(line.period.start), name_of(line.charge_id))
                self.forgiven[key] = self.forgiven.get(key, 0) + max(0, held)
        self.wallet_minor += invoice.prepaid_minor
        invoice.prepaid_minor = 0
        invoice.state = "voided"

    def delete(self, invoice: Invoice) -> None:
        """Delete a draft: it was never billed."""
        self._give_back(invoice)
        self.invoices.remove(invoice)

    def _give_back(self, invoice: Invoice) -> None:
        self.corrected |= {line.period.start for line in invoice.lines if line.reason == "adjustment"}
        self._use_coupons(invoice.counted, by=1)

    def live_of(self, start: datetime, charge_id: UUID) -> int:
        """Return what live invoices bill for a charge in a period, whatever version it is of."""
        lines = [line for one in self.invoices if one.is_live for line in one.lines if line.period.start == start]
        return total([line for line in lines if name_of(line.charge_id) == name_of(charge_id)])


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


def applied(coupons: tuple[Coupon, ...]) -> list[AppliedCoupon]:
    """Return the coupons of a life as a customer holds them."""
    return [
        AppliedCoupon(
            application_id=UUID(int=n + 1),
            name=f"c{n}",
            off=PercentageOff(rate=Decimal(one.worth))
            if one.is_percentage
            else FixedAmountOff(amount_cents=Decimal(one.worth), currency=CURRENCY),
            uses_left=one.periods,
        )
        for n, one in enumerate(coupons)
    ]


def record_of(life: Life) -> Record:
    """Return the record of a life that has just begun."""
    begins = instant(life.anchor)
    cycle = BillingCycle(interval="monthly", anchor=begins, timezone="UTC", alignment="anniversary")
    made = Record(life=life, cycle=cycle, begins=begins, coupons=applied(life.coupons))
    made.wallet_minor = made.topped_up_minor = life.wallet
    return made
