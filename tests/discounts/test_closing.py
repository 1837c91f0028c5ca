"""The close with coupons and add-ons: what they change of an invoice, once (B121, B122, R17)."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import event

from activities.closing import ClosingActivities
from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.invoices import add_on_store, coupon_store, invoice_change_store, invoice_store
from adapters.postgres.journal import changing
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.transaction import begin
from adapters.postgres.resolver import CUSTOMER, required
from models.identifiers import new_id
from models.messages.closing import ClosePeriods, InvoiceClosed
from models.tables import applied_add_ons, applied_coupons, customers, invoice_lines, invoices, subscriptions
from tests.support.billing_world import APRIL, JUNE, MAY, World

TEN_PERCENT: dict[str, Any] = {"coupon_type": "percentage", "percentage_rate": Decimal(10)}
FIVE_OFF: dict[str, Any] = {"coupon_type": "fixed_amount", "amount_cents": Decimal(500), "amount_currency": "USD"}
USAGE = "API Calls — tiered usage (1,200,000 calls)"
NO_USAGE = ("API Calls — tiered usage (0 calls)", 0)
FEE = ("Growth base fee", 4900)


async def give(world: World, code: str = "TEN", **terms: Any) -> UUID:
    """Return the customer a coupon, for ever if not said otherwise."""
    values = {"code": code, "name": code, "frequency": "forever", **(terms or TEN_PERCENT)}
    async with begin(world.database, world.scope, SYSTEM_ACTOR) as tx:
        row = await changing.create(tx, coupon_store.RESOURCE, values)
        customer = await required(tx.connection, world.scope.project_id, CUSTOMER, str(world.customer_id))
        wanted = coupon_store.Application(customer=customer, at=APRIL, terms={})
        return UUID(str((await coupon_store.apply(tx, row, wanted)).id))


async def charge(world: World, code: str = "setup", amount: str = "2500", currency: str = "USD") -> None:
    """Apply an add-on to the customer."""
    values = {"code": code, "name": "Set-up", "amount_cents": Decimal(amount), "amount_currency": currency}
    async with begin(world.database, world.scope, SYSTEM_ACTOR) as tx:
        row = await changing.create(tx, add_on_store.RESOURCE, values)
        customer = await required(tx.connection, world.scope.project_id, CUSTOMER, str(world.customer_id))
        wanted = add_on_store.Application(customer, row.amount_cents, row.amount_currency)
        await add_on_store.apply(tx, row, wanted)


async def held(world: World) -> list[tuple[int | None, bool]]:
    """Return what is left of the customer's coupons, and whether each is used up."""
    return [(row.uses_left, row.used_up_at is not None) for row in await world.rows(applied_coupons)]


async def undo(world: World, invoice_id: UUID | None, how: str) -> None:
    """Void an invoice so that it is billed again, or delete a draft."""
    async with begin(world.database, world.scope, SYSTEM_ACTOR) as tx:
        row = await invoice_store.view(tx.connection, world.scope.project_id, str(invoice_id), lock=True)
        if how == "void":
            await invoice_change_store.void(tx, row, rebill=True)
        else:
            await invoice_change_store.delete_draft(tx, row)


async def test_b121_ten_percent_off(world: World, closing: ClosingActivities) -> None:
    await give(world)
    await world.use(1_200_000)
    closed = await closing.close_periods(world.close("period"))
    assert await world.lines(closed.invoice_id) == [(USAGE, 10000), FEE, ("Coupon TEN (10 % off)", -1490)]
    assert (closed.total_minor, closed.status) == (13410, "issued")
    *charged, line = await world.rows(invoice_lines)
    assert (line.kind, line.period_start, line.period_end) == ("discount", APRIL, MAY)
    assert line.steps == [
        {"line": charged[0].reference, "amount_cents": "-1000"},
        {"line": charged[1].reference, "amount_cents": "-490"},
    ]


async def test_discounts_are_not_billed_again(world: World, closing: ClosingActivities) -> None:
    await give(world)
    await world.use(200_000)
    first = await closing.close_periods(world.close())
    assert first.total_minor == 1000 + 4900 - 590
    nothing = await closing.close_periods(world.close(key="again"))
    assert (nothing.invoice_id, nothing.existing_invoice_id) == (None, first.invoice_id)
    await world.use(1_000_000)
    late = await closing.close_periods(world.close(key="later"))
    assert await world.lines(late.invoice_id) == [(f"{USAGE}, adjustment", 9000), ("Coupon TEN (10 % off)", -900)]


async def test_percentages_before_fixed_amounts(world: World, closing: ClosingActivities) -> None:
    await give(world, "FIVE", **FIVE_OFF)
    await give(world)
    closed = await closing.close_periods(world.close())
    # 49.00: 4.90 off, then 5.00.
    assert await world.lines(closed.invoice_id) == [
        NO_USAGE,
        FEE,
        ("Coupon TEN (10 % off)", -490),
        ("Coupon FIVE", -500),
    ]


async def test_a_coupon_for_one_invoice_is_used_once(world: World, closing: ClosingActivities) -> None:
    await give(world, **FIVE_OFF, frequency="once")
    first = await closing.close_periods(world.close("period"))
    again = await closing.close_periods(world.close("period"))
    second = await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert (first.total_minor, again.invoice_id, second.total_minor) == (4400, first.invoice_id, 4900)
    assert await held(world) == [(0, True)]


async def test_a_recurring_coupon_is_counted_down(world: World, closing: ClosingActivities) -> None:
    await give(world, **TEN_PERCENT, frequency="recurring", frequency_duration=2)
    await closing.close_periods(world.close("period"))
    assert await held(world) == [(1, False)]
    await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert await held(world) == [(0, True)]


async def test_two_runs_at_once_use_a_coupon_once(world: World, closing: ClosingActivities) -> None:
    await give(world, **FIVE_OFF, frequency="recurring", frequency_duration=5)
    await charge(world)
    runs = await asyncio.gather(*(closing.close_periods(world.close()) for _ in range(4)))
    assert {run.total_minor for run in runs} == {4900 + 2500 - 500}
    assert await held(world) == [(4, False)]


async def test_two_subscriptions_at_once_use_a_coupon_once(world: World, closing: ClosingActivities) -> None:
    (row,) = await world.rows(subscriptions)
    other = new_id()
    async with world.database.transaction(world.scope) as connection:
        await connection.execute(subscriptions.insert().values({**row._mapping, "id": other}))
    await give(world, **FIVE_OFF, frequency="once")
    await charge(world)
    both = [world.close(), world.close(key="other")]
    both[1] = both[1].model_copy(update={"subscription": world.ref.model_copy(update={"subscription_id": other})})
    made = await asyncio.gather(*(closing.close_periods(message) for message in both))
    assert sum(one.total_minor for one in made) == 2 * 4900 - 500 + 2500
    assert await held(world) == [(0, True)]


async def test_a_voided_invoice_gives_back_what_it_used(world: World, closing: ClosingActivities) -> None:
    await give(world, **FIVE_OFF, frequency="once")
    await charge(world)
    first = await closing.close_periods(world.close())
    await undo(world, first.invoice_id, "void")
    assert await held(world) == [(1, False)]
    second = await closing.close_periods(world.close(key="second", draft=True))
    assert second.total_minor == first.total_minor == 4900 + 2500 - 500
    await undo(world, second.invoice_id, "delete")
    third = await closing.close_periods(world.close(key="third"))
    assert third.total_minor == first.total_minor
    assert await held(world) == [(0, True)]


def _middle(world: World, day: int) -> ClosePeriods:
    """Make the message that bills the usage of April's first days."""
    return world.close("progressive", key=f"day {day}").model_copy(update={"at": APRIL + timedelta(days=day)})


async def _three_invoices_of_april(world: World, closing: ClosingActivities) -> list[InvoiceClosed]:
    """Bill 10.00 and 5.00 of usage in the middle of April, and the fee of 49.00 at its end."""
    await world.use(200_000)
    made = [await closing.close_periods(_middle(world, 10))]
    await world.use(50_000)
    made.append(await closing.close_periods(_middle(world, 20)))
    made.append(await closing.close_periods(world.close("period")))
    return made


async def test_a_fixed_amount_is_taken_off_a_billing_period_once_however_many_invoices_it_has(
    world: World, closing: ClosingActivities
) -> None:
    """12.00 off 10.00 and 5.00 and 49.00: 10.00, then the 2.00 that are left, then nothing; and again in May."""
    await give(world, **{**FIVE_OFF, "amount_cents": Decimal(1200)}, frequency="recurring", frequency_duration=2)
    made = await _three_invoices_of_april(world, closing)
    assert [one.total_minor for one in made] == [0, 300, 4900]
    assert await held(world) == [(1, False)]
    may = await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert may.total_minor == 4900 - 1200
    assert await held(world) == [(0, True)]


async def test_a_percentage_for_one_period_is_taken_off_all_its_invoices(
    world: World, closing: ClosingActivities
) -> None:
    await give(world, **TEN_PERCENT, frequency="once")
    made = await _three_invoices_of_april(world, closing)
    assert [one.total_minor for one in made] == [900, 450, 4410]
    assert await held(world) == [(0, True)]
    may = await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert may.total_minor == 4900


async def test_the_last_of_a_periods_discounts_that_is_voided_gives_the_use_back(
    world: World, closing: ClosingActivities
) -> None:
    """The 5.00 are on the first invoice alone, the 10 % on all three."""
    await give(world, "FIVE", **FIVE_OFF, frequency="once")
    await give(world, "TEN", **TEN_PERCENT, frequency="once")
    made = await _three_invoices_of_april(world, closing)
    assert [one.total_minor for one in made] == [400, 450, 4410]
    for invoice, uses in zip(made, ([1, 0], [1, 0], [1, 1]), strict=True):
        await undo(world, invoice.invoice_id, "void")
        assert [left for left, _ in await held(world)] == uses


async def test_everything_off_is_paid_at_once(world: World, closing: ClosingActivities) -> None:
    await world.change(customers, world.customer_id, payment_provider="stripe")
    await give(world, coupon_type="percentage", percentage_rate=Decimal(100))
    closed = await closing.close_periods(world.close("period"))
    assert (closed.total_minor, closed.status, closed.collect) == (0, "paid", False)


async def test_nothing_to_discount_uses_nothing(
    database: Database, tenant: ProjectScope, closing: ClosingActivities
) -> None:
    world = await World(database, tenant).build(fee="0")
    await give(world, **TEN_PERCENT, frequency="once")
    closed = await closing.close_periods(world.close("period"))
    assert (closed.total_minor, await held(world)) == (0, [(1, False)])


async def test_other_currencies_wait(database: Database, tenant: ProjectScope, closing: ClosingActivities) -> None:
    world = await World(database, tenant).build(fee="49", currency="eur")
    await give(world, **FIVE_OFF, frequency="once")
    await charge(world)
    await charge(world, "extra", "100.5", "EUR")
    closed = await closing.close_periods(world.close())
    assert closed.total_minor == 4900 + 101
    assert await held(world) == [(1, False)]


async def test_b122_an_add_on_is_a_fee_on_the_next_invoice_without_discount(
    world: World, closing: ClosingActivities
) -> None:
    await give(world)
    await charge(world)
    closed = await closing.close_periods(world.close("period"))
    expected = [NO_USAGE, FEE, ("Set-up", 2500), ("Coupon TEN (10 % off)", -490)]
    assert await world.lines(closed.invoice_id) == expected
    (applied,) = await world.rows(applied_add_ons)
    assert applied.invoice_id == closed.invoice_id
    following = await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert following.total_minor == 4900 - 490


async def test_an_add_on_alone_makes_an_invoice(world: World, closing: ClosingActivities) -> None:
    await closing.close_periods(world.close())
    await charge(world)
    closed = await closing.close_periods(world.close(key="fee"))
    assert await world.lines(closed.invoice_id) == [("Set-up", 2500)]
    assert (await closing.close_periods(world.close(key="fee"))).invoice_id == closed.invoice_id
    assert (await closing.close_periods(world.close(key="more"))).invoice_id is None
    assert len(await world.rows(invoices)) == 2


async def test_a_customer_without_them_pays_no_statement(
    world: World, closing: ClosingActivities, database: Database
) -> None:
    seen: list[str] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    await closing.close_periods(world.close("period", start=APRIL, end=MAY))
    plain = len(seen)
    # The plan version is known by now; what remains is the price of coupons.
    seen.clear()
    await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert len(seen) <= min(plain, 4), seen
