"""What pays an invoice, on a real Postgres: wallets, payments, refunds, and what holds them together (B111-B133)."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from activities.closing import ClosingActivities
from adapters.postgres.customers import payment_method_store
from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.invoices import invoice_change_store, invoice_store
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.journal.transaction import begin
from adapters.postgres.payments import offline_payment_store, payment_view_store
from adapters.postgres.payments.offline_payment_store import ReceivedPayment
from adapters.postgres.wallets import wallet_move_store, wallet_store
from models.problems import Problem
from models.tables import invoices, payment_methods, settlements, wallet_transactions, wallets
from tests.support.billing_world import JUNE, MAY, World
from tests.support.collection import Collection

ACTOR = Actor("api_key", "test")


async def _wallet(world: World, holds: str, **more: Any) -> UUID:
    values = {"customer_id": world.customer_id, "currency": "USD", "rate_amount": Decimal(1), "name": None}
    async with begin(world.database, world.scope, ACTOR) as tx:
        row = await wallet_store.create(tx, {**values, "code": None, **more}, granted=Decimal(holds))
    found: UUID = row.id
    return found


async def _balance(world: World, wallet_id: UUID) -> Decimal:
    (row,) = await world.rows(wallets, wallets.c.id == wallet_id)
    moved = wallet_transactions.c
    async with world.database.transaction(world.scope) as connection:
        ins = select(func.coalesce(func.sum(moved.credits).filter(moved.direction == "inbound"), 0))
        outs = select(func.coalesce(func.sum(moved.credits).filter(moved.direction == "outbound"), 0))
        received = await connection.scalar(ins.where(moved.wallet_id == wallet_id))
        spent = await connection.scalar(outs.where(moved.wallet_id == wallet_id))
    assert row.credits_balance + spent == received, "a balance is the sum of its transactions"
    balance: Decimal = row.credits_balance
    return balance


async def _settled(world: World, invoice_id: UUID) -> list[tuple[str, int]]:
    rows = await world.rows(settlements, settlements.c.invoice_id == invoice_id)
    invoice = await world.invoice(invoice_id)
    assert invoice.settled_minor == sum(row.amount_minor for row in rows), "an invoice's sum is that of its rows"
    return [(row.type, row.amount_minor) for row in rows]


async def _record(world: World, invoice_id: UUID, amount: int | None) -> UUID:
    async with begin(world.database, world.scope, ACTOR) as tx:
        row = await invoice_store.view(tx.connection, world.scope.project_id, str(invoice_id), lock=True)
        made, _ = await offline_payment_store.record(tx, row, ReceivedPayment(amount_minor=amount))
    return made


async def _refund(world: World, payment_id: UUID, amount: int | None) -> None:
    project = world.scope.project_id
    async with begin(world.database, world.scope, ACTOR) as tx:
        payment = await payment_view_store.view(tx.connection, project, str(payment_id))
        row = await invoice_store.view(tx.connection, project, str(payment.invoice_id), lock=True)
        payment = await payment_view_store.view(tx.connection, project, str(payment_id))
        await offline_payment_store.refund(tx, row, payment=payment, amount_minor=amount, reason=None)


async def test_b133_a_close_draws_on_the_wallet_and_the_card_pays_the_rest(collection: Collection) -> None:
    world = collection.world
    await _wallet(world, "2000")
    closed = await ClosingActivities(world.database).close_periods(world.close(start=MAY, end=JUNE))
    assert closed.status == "issued"
    assert closed.invoice_id is not None
    collection.invoice_id = closed.invoice_id
    assert (await collection.collect()).status == "paid"
    assert [entry.amount_minor for entry in await collection.ledger()] == [2900]
    assert await _settled(world, closed.invoice_id) == [("wallet_credit", 2000), ("payment", 2900)]
    assert (await collection.invoice()).status == "paid"


async def test_b133_an_invoice_that_wallets_cover_is_paid_at_once(collection: Collection) -> None:
    world = collection.world
    first = await _wallet(world, "1000", priority=2)
    second = await _wallet(world, "1300", rate_amount=Decimal(3))
    closed = await ClosingActivities(world.database).close_periods(world.close(start=MAY, end=JUNE))
    assert (closed.status, closed.collect) == ("paid", False)
    assert closed.invoice_id is not None
    assert await _settled(world, closed.invoice_id) == [("wallet_credit", 3900), ("wallet_credit", 1000)]
    assert [await _balance(world, wallet) for wallet in (first, second)] == [0, 0]
    assert await world.actions(closed.invoice_id) == ["created", "issued", "paid"]
    again = await ClosingActivities(world.database).close_periods(world.close(start=MAY, end=JUNE))
    assert again.invoice_id == closed.invoice_id, "a second run finds the first one's invoice and draws nothing"


async def test_b133_voiding_gives_the_credits_back(collection: Collection) -> None:
    world = collection.world
    wallet_id = await _wallet(world, "2000", rate_amount=Decimal("0.7"))
    closed = await ClosingActivities(world.database).close_periods(world.close(start=MAY, end=JUNE))
    assert closed.invoice_id is not None
    async with begin(world.database, world.scope, ACTOR) as tx:
        row = await invoice_store.view(tx.connection, world.scope.project_id, str(closed.invoice_id), lock=True)
        await invoice_change_store.void(tx, row)
    assert await _balance(world, wallet_id) == 2000
    assert await _settled(world, closed.invoice_id) == [("wallet_credit", 1400), ("wallet_credit", -1400)]


async def test_b128_partial_payments_pay_an_invoice_exactly_when_they_reach_its_total(collection: Collection) -> None:
    world, invoice_id = collection.world, collection.invoice_id
    await _record(world, invoice_id, 4000)
    assert (await collection.invoice()).status == "issued"
    with pytest.raises(Problem, match="more_than_due"):
        await _record(world, invoice_id, 901)
    await _record(world, invoice_id, 900)
    assert (await collection.invoice()).status == "paid"
    with pytest.raises(Problem, match="invoice_not_open"):
        await _record(world, invoice_id, 1)
    assert await _settled(world, invoice_id) == [("payment", 4000), ("payment", 900)]


async def test_b128_parallel_payments_never_take_more_than_is_due(collection: Collection) -> None:
    world, invoice_id = collection.world, collection.invoice_id
    answers = await asyncio.gather(*(_record(world, invoice_id, 1300) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(answer, UUID) for answer in answers) == 3
    assert sum(amount for _, amount in await _settled(world, invoice_id)) == 3900


async def test_b128_the_card_is_charged_what_payments_left(collection: Collection) -> None:
    await _record(collection.world, collection.invoice_id, 1900)
    assert (await collection.collect()).status == "paid"
    assert [entry.amount_minor for entry in await collection.ledger()] == [3000]


async def test_b128_refunds_keep_the_ledger_and_never_exceed_the_payment(collection: Collection) -> None:
    world, invoice_id = collection.world, collection.invoice_id
    part = await _record(world, invoice_id, 1000)
    await _refund(world, part, 400)
    assert (await collection.invoice()).settled_minor == 600, "of an open invoice so much is due again"
    with pytest.raises(Problem, match="more_than_paid"):
        await _refund(world, part, 601)
    rest = await _record(world, invoice_id, None)
    await _refund(world, rest, None)
    assert (await collection.invoice()).status == "paid", "a paid invoice stays paid"
    assert await _settled(world, invoice_id) == [("payment", 1000), ("payment", -400), ("payment", 4300)]
    with pytest.raises(Problem, match="payment_not_refundable"):
        await _refund(world, rest, None)


async def test_the_schema_itself_refuses_a_paid_invoice_that_is_not_settled(collection: Collection) -> None:
    with pytest.raises(IntegrityError, match="paid_when_settled"):
        await collection.world.change(invoices, collection.invoice_id, status="paid")


async def test_b132_transfers_in_both_directions_keep_the_sum_and_never_overdraw(collection: Collection) -> None:
    world = collection.world
    pair = [await _wallet(world, "100"), await _wallet(world, "100")]

    async def send(source: UUID, target: UUID, credits: int) -> None:
        async with begin(world.database, world.scope, ACTOR) as tx:
            await wallet_move_store.transfer(tx, source_id=source, target_id=target, credits=Decimal(credits), at=MAY)

    there = [send(pair[0], pair[1], 30) for _ in range(5)]
    back = [send(pair[1], pair[0], 30) for _ in range(5)]
    await asyncio.gather(*there, *back, return_exceptions=True)
    balances = [await _balance(world, wallet) for wallet in pair]
    assert sum(balances) == 200
    assert min(balances) >= 0
    with pytest.raises(Problem, match="insufficient_credits"):
        await send(pair[0], pair[1], 201)


async def test_b131_parallel_defaults_leave_exactly_one(collection: Collection) -> None:
    world = collection.world
    made = [await _method(world, f"pm_{number}") for number in range(4)]

    async def choose(ref: UUID) -> None:
        async with begin(world.database, world.scope, ACTOR) as tx:
            await payment_method_store.set_default(tx, str(ref))

    await asyncio.gather(*(choose(ref) for ref in made))
    assert len(await world.rows(payment_methods, payment_methods.c.is_default)) == 1


async def _method(world: World, ref: str, *, provider: str = "sandbox", is_default: bool = False) -> UUID:
    values = {
        "customer_id": world.customer_id,
        "provider": provider,
        "provider_payment_method_id": ref,
        "type": "card",
        "is_default": is_default,
        "details": {},
    }
    async with begin(world.database, world.scope, ACTOR) as tx:
        row = await payment_method_store.create(tx, values)
    found: UUID = row.id
    return found


async def test_b131_the_default_method_is_charged_instead_of_the_customers_card(collection: Collection) -> None:
    await _method(collection.world, "pm_insufficient_funds", is_default=True)
    assert (await collection.collect()).code == "insufficient_funds"
    (entry,) = await collection.ledger()
    assert entry.customer_ref == "pm_insufficient_funds"


async def test_b131_a_manual_default_method_is_never_charged(collection: Collection) -> None:
    await _method(collection.world, "transfer", provider="manual", is_default=True)
    answer = await collection.collect()
    assert (answer.status, answer.code) == ("not_collectable", "manual_payment")


async def test_b132_the_forecast_counts_what_invoices_took(database: Database, tenant: ProjectScope) -> None:
    world = await World(database, tenant).build()
    wallet_id = await _wallet(world, "10000")
    await ClosingActivities(database).close_periods(world.close())
    async with database.transaction(tenant) as connection:
        taken = await wallet_store.consumed_since(connection, wallet_id, MAY - timedelta(days=30))
        days = await wallet_store.timeline(connection, wallet_id, start=None, end=None)
    assert taken == 4900
    assert sum(day.outbound for day in days) == 4900
