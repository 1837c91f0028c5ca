"""Usage that arrives after its period was closed is on the next invoice that the timer makes (C5, B108)."""

from datetime import timedelta

from activities.closing import ClosingActivities
from models.tables import invoice_lines, subscriptions
from tests.support.billing_world import APRIL, JUNE, MAY, World

NOON = timedelta(hours=12)


async def test_the_next_period_invoice_holds_what_came_late(world: World, closing: ClosingActivities) -> None:
    await world.use(200_000)
    await closing.close_periods(world.close("period"))
    await world.use(1_000_000, MAY - timedelta(seconds=1))
    await world.use(300_000, MAY + timedelta(days=1))
    following = await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert await world.lines(following.invoice_id) == [
        ("API Calls — tiered usage (1,200,000 calls), adjustment", 9000),
        ("API Calls — tiered usage (300,000 calls)", 2000),
        ("Growth base fee", 4900),
    ]
    lines = await world.rows(invoice_lines, invoice_lines.c.invoice_id == following.invoice_id)
    assert [line.reason for line in lines] == ["adjustment", "period", "period"]
    row = await world.invoice(following.invoice_id)
    assert (row.period_start, row.period_end) == (MAY, JUNE)


async def test_late_usage_is_billed_once(world: World, closing: ClosingActivities) -> None:
    july = JUNE + timedelta(days=30)
    await closing.close_periods(world.close("period"))
    await world.use(1_200_000)
    await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    last = await closing.close_periods(world.close("period", start=JUNE, end=july))
    assert last.total_minor == 4900


async def test_late_usage_in_a_partial_day_at_the_edge_of_a_period(world: World, closing: ClosingActivities) -> None:
    start, end, following = APRIL + NOON, MAY + NOON, JUNE + NOON
    await world.change(subscriptions, world.subscription_id, starts_at=start, anchor=start)
    await closing.close_periods(world.close("period", start=start, end=end))
    await world.use(200_000, end - timedelta(minutes=1))
    await world.use(200_000, start)
    await world.use(100_000, end)
    closed = await closing.close_periods(world.close("period", start=end, end=following))
    assert closed.total_minor == 3000 + 0 + 4900


async def test_what_was_never_billed_is_left_to_whoever_asks(world: World, closing: ClosingActivities) -> None:
    """A period before the subscription was made, or one that passed while paused, is no late usage (C23, C25)."""
    await world.use(1_200_000)
    closed = await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert closed.total_minor == 4900


async def test_a_period_that_was_cut_off_and_then_paused_stays_as_it_was_billed(
    world: World, closing: ClosingActivities
) -> None:
    await closing.close_periods(world.close(end=APRIL + timedelta(days=10)))
    await world.use(1_200_000, APRIL + timedelta(days=20))
    closed = await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert closed.total_minor == 4900


async def test_a_final_invoice_holds_what_came_late(world: World, closing: ClosingActivities) -> None:
    await closing.close_periods(world.close("period"))
    await world.use(1_200_000)
    final = await closing.close_periods(world.close("final", start=MAY, end=MAY + timedelta(days=31) / 2))
    assert final.total_minor == 10000 + 2450
