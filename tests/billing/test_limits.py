"""What a cap leaves, and what usage costs with its reservations on top."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from hypothesis import given

from billing.charges import Charge, Dynamic, Graduated, Tier
from billing.limits import LimitStatus, ReservedQuantity, spend
from billing.period import Period
from billing.usage import Usage
from tests.billing.strategies import hundredths

MONTH = Period(start=datetime(2026, 4, 1, tzinfo=UTC), end=datetime(2026, 5, 1, tzinfo=UTC))
METRIC, OTHER = UUID(int=1), UUID(int=2)
TIERS = (Tier(up_to=Decimal(10), unit_price=Decimal("1")), Tier(up_to=None, unit_price=Decimal("0.5")))
GRADUATED = Charge(id=UUID(int=9), metric_id=METRIC, metric_key="calls", model=Graduated(tiers=TIERS))


def test_a_cap_is_inclusive_and_never_leaves_less_than_nothing() -> None:
    full = LimitStatus(cap=Decimal(50), used=Decimal(30), reserved=Decimal(20))
    assert (full.is_kept, full.left) == (True, Decimal(0))
    over = LimitStatus(cap=Decimal(50), used=Decimal(57), reserved=Decimal("0.5"))
    assert (over.is_kept, over.left) == (False, Decimal(0))


def test_spend_prices_reservations_in_the_tier_that_they_would_fall_into() -> None:
    """8 used and 4 reserved: 10 at 1.00 and 2 at 0.50 are 11.00; another metric's reservation costs nothing here."""
    used = {GRADUATED.id: Usage(quantity=Decimal(8), events=1)}
    held = [
        ReservedQuantity(metric_id=METRIC, quantity=Decimal(4)),
        ReservedQuantity(metric_id=OTHER, quantity=Decimal(100)),
    ]
    assert spend([GRADUATED], used, held, period=MONTH, currency="USD") == 1100
    assert spend([GRADUATED], used, [], period=MONTH, currency="USD") == 800


def test_a_reservation_with_its_own_price_costs_that() -> None:
    dynamic = Charge(id=UUID(int=9), metric_id=METRIC, metric_key="calls", model=Dynamic(price_field="price"))
    held = [ReservedQuantity(metric_id=METRIC, quantity=Decimal(3), properties={"price": Decimal("0.25")})]
    assert spend([dynamic], {}, held, period=MONTH, currency="USD") == 75


@given(used=hundredths(0, 4000), reserved=hundredths(0, 4000))
def test_what_is_committed_as_it_was_reserved_costs_what_was_foreseen(used: Decimal, reserved: Decimal) -> None:
    held = [ReservedQuantity(metric_id=METRIC, quantity=reserved)]
    foreseen = spend([GRADUATED], {GRADUATED.id: Usage(quantity=used)}, held, period=MONTH, currency="USD")
    after = {GRADUATED.id: Usage(quantity=used + reserved)}
    assert spend([GRADUATED], after, [], period=MONTH, currency="USD") == foreseen


def test_a_reservation_falls_into_the_group_of_its_properties() -> None:
    """Tiers start in every group: 8 in eu and 12 in us are 8.00 + 11.00, where 20 together would be 15.00."""
    by_region = GRADUATED.model_copy(update={"group_by": ("region",)})
    eu, us = ({"region": name} for name in ("eu", "us"))
    held = [
        ReservedQuantity(metric_id=METRIC, quantity=Decimal(8), properties=eu),
        ReservedQuantity(metric_id=METRIC, quantity=Decimal(7), properties=us),
        ReservedQuantity(metric_id=METRIC, quantity=Decimal(5), properties=us),
    ]
    assert spend([by_region], {}, held, period=MONTH, currency="USD") == 1900
