"""Charges that are grouped or filtered, closed: each group is a line and a difference of its own (B51, B106, B108)."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import bindparam, delete, text, update
from sqlalchemy.dialects.postgresql import JSONB

from activities.closing import ClosingActivities
from models.identifiers import new_id
from models.tables import events, invoice_lines, metrics, notifications, plan_charges, usage_rollups
from tests.support.billing_world import APRIL, JUNE, MAY, World

PER_CALL = {"kind": "per_unit", "unit_price": "0.01"}
MAY_2 = MAY + timedelta(days=1)
_MORE_REGIONS = text("""
    INSERT INTO events (project_id, idempotency_key, id, metric_ref, value, properties, occurred_at, source, metric_id,
        customer_id, subscription_id, status)
    SELECT project_id, gen_random_uuid()::text, gen_random_uuid(), metric_ref, value,
           jsonb_build_object('region', 'r' || n), occurred_at, source, metric_id, customer_id, subscription_id, status
    FROM events, generate_series(CAST(:first AS integer), CAST(:last AS integer)) n
    WHERE subscription_id = :subscription AND properties = :known
""").bindparams(bindparam("known", type_=JSONB))


async def regrouped(world: World, **columns: Any) -> World:
    """Make the tiered charge of the world one of a cent for each call, changed as said."""
    async with world.database.transaction(world.scope) as connection:
        metered = update(plan_charges).where(plan_charges.c.metric_id == world.metric_id)
        await connection.execute(metered.values(model=PER_CALL, **columns))
    return world


@pytest.fixture
async def by_region(world: World) -> World:
    return await regrouped(world, group_by=["region"])


async def usage_lines_of(world: World, invoice_id: Any) -> list[tuple[str, int]]:
    return [line for line in await world.lines(invoice_id) if "fee" not in line[0]]


async def test_each_group_has_a_line_of_its_own(by_region: World, closing: ClosingActivities) -> None:
    for quantity, region in ((100, "us"), (200, "eu"), (300, "eu")):
        await by_region.use(quantity, region=region)
    await by_region.use(5)
    closed = await closing.close_periods(by_region.close("period"))
    assert await usage_lines_of(by_region, closed.invoice_id) == [
        ("API Calls (region: eu) — usage (500 calls)", 500),
        ("API Calls (region: us) — usage (100 calls)", 100),
        ("API Calls (region: none) — usage (5 calls)", 5),
    ]
    lines = await by_region.rows(invoice_lines, invoice_lines.c.kind == "usage")
    assert [line.group_key for line in lines] == [{"region": "eu"}, {"region": "us"}, {"region": None}]
    assert [line.events_count for line in lines] == [2, 1, 1]
    assert len({line.reference for line in lines}) == 3


async def test_a_mid_period_invoice_and_late_usage_stay_differences_of_each_group(
    by_region: World, closing: ClosingActivities
) -> None:
    await by_region.use(100, APRIL + timedelta(days=1), region="eu")
    first = await closing.close_periods(by_region.close(end=APRIL + timedelta(days=10)))
    assert await usage_lines_of(by_region, first.invoice_id) == [("API Calls (region: eu) — usage (100 calls)", 100)]
    await by_region.use(50, region="eu")
    await by_region.use(10, region="us")
    second = await closing.close_periods(by_region.close("period"))
    assert await usage_lines_of(by_region, second.invoice_id) == [
        ("API Calls (region: eu) — usage (150 calls), less what was invoiced before", 50),
        ("API Calls (region: us) — usage (10 calls)", 10),
    ]
    await by_region.use(7, region="us")
    await by_region.use(3, region="apac")
    await by_region.use(1, MAY_2, region="eu")
    third = await closing.close_periods(by_region.close("period", start=MAY, end=JUNE))
    assert await usage_lines_of(by_region, third.invoice_id) == [
        ("API Calls (region: apac) — usage (3 calls)", 3),
        ("API Calls (region: us) — usage (17 calls), adjustment", 7),
        ("API Calls (region: eu) — usage (1 calls)", 1),
    ]
    again = await closing.close_periods(by_region.close("period", start=MAY, end=JUNE, key="again"))
    assert again.invoice_id is None


async def test_a_group_that_lost_its_events_gets_its_money_back(by_region: World, closing: ClosingActivities) -> None:
    await by_region.use(500, region="us")
    await by_region.use(100, region="eu")
    await closing.close_periods(by_region.close(end=APRIL + timedelta(days=20)))
    async with by_region.database.transaction(by_region.scope) as connection:
        await connection.execute(delete(events).where(events.c.properties["region"].astext == "us"))
    await by_region.use(900, region="eu")
    second = await closing.close_periods(by_region.close("period"))
    assert await usage_lines_of(by_region, second.invoice_id) == [
        ("API Calls (region: eu) — usage (1,000 calls), less what was invoiced before", 900),
        ("API Calls (region: us) — no usage left, less what was invoiced before", -500),
    ]


async def test_a_filtered_charges_closed_periods_are_left_alone_until_something_came_late(
    world: World, closing: ClosingActivities
) -> None:
    match = {"metric_filter_id": str(new_id()), "key": "region", "values": ["eu"]}
    part = {"matches": [match], "model": {**PER_CALL, "unit_price": "0.02"}, "supplied": {}, "name": None}
    await regrouped(world, filters=[part])
    (charge,) = await world.rows(plan_charges, plan_charges.c.metric_id == world.metric_id)
    async with world.database.transaction(world.scope) as connection:
        row = {**charge._asdict(), "id": new_id(), "position": 7, "filters": [], "model": part["model"]}
        await connection.execute(plan_charges.insert().values({**row, "supplied": {"part_of": str(charge.id)}}))
    await world.use(100, region="eu")
    await world.use(10, region="us")
    april = await closing.close_periods(world.close("period"))
    assert await usage_lines_of(world, april.invoice_id) == [
        ("API Calls — usage (10 calls)", 10),
        ("API Calls (region: eu) — usage (100 calls)", 200),
    ]
    may = await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert may.total_minor == 4900
    await world.use(1, region="eu")
    july = await closing.close_periods(world.close("period", start=JUNE, end=JUNE + timedelta(days=30)))
    assert await usage_lines_of(world, july.invoice_id) == [
        ("API Calls (region: eu) — usage (101 calls), adjustment", 2),
        ("API Calls — usage (0 calls)", 0),
        ("API Calls (region: eu) — usage (0 calls)", 0),
    ]


async def test_a_level_is_carried_into_the_next_period_and_late_changes_reach_all_that_follow(
    world: World, closing: ClosingActivities
) -> None:
    await regrouped(world)
    await world.change(metrics, world.metric_id, aggregation="weighted_sum", recurring=True)
    await world.use(3000, APRIL)
    april = await closing.close_periods(world.close("period"))
    may = await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert await usage_lines_of(world, april.invoice_id) == [("API Calls — usage (3,000 calls)", 3000)]
    assert await usage_lines_of(world, may.invoice_id) == [("API Calls — usage (3,000 calls)", 3000)]
    # A change from the middle of April is late for April by half, and for May as a whole.
    await world.use(600, APRIL + timedelta(days=15))
    june = await closing.close_periods(world.close("period", start=JUNE, end=JUNE + timedelta(days=30)))
    assert await usage_lines_of(world, june.invoice_id) == [
        ("API Calls — usage (3,300 calls), adjustment", 300),
        ("API Calls — usage (3,600 calls), adjustment", 600),
        ("API Calls — usage (3,600 calls)", 3600),
    ]


async def test_a_renamed_metric_is_on_the_next_invoice_by_its_new_name(
    world: World, closing: ClosingActivities
) -> None:
    await closing.close_periods(world.close("period"))
    await world.change(metrics, world.metric_id, name="Requests", unit="requests")
    may = await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert (await usage_lines_of(world, may.invoice_id))[0][0] == "Requests — tiered usage (0 requests)"


async def test_item_13_a_closed_period_that_cannot_be_rated_again_holds_up_no_other(
    by_region: World, closing: ClosingActivities
) -> None:
    """April closes with 400 regions at 0.01 (4.00 + 49.00); 200 more come late: 600 are above the 500 allowed.

    May bills its own 7 calls, 0.07 + 49.00 = 49.07, and says once that April was left out. With the 200 late events
    voided but for one region, June bills that one: 0.01, its fee being on the invoice that was asked for.
    """
    world, july = by_region, JUNE + timedelta(days=30)
    await _use_regions(world, 1, 400)
    assert (await closing.close_periods(world.close("period"))).total_minor == 5300
    await _use_regions(world, 401, 600)
    await world.use(7, MAY_2, region="r1")
    may = await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert may.total_minor == 4907
    again = await closing.close_periods(world.close("on_demand", end=JUNE + timedelta(days=1)))
    assert await usage_lines_of(world, again.invoice_id) == [("API Calls — usage (0 calls)", 0)]
    (told,) = await world.rows(notifications, notifications.c.resource_id == world.subscription_id)
    assert "TooManyGroups: grouping by region gives more than 500 groups" in told.message
    assert "2026-04-01" in told.message
    async with world.database.transaction(world.scope) as connection:
        late = [f"r{number}" for number in range(402, 601)]
        await connection.execute(delete(events).where(events.c.properties["region"].as_string().in_(late)))
        fewer = update(usage_rollups).where(usage_rollups.c.day == APRIL.date())
        await connection.execute(fewer.values(value_sum=401, event_count=401))
    june = await closing.close_periods(world.close("period", start=JUNE, end=july))
    assert ("API Calls (region: r401) — usage (1 calls)", 1) in await usage_lines_of(world, june.invoice_id)
    assert june.total_minor == 1


async def _use_regions(world: World, first: int, last: int) -> None:
    """Record one call of each region on 1 April, with its rollup, in two statements."""
    await world.use(1, APRIL, region=f"r{first}")
    count = last - first
    more = {"known": {"region": f"r{first}"}, "first": first + 1, "last": last}
    async with world.database.transaction(world.scope) as connection:
        await connection.execute(_MORE_REGIONS, {**more, "subscription": world.subscription_id})
        grown = update(usage_rollups).where(usage_rollups.c.day == APRIL.date())
        more_columns = {"value_sum": usage_rollups.c.value_sum + count}
        await connection.execute(grown.values(event_count=usage_rollups.c.event_count + count, **more_columns))
