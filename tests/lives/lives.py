"""Random lives of subscriptions: plain data made from a seed, with nothing in it that a product decides.

Times are whole minutes since `ORIGIN`. Commands happen at even minutes and events at odd ones, so that no event shares
its instant with a command or a boundary; quantities are quarters of a unit.
"""

import calendar
import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

ORIGIN: Final = datetime(2025, 1, 1, tzinfo=UTC)
DAY: Final = 24 * 60

PAUSES: Final = "pauses"
FORGIVING_VOIDS: Final = "voids that forgive"
REBILLING_VOIDS: Final = "voids that bill again"
VOIDS_AFTER_CORRECTIONS: Final = "voids after corrections"
DISCOUNTED_CORRECTIONS: Final = "corrections of discounted periods"
DISCOUNTED_PARTS: Final = "coupons on a period that is billed in parts"
COUNTED_IN_GRACE: Final = "coupons for some periods with grace days"
CANCELED_AGREED_ENDS: Final = "cancel after an end was agreed"
ENDS_WHILE_PENDING: Final = "an agreed end before the start"
ENDS_WITH_GRACE: Final = "an end with grace days"
MIGRATES_BACK: Final = "migrations back and forth"
LATE_DELETES: Final = "drafts deleted after their period"
ALL_OPTIONS: Final = frozenset(
    {
        PAUSES,
        FORGIVING_VOIDS,
        REBILLING_VOIDS,
        VOIDS_AFTER_CORRECTIONS,
        DISCOUNTED_CORRECTIONS,
        DISCOUNTED_PARTS,
        COUNTED_IN_GRACE,
        CANCELED_AGREED_ENDS,
        ENDS_WHILE_PENDING,
        ENDS_WITH_GRACE,
        MIGRATES_BACK,
        LATE_DELETES,
    }
)
"""What a life may hold beside the rest; a test names those in which the product keeps the rules."""


class Prices(NamedTuple):
    """A plan version in major units: a fee, a price for each unit of metric 0, graduated tiers for metric 1."""

    fee: str
    unit: str
    tiers: tuple[tuple[int | None, str, str], ...]


class Coupon(NamedTuple):
    """A percentage, or an amount in minor units, for so many billed periods (None: for ever), from the beginning."""

    is_percentage: bool
    worth: int
    periods: int | None


class Step(NamedTuple):
    """What somebody does at a minute; `n` and `m` mean what the act says, `when` is the time of an event.

    use: m quarters of metric n at `when`. amend, unuse: event n (in the order of use). void, pay, delete, finalize: the
    nth candidate, if there is one; void with m = 1 asks to bill it again. topup: m minor units.
    """

    at: int
    act: str
    n: int = 0
    m: int = 0
    when: int = 0


@dataclass(frozen=True)
class Life:
    """One subscription from its making at `ORIGIN` to a minute at which nothing is due any more."""

    seed: int
    versions: tuple[Prices, Prices]
    start: int = 0
    trial_days: int = 0
    grace_days: int = 0
    agreed_end: int | None = None
    card: str = "none"
    in_clock: bool = False
    wallet: int = 0
    thresholds: tuple[int, ...] = ()
    coupons: tuple[Coupon, ...] = ()
    steps: tuple[Step, ...] = ()
    until: int = 0
    holds: frozenset[str] = field(default=frozenset())
    waits: bool = False

    @property
    def anchor(self) -> int:
        """The minute at which billing begins: after the trial."""
        return self.start + self.trial_days * DAY

    def boundary(self, k: int) -> int:
        """Return the minute at which period k begins: the anchor plus k months, the day clamped (R12)."""
        return months_after(self.anchor, k)


def instant(minute: int) -> datetime:
    """Return a minute as a point in time."""
    return ORIGIN + timedelta(minutes=minute)


def minute_of(at: datetime) -> int:
    """Return a point in time as a minute."""
    return (at - ORIGIN) // timedelta(minutes=1)


def months_after(anchor: int, k: int) -> int:
    """Return the same day and time k months later, or the last day of a shorter month."""
    begins = instant(anchor)
    years, month = divmod(begins.year * 12 + begins.month - 1 + k, 12)
    day = min(begins.day, calendar.monthrange(years, month + 1)[1])
    return minute_of(begins.replace(year=years, month=month + 1, day=day))


def life(seed: int, options: frozenset[str] = ALL_OPTIONS) -> Life:
    """Make the life of a seed; it holds no more than the options, and the same seed gives the same life."""
    chance = random.Random(seed)
    # Each option by itself, so that a new one leaves the lives of the others as they are.
    holds = frozenset(option for option in options if random.Random(f"{seed} {option}").random() < 0.5)
    void = bool(holds & {FORGIVING_VOIDS, REBILLING_VOIDS})
    coupons = _coupons(chance, limited=not void and PAUSES not in holds, fixed=not void)
    base = Life(
        seed=seed,
        versions=(_prices(chance), _prices(chance)),
        start=chance.choice((0, 0, 30, 14, chance.randrange(60))) * DAY,
        trial_days=0 if any(one.periods for one in coupons) else chance.choice((0, 0, 0, 7, 20)),
        grace_days=chance.choice((0, 0, 0, 1, 3, 10)),
        card=chance.choice(("none", "good", "declines")),
        in_clock=chance.random() < 0.5,
        wallet=chance.choice((0, 0, 500, 5000, 40000)),
        thresholds=tuple(sorted(chance.sample(range(500, 20000, 250), chance.choice((0, 0, 1, 2))))),
        coupons=coupons,
        holds=holds,
    )
    if coupons and DISCOUNTED_PARTS not in holds:
        base = replace(base, thresholds=())
    if DISCOUNTED_CORRECTIONS in holds and (len(coupons) > 1 or "0" in {each.fee for each in base.versions}):
        # Which period uses a coupon up is then a matter of the order of corrections, which the account does not know.
        base = replace(base, coupons=tuple(one._replace(periods=None) for one in coupons))
    if any(one.periods for one in coupons) and COUNTED_IN_GRACE not in holds:
        base = replace(base, grace_days=0)
    if chance.random() < 0.15 and not (base.grace_days and ENDS_WITH_GRACE not in holds):
        base = replace(base, agreed_end=base.start + 2 * chance.randrange(60 * DAY))
    return _Teller(chance, base).told()


def rough_life(seed: int, options: frozenset[str] = ALL_OPTIONS) -> Life:
    """Make a life of commands in any order, allowed or not, perhaps without a start or with an agreed end before it."""
    chance = random.Random(seed)
    told = life(seed, ALL_OPTIONS - {LATE_DELETES})
    acts = [*_ALLOWED, "activate"]
    at, steps = 0, list[Step]()
    for _ in range(chance.randrange(2, 40)):
        at += 2 * chance.randrange(chance.choice((1, 100, 10000, 40000)))
        steps.append(Step(at, chance.choice(acts), n=chance.randrange(2)))
    end = 2 * chance.randrange(60 * DAY) if chance.random() < 0.3 else None
    waits = chance.random() < 0.2
    if end is not None and (waits or end <= told.start) and ENDS_WHILE_PENDING not in options:
        end = None
    return replace(told, steps=tuple(steps), agreed_end=end, waits=waits, until=at + 90 * DAY)


def _prices(chance: random.Random) -> Prices:
    fee = chance.choice(("0", "10.00", "30.00", "31.00", "99.99"))
    unit = chance.choice(("1.00", "0.37", "0.015", "2.5", "0.0333"))
    first, second = chance.choice(((10, 40), (5, 100), (1, 2)))
    tiers = ((first, chance.choice(("0", "0.10")), "0"), (second, "0.055", chance.choice(("0", "1.50"))))
    return Prices(fee, unit, (*tiers, (None, "0.0125", "0")))


def _coupons(chance: random.Random, *, limited: bool, fixed: bool) -> tuple[Coupon, ...]:
    found = []
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        is_percentage = not fixed or chance.random() < 0.6
        worth = chance.choice((10, 25, 50, 100)) if is_percentage else chance.choice((100, 550, 5000))
        found.append(Coupon(is_percentage, worth, chance.choice((None, 1, 2)) if limited else None))
    return tuple(found)


class _Teller:
    """Tells a life step by step; it follows the status by itself, so that every command is one that is allowed."""

    def __init__(self, chance: random.Random, base: Life) -> None:
        self._chance = chance
        self._base = base
        self._status = "active"
        self._over_at = base.agreed_end
        self._events: list[int] = []
        self._gone: set[int] = set()
        self._corrected = False
        self._drafts = 0
        self._has_migrated = False

    def told(self) -> Life:
        """Return the life with its steps, and the minute at which it is accounted for."""
        chance, base, steps = self._chance, self._base, list[Step]()
        at = base.start + 2
        for _ in range(chance.randrange(3, 26)):
            at = self._later(at)
            step = self._step(at)
            if step is not None:
                steps.append(step)
        if self._status == "paused" and not self._is_over(at):
            steps.append(Step(at := at + 2, "resume"))
        if self._drafts and LATE_DELETES not in base.holds:
            steps.append(Step(at := at + 2, "finalize"))
        k = next(k for k in range(100) if base.boundary(k) > max(at, base.anchor))
        until = base.boundary(k + 1) + (base.grace_days + 1) * DAY
        return replace(base, steps=tuple(steps), until=until)

    def _later(self, at: int) -> int:
        """Return an even minute after `at`: minutes or days later, sometimes a boundary itself."""
        chance = self._chance
        if chance.random() < 0.12:
            return next(b for k in range(100) if (b := self._base.boundary(k)) > at)
        hours = chance.choice((0, 0, 5, 24, 72, 240))
        return at + 2 + 2 * chance.randrange(30 * hours + 20)

    def _is_over(self, at: int) -> bool:
        return self._over_at is not None and at >= self._over_at

    def _step(self, at: int) -> Step | None:
        if self._is_over(at):
            self._status = "over"
        act = self._chance.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
        match act:
            case "use":
                return self._use(at)
            case "amend" | "unuse":
                return self._correct(at, act)
            case "draft" | "cut" | "finalize" | "delete":
                return self._by_hand(at, act)
            case "void":
                return self._void(at)
            case "pay":
                return Step(at, act, n=self._chance.randrange(8))
            case "topup":
                return Step(at, act, m=self._chance.randrange(1, 5000))
            case _:
                return self._command(at, act)

    def _use(self, at: int) -> Step | None:
        chance = self._chance
        back = chance.choice((0, 0, 0, 20, 1440, 20 * DAY, 45 * DAY))
        latest = at if self._over_at is None else min(at, self._over_at)
        when = (latest - 1 - 2 * chance.randrange(back // 2 + 1)) | 1
        if when < self._base.start or (self._may_not_correct and not self._is_of_an_open_period(when, at)):
            return None
        when -= 2 * (when >= latest)
        self._events.append(when)
        quarters = chance.choice((1, 4, 40, 400, chance.randrange(600)))
        return Step(at, "use", n=chance.randrange(2), m=quarters, when=when)

    @property
    def _may_not_correct(self) -> bool:
        return bool(self._base.coupons) and DISCOUNTED_CORRECTIONS not in self._base.holds

    def _is_of_an_open_period(self, when: int, at: int) -> bool:
        """Return whether no invoice can have closed the period of an event: it is the current one, and not over."""
        k = next(k for k in range(100) if self._base.boundary(k) > at)
        return self._status != "over" and (k == 0 or when >= self._base.boundary(k - 1))

    def _correct(self, at: int, act: str) -> Step | None:
        left = [n for n in range(len(self._events)) if n not in self._gone]
        if not left or (self._base.coupons and DISCOUNTED_CORRECTIONS not in self._base.holds):
            return None
        n = self._chance.choice(left)
        self._corrected = True
        if act == "unuse":
            self._gone.add(n)
            return Step(at, act, n=n)
        return Step(at, act, n=n, m=self._chance.randrange(600))

    def _by_hand(self, at: int, act: str) -> Step | None:
        if self._status not in ("active", "suspended") or at <= self._base.anchor:
            return None
        if self._base.coupons and DISCOUNTED_PARTS not in self._base.holds:
            return None
        if act == "draft":
            if LATE_DELETES not in self._base.holds and self._drafts:
                return None
            self._drafts += 1
        elif act in ("finalize", "delete"):
            if not self._drafts or (act == "delete" and LATE_DELETES not in self._base.holds):
                return None
            self._drafts -= 1
        return Step(at, act, n=self._chance.randrange(4))

    def _void(self, at: int) -> Step | None:
        holds = self._base.holds
        if self._corrected and VOIDS_AFTER_CORRECTIONS not in holds:
            return None
        kinds = [m for m, option in ((0, FORGIVING_VOIDS), (1, REBILLING_VOIDS)) if option in holds]
        return Step(at, "void", n=self._chance.randrange(4), m=self._chance.choice(kinds)) if kinds else None

    def _command(self, at: int, act: str) -> Step | None:
        if self._status not in _ALLOWED[act]:
            return None
        if act == "pause" and PAUSES not in self._base.holds:
            return None
        trial_is_over = at >= self._base.anchor
        if act in ("suspend", "migrate") and not trial_is_over:
            return None
        if act in ("cancel", "terminate") and self._base.grace_days and ENDS_WITH_GRACE not in self._base.holds:
            return None
        if act == "migrate" and MIGRATES_BACK not in self._base.holds:
            if self._has_migrated:
                return None
            self._has_migrated = True
            return Step(at, act, n=1)
        if act == "terminate":
            self._over_at, self._status = at, "over"
        elif act == "cancel":
            if self._base.agreed_end is not None and CANCELED_AGREED_ENDS not in self._base.holds:
                return None
            ends = [self._base.anchor, *(self._base.boundary(k) for k in range(1, 100))]
            end = next(end for end in ends if end > at)
            self._over_at = end if self._over_at is None else min(self._over_at, end)
        else:
            self._status = {"pause": "paused", "suspend": "suspended"}.get(act, self._status)
            if act in ("resume", "reinstate"):
                self._status = "active"
        return Step(at, act, n=self._chance.randrange(2) if act == "migrate" else 0)


_WEIGHTS: Final = {
    "use": 40,
    "amend": 6,
    "unuse": 4,
    "draft": 3,
    "delete": 3,
    "finalize": 3,
    "cut": 4,
    "void": 6,
    "pay": 6,
    "topup": 2,
    "pause": 4,
    "resume": 8,
    "suspend": 2,
    "reinstate": 4,
    "cancel": 1,
    "terminate": 1,
    "migrate": 3,
}
_RUNNING: Final = ("active", "paused", "suspended")
_ALLOWED: Final = {
    "pause": ("active",),
    "resume": ("paused",),
    "suspend": ("active",),
    "reinstate": ("suspended",),
    "cancel": _RUNNING,
    "terminate": _RUNNING,
    "migrate": ("active", "suspended", "paused"),
}
