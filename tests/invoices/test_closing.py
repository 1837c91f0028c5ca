"""The close: what is billed, once, and what is written with it."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event
from temporalio.exceptions import ApplicationError

from activities.closing import ClosingActivities
from adapters.postgres.database import Database, ProjectScope
from models.tables import customers, invoice_lines, invoices, plan_charges, subscriptions
from tests.support.billing_world import APRIL, JUNE, MAY, World

USAGE = "API Calls — tiered usage (1,200,000 calls)"
MID_APRIL = datetime(2026, 4, 15, tzinfo=UTC)


async def test_the_worked_example_is_14900(world: World, closing: ClosingActivities) -> None:
    await world.use(1_200_000)
    closed = await closing.close_periods(world.close())
    assert (closed.total_minor, closed.status, closed.currency) == (14900, "issued", "usd")
    assert await world.lines(closed.invoice_id) == [(USAGE, 10000), ("Growth base fee", 4900)]
    row = await world.invoice(closed.invoice_id)
    assert (row.period_start, row.period_end) == (APRIL, MAY)
    assert row.due_at == MAY + timedelta(days=30)
    assert row.number == closed.number == "INV-20260501-0001"


async def test_a_second_run_finds_the_first_ones_invoice(world: World, closing: ClosingActivities) -> None:
    await world.use(1_200_000)
    first = await closing.close_periods(world.close())
    second = await closing.close_periods(world.close())
    assert (second.invoice_id, second.number) == (first.invoice_id, first.number)
    assert len(await world.rows(invoices)) == 1
    assert len(await world.rows(invoice_lines)) == 2


async def test_a_second_run_after_more_usage_finds_the_first_ones_invoice(
    world: World, closing: ClosingActivities
) -> None:
    await world.use(200_000)
    first = await closing.close_periods(world.close())
    await world.use(1_000_000)
    assert await closing.close_periods(world.close()) == first.model_copy(update={"line_count": 0})
    assert len(await world.rows(invoices)) == 1


async def test_two_runs_at_once_write_one_invoice(world: World, closing: ClosingActivities) -> None:
    await world.use(1_200_000)
    runs = await asyncio.gather(*(closing.close_periods(world.close()) for _ in range(4)))
    assert len(await world.rows(invoices)) == 1
    assert len({run.invoice_id for run in runs}) == 1


async def test_nothing_is_billed_twice(world: World, closing: ClosingActivities) -> None:
    await world.use(1_200_000)
    first = await closing.close_periods(world.close())
    second = await closing.close_periods(world.close(key="another request"))
    assert (second.invoice_id, second.existing_invoice_id) == (None, first.invoice_id)


async def test_a_cutoff_in_the_open_period_bills_usage_so_far_and_the_fee_once(
    world: World, closing: ClosingActivities
) -> None:
    await world.use(300_000, APRIL + timedelta(days=3))
    early = await closing.close_periods(world.close(end=MID_APRIL))
    # 200,000 calls above the free tier at 0.0001, and the whole fee.
    assert early.total_minor == 2000 + 4900
    await world.use(900_000, MID_APRIL + timedelta(days=1))
    rest = await closing.close_periods(world.close("period"))
    assert await world.lines(rest.invoice_id) == [(f"{USAGE}, less what was invoiced before", 8000)]
    row = await world.invoice(rest.invoice_id)
    assert (row.period_start, row.period_end) == (MID_APRIL, MAY)


async def test_usage_after_the_cutoff_waits(world: World, closing: ClosingActivities) -> None:
    await world.use(1_200_000, MID_APRIL)
    closed = await closing.close_periods(world.close(end=MID_APRIL))
    assert closed.total_minor == 4900


async def test_each_period_of_the_window_is_rated_by_itself(world: World, closing: ClosingActivities) -> None:
    await world.use(600_000)
    await world.use(600_000, MAY)
    closed = await closing.close_periods(world.close(end=JUNE))
    # Tiers restart: twice 500,000 calls at 0.0001, and two fees.
    assert closed.total_minor == 2 * (5000 + 4900)
    assert closed.line_count == 4


async def test_late_usage_of_a_closed_period_is_an_adjustment(world: World, closing: ClosingActivities) -> None:
    await world.use(200_000)
    await closing.close_periods(world.close())
    await world.use(1_000_000)
    late = await closing.close_periods(world.close(key="later"))
    assert await world.lines(late.invoice_id) == [(f"{USAGE}, adjustment", 9000)]
    (line,) = await world.rows(invoice_lines, invoice_lines.c.invoice_id == late.invoice_id)
    assert line.reason == "adjustment"
    row = await world.invoice(late.invoice_id)
    assert (row.period_start, row.period_end) == (APRIL, MAY)


async def test_a_final_invoice_prorates_the_fee(world: World, closing: ClosingActivities) -> None:
    await world.use(200_000, APRIL + timedelta(days=1))
    end = APRIL + timedelta(days=15)
    final = await closing.close_periods(world.close("final", end=end))
    assert await world.lines(final.invoice_id) == [
        ("API Calls — tiered usage (200,000 calls)", 1000),
        ("Growth base fee (prorated 15/30 days)", 2450),
    ]


async def test_a_period_invoice_moves_the_subscription_on(world: World, closing: ClosingActivities) -> None:
    await closing.close_periods(world.close("period", next_period_start=MAY, next_period_end=JUNE))
    (row,) = await world.rows(subscriptions)
    assert (row.current_period_start, row.current_period_end) == (MAY, JUNE)


async def test_nothing_to_bill_still_moves_the_subscription_on(world: World, closing: ClosingActivities) -> None:
    await closing.close_periods(world.close())
    nothing = await closing.close_periods(world.close("period", next_period_start=MAY, next_period_end=JUNE))
    (row,) = await world.rows(subscriptions)
    assert (nothing.invoice_id, row.current_period_start) == (None, MAY)


@pytest.mark.parametrize(
    ("provider", "kind", "collect"),
    [
        ("stripe", "period", True),
        ("stripe", "final", True),
        ("stripe", "on_demand", False),
        ("manual", "period", False),
        (None, "period", False),
    ],
)
async def test_the_timers_invoices_are_collected_from_customers_with_a_provider(
    world: World, closing: ClosingActivities, provider: str | None, kind: str, collect: bool
) -> None:
    await world.change(customers, world.customer_id, payment_provider=provider)
    closed = await closing.close_periods(world.close(kind))  # type: ignore[arg-type]
    assert closed.collect is collect


async def test_an_invoice_of_nothing_is_paid_at_once(
    database: Database, tenant: ProjectScope, closing: ClosingActivities
) -> None:
    world = await World(database, tenant).build(fee="0", customer={"payment_provider": "stripe"})
    closed = await closing.close_periods(world.close("period"))
    assert (closed.total_minor, closed.status, closed.collect) == (0, "paid", False)
    assert await world.actions(closed.invoice_id) == ["created", "issued", "paid"]
    assert (await world.invoice(closed.invoice_id)).paid_at == MAY


async def test_a_draft_has_no_number(world: World, closing: ClosingActivities) -> None:
    closed = await closing.close_periods(world.close(draft=True))
    row = await world.invoice(closed.invoice_id)
    assert (row.status, row.number, row.issued_at) == ("draft", None, None)
    assert await world.actions(closed.invoice_id) == ["created"]


async def test_zero_decimal_currencies_have_no_cents(
    database: Database, tenant: ProjectScope, closing: ClosingActivities
) -> None:
    world = await World(database, tenant).build(fee="100", currency="JPY")
    closed = await closing.close_periods(world.close())
    assert (closed.total_minor, closed.currency) == (100, "JPY")


async def test_a_voided_invoice_bills_nothing(world: World, closing: ClosingActivities) -> None:
    first = await closing.close_periods(world.close())
    assert first.invoice_id is not None
    await world.change(invoices, first.invoice_id, status="voided")
    again = await closing.close_periods(world.close(key="again"))
    assert again.total_minor == 4900


async def test_audit_and_webhooks_are_written_with_the_invoice(world: World, closing: ClosingActivities) -> None:
    await world.use(1_200_000)
    closed = await closing.close_periods(world.close())
    assert await world.actions(closed.invoice_id) == ["created", "issued"]
    created, issued = await world.webhooks()
    assert (created["type"], issued["type"]) == ("invoice.created", "invoice.issued")
    data = created["data"]
    assert (data["amount"], data["amount_cents"], data["invoice_number"]) == (149, "14900", closed.number)
    assert data["customer_id"] == "cust_acme"
    assert data["invoiceId"] == data["invoice_id"]


async def test_an_absurd_amount_parks_instead_of_retrying(
    database: Database, tenant: ProjectScope, closing: ClosingActivities
) -> None:
    world = await World(database, tenant).build(fee="99999999999999")
    with pytest.raises(ApplicationError, match="minor units") as caught:
        await closing.close_periods(world.close())
    assert (caught.value.type, caught.value.non_retryable) == ("AbsurdInvoice", True)
    assert await world.rows(invoices) == []


async def test_a_plan_that_cannot_be_read_parks(world: World, closing: ClosingActivities) -> None:
    (tiered, _) = await world.rows(plan_charges)
    await world.change(plan_charges, tiered.id, model={"kind": "of_the_future"})
    with pytest.raises(ApplicationError) as caught:
        await closing.close_periods(world.close())
    assert (caught.value.type, caught.value.non_retryable) == ("UnreadablePlan", True)


async def test_the_billing_period_begins_after_the_trial(
    database: Database, tenant: ProjectScope, closing: ClosingActivities
) -> None:
    world = await World(database, tenant).build(subscription={"trial_ends_at": MAY})
    await world.use(1_200_000)
    during = await closing.close_periods(world.close(end=MAY))
    after = await closing.close_periods(world.close(end=JUNE))
    assert (during.invoice_id, after.total_minor) == (None, 4900)


async def test_a_close_takes_few_statements(world: World, closing: ClosingActivities, database: Database) -> None:
    await world.use(1_200_000)
    await closing.close_periods(world.close(end=MAY))
    seen: list[str] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    # Scope, lock, billed lines, and one statement that writes everything; psycopg's own cursor reads the usage.
    assert len(seen) <= 4, seen


async def test_numbers_are_drawn_without_gaps(
    database: Database, tenant: ProjectScope, closing: ClosingActivities, world: World
) -> None:
    ends = [MAY + timedelta(days=day) for day in range(1, 6)]
    for end in ends:
        await closing.close_periods(world.close("on_demand", end=end, key=f"{end}"))
        await world.use(200_000, end)
    numbers = [row.number for row in await world.rows(invoices)]
    assert [number.rpartition("-")[2] for number in numbers] == [f"{n:04}" for n in range(1, len(numbers) + 1)]
