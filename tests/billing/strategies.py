"""Small domains for the properties: quantities 0 to 40 with two decimals, at most four tiers, a few zones (style 5)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from billing.charges import (
    Band,
    ChargeModel,
    Dynamic,
    Flat,
    Graduated,
    GraduatedPercentage,
    IncludedOverage,
    Package,
    Percentage,
    PerUnit,
    Tier,
    Usage,
    Volume,
)
from billing.period import BillingCycle

CURRENCIES = st.sampled_from(["USD", "JPY", "KWD"])
ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Sao_Paulo",
        "America/Havana",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "Pacific/Apia",
    ]
)


def hundredths(low: int, high: int) -> st.SearchStrategy[Decimal]:
    """Numbers with two decimals between two whole ones."""
    return st.integers(low * 100, high * 100).map(lambda units: Decimal(units).scaleb(-2))


quantities = hundredths(0, 40)
prices = st.integers(0, 3000).map(lambda units: Decimal(units).scaleb(-3))
rates = hundredths(0, 20)


@st.composite
def bounds(draw: st.DrawFn) -> list[Decimal | None]:
    """Ascending upper bounds of at most four tiers, the last one open."""
    inner: list[Decimal | None] = list(sorted(draw(st.sets(hundredths(0, 40), max_size=3))))
    return [*inner, None]


@st.composite
def tiers(draw: st.DrawFn) -> tuple[Tier, ...]:
    """A valid list of tiers."""
    return tuple(Tier(up_to=up_to, unit_price=draw(prices), flat_fee=draw(prices)) for up_to in draw(bounds()))


@st.composite
def bands(draw: st.DrawFn) -> tuple[Band, ...]:
    """A valid list of percentage bands."""
    return tuple(Band(up_to=up_to, rate=draw(rates), flat_fee=draw(prices)) for up_to in draw(bounds()))


BY_KIND: dict[str, st.SearchStrategy[Any]] = {
    "flat": prices.map(lambda amount: Flat(fee=amount)),
    "per_unit": st.builds(PerUnit, unit_price=prices),
    "graduated": st.builds(Graduated, tiers=tiers()),
    "included": st.builds(IncludedOverage, included=quantities, unit_price=prices),
    "volume": st.builds(Volume, tiers=tiers()),
    "package": st.builds(
        lambda amount, size, free: Package(package_price=amount, package_size=size, free_units=free),
        prices,
        st.integers(1, 1200).map(lambda units: Decimal(units).scaleb(-2)),
        quantities,
    ),
    "percentage": st.builds(Percentage, rate=rates, fixed_fee=prices),
    "graduated_percentage": st.builds(GraduatedPercentage, bands=bands()),
    "dynamic": st.just(Dynamic()),
}


def charge_models(*, without: frozenset[str] = frozenset()) -> st.SearchStrategy[ChargeModel]:
    """Any charge model of the registry, but for the kinds left out."""
    return st.one_of([strategy for kind, strategy in BY_KIND.items() if kind not in without])


@st.composite
def growing_usages(draw: st.DrawFn, count: int) -> tuple[Usage, ...]:
    """Usage of one period as it is seen at ascending moments."""
    quantity = sorted(draw(st.lists(quantities, min_size=count, max_size=count)))
    events = sorted(draw(st.lists(st.integers(0, 9), min_size=count, max_size=count)))
    priced = sorted(draw(st.lists(prices, min_size=count, max_size=count)))
    return tuple(Usage(quantity=quantity[index], events=events[index], priced=priced[index]) for index in range(count))


def instants(first: int = 2009, last: int = 2031) -> st.SearchStrategy[datetime]:
    """Instants of some years, to the microsecond, often near midnight and around changes of the clock."""
    whole_hours = st.builds(
        lambda day, hour: datetime(first, 1, 1, tzinfo=UTC) + timedelta(days=day, minutes=30 * hour),
        st.integers(0, (last - first) * 365),
        st.integers(0, 47),
    )
    anywhere = st.datetimes(datetime(first, 1, 1), datetime(last, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001
    return st.one_of(whole_hours, anywhere)


@st.composite
def cycles(draw: st.DrawFn) -> BillingCycle:
    """Any billing cycle."""
    return BillingCycle(
        interval=draw(st.sampled_from(["weekly", "monthly", "quarterly", "yearly"])),
        anchor=draw(instants()),
        timezone=draw(ZONES),
        alignment=draw(st.sampled_from(["anniversary", "calendar"])),
    )
