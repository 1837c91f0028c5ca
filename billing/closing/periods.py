"""The first step of a close: which periods are rated, how much of each, and under which plan version (C5, C25, R14)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Literal, NamedTuple
from uuid import UUID

from billing.closing.difference import Billed, LineKey
from billing.period import BillingCycle, Period
from billing.scope import Group

CloseKind = Literal["period", "on_demand", "final", "progressive", "adjustment"]


@dataclass(frozen=True)
class BillingTerms:
    """The time of a subscription that is billed: its cycle, the end of its trial or its start, and its end.

    For the time of `pauses` no fee is due (R21).
    """

    cycle: BillingCycle
    billing_starts_at: datetime
    ended_at: datetime | None
    pauses: tuple[Period, ...]


@dataclass(frozen=True)
class Window:
    """What a close is to bill: everything unbilled of `[start, end)`, at the subscription's time `at`.

    `plan_version_id` is the version that rates it; None: the one that served each period.
    """

    kind: CloseKind
    start: datetime
    end: datetime
    at: datetime
    plan_version_id: UUID | None = None

    @property
    def closes_period(self) -> bool:
        """Tell whether the window is a period that ends for good."""
        return self.kind in ("period", "final")


class BilledLine(NamedTuple):
    """One line of a charge on an earlier invoice, with what of that invoice decides what it bills.

    `forgiven_minor` is None unless the invoice was voided for good; a voided one with None is billed again (R20).
    """

    charge_id: UUID
    group: Group
    period: Period
    amount_minor: int
    quantity: Decimal
    events: int
    plan_version_id: UUID
    invoice_id: UUID
    invoice_end: datetime
    voided: bool = False
    forgiven_minor: int | None = None

    @property
    def bills(self) -> bool:
        """Tell whether the line counts as billed: its invoice is live, or was forgiven."""
        return not self.voided or self.forgiven_minor is not None


@dataclass(frozen=True)
class History:
    """What was billed of a subscription before, of the periods that a close may touch.

    `versions` tells under which plan version a period was billed, `closed` which were billed to their end, `settled`
    which ever were, those of voided invoices included: their discounts are fixed. `reopened` are periods that are to be
    billed again, with their version. `billed_until` tells how far into each period invoices reach, `closed_until` is
    the latest exclusive end of an invoice, `last_invoice_id` that invoice.
    """

    billed: Mapping[LineKey, Billed] = field(default_factory=dict)
    versions: Mapping[datetime, UUID] = field(default_factory=dict)
    closed: frozenset[datetime] = frozenset()
    settled: frozenset[datetime] = frozenset()
    reopened: Mapping[datetime, UUID] = field(default_factory=dict)
    billed_until: Mapping[datetime, datetime] = field(default_factory=dict)
    closed_until: datetime | None = None
    last_invoice_id: UUID | None = None

    def was_billed(self, start: datetime) -> bool:
        """Tell whether the period that starts there was billed to its end before, in a voided invoice perhaps."""
        return start in self.settled or start in self.reopened

    @property
    def starts(self) -> set[datetime]:
        """The starts of all periods that are known here."""
        return {*self.versions, *self.reopened}

    def counted_through(self, start: datetime, until: datetime) -> datetime | None:
        """Return the exclusive instant up to which usage of the period is counted for a cutoff; None: all of it.

        An earlier cutoff than an invoice had takes nothing back of what that invoice billed. A microsecond is added, as
        an invoice for a threshold bills usage of its very instant.
        """
        if start in self.closed:
            return None
        billed = self.billed_until.get(start)
        return until if billed is None or billed <= until else billed + timedelta(microseconds=1)

    def billed_minor(self, start: datetime) -> int:
        """Return what live invoices charge for the period that starts there, before discounts."""
        return sum(billed.amount_minor for (_, begins, _), billed in self.billed.items() if begins == start)


def history_of(lines: Iterable[BilledLine], reopened: Mapping[datetime, UUID] = MappingProxyType({})) -> History:
    """Gather the lines of earlier invoices, in the order of the ends of their invoices."""
    billed: dict[LineKey, Billed] = {}
    versions: dict[datetime, UUID] = {}
    until: dict[datetime, datetime] = {}
    closed, settled = set(), set()
    closed_until, last_invoice_id = None, None
    for line in lines:
        start = line.period.start
        versions[start] = line.plan_version_id
        reaches_the_end = line.invoice_end >= line.period.end
        if reaches_the_end:
            settled.add(start)
        if not line.bills:
            continue
        key = line.charge_id, start, line.group
        live = 0 if line.voided else line.amount_minor
        held = Billed(live, line.quantity, line.events, line.forgiven_minor or 0)
        billed[key] = billed.get(key, Billed()).plus(held)
        until[start] = max(line.invoice_end, until.get(start, line.invoice_end))
        if reaches_the_end:
            closed.add(start)
        if not line.voided:
            closed_until, last_invoice_id = line.invoice_end, line.invoice_id
    ended = frozenset(closed), frozenset(settled)
    return History(billed, versions, *ended, reopened, until, closed_until, last_invoice_id)


class LeftOut(NamedTuple):
    """A period that was billed before and cannot be rated again: it is left as it was billed, with the reason."""

    period: Period
    reason: str


class PeriodToRate(NamedTuple):
    """One period of a close: `active` is what of it is billed, `full` the uncut one that fees are prorated by (R14).

    Usage of `counted` is counted, through the exclusive instant `through` if there is one.
    """

    period: Period
    active: Period
    full: Period
    counted: Period
    through: datetime | None
    plan_version_id: UUID


def first_start(terms: BillingTerms, window: Window) -> datetime:
    """Return the start of the window's first period; earlier ones are rated only if they have changed."""
    if window.kind == "progressive":
        return window.start
    periods = terms.cycle.periods_between(max(window.start, terms.billing_starts_at), _until(terms, window))
    return periods[0].start if periods else window.start


def periods_to_rate(
    terms: BillingTerms, window: Window, history: History, version_of: Callable[[datetime], UUID]
) -> tuple[PeriodToRate, ...]:
    """Return the periods that a close rates: earlier ones that have changed, then those of its window, in order.

    Each period is rated by itself: tiers restart, one flat fee each, in full for a period whose start lies in the
    window (C25). The last period counts usage up to the window's end; its later usage is the difference on the next
    invoice. When the subscription has ended, or ends with this close, its last period is cut there and a flat fee is
    prorated (R14). A period that was billed under a plan version stays under it; `version_of` tells the one of others.
    """

    def chosen(start: datetime) -> UUID:
        return history.versions.get(start) or history.reopened.get(start) or version_of(start)

    if window.kind == "progressive":
        running = Period(start=window.start, end=window.end)
        return (PeriodToRate(running, running, running, running, None, chosen(running.start)),)
    ended_at, until = _ended_at(terms, window), _until(terms, window)
    periods = terms.cycle.periods_between(max(window.start, terms.billing_starts_at), until)
    if periods or terms.ended_at is not None:
        first = periods[0].start if periods else window.start
        late = sorted(begin for begin in history.starts if begin < first)
        periods = (*(terms.cycle.period_containing(begin) for begin in late), *periods)
    found = []
    for period in periods:
        active = period if ended_at is None or ended_at >= period.end else Period(start=period.start, end=ended_at)
        counted = active if active.end == period.end else _with_its_last_instant(active)
        full = terms.cycle.full_period_containing(period.start)
        through = history.counted_through(period.start, until) if until < active.end else None
        found.append(PeriodToRate(period, active, full, counted, through, chosen(period.start)))
    return tuple(found)


def shown_period(terms: BillingTerms, window: Window, history: History, first_line: datetime | None) -> Period:
    """Return the period an invoice shows: from the last invoiced instant, or the start, to the cutoff (C25).

    An invoice that only corrects periods invoiced before shows those, from that of its first line on. A progressive one
    ends before its period does, which stays open.
    """
    closed = history.closed_until
    if window.kind == "progressive":
        begins = window.start if closed is None or not window.start < closed < window.at else closed
        return Period(start=begins, end=max(window.at, begins + timedelta(seconds=1)))
    start, end = max(window.start, terms.billing_starts_at), _until(terms, window)
    begins = start if closed is None else max(start, closed)
    if begins < end:
        return Period(start=begins, end=end)
    return Period(start=min(start if first_line is None else first_line, end), end=end)


def _ended_at(terms: BillingTerms, window: Window) -> datetime | None:
    return window.end if window.kind == "final" else terms.ended_at


def _until(terms: BillingTerms, window: Window) -> datetime:
    ended_at = _ended_at(terms, window)
    return window.end if ended_at is None else min(window.end, ended_at)


def _with_its_last_instant(active: Period) -> Period:
    """Return what is counted of a period that its subscription's end cuts: what was accepted at that very instant too.

    In a test clock, which stands still, usage and the command that ends a subscription have the same time.
    """
    return Period(start=active.start, end=active.end + timedelta(microseconds=1))
