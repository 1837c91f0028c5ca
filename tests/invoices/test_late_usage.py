"""Usage that arrives after its period was closed is on the next invoice that the timer makes (C5, B108)."""

from datetime import timedelta

from sqlalchemy import select

from activities.closing import ClosingActivities
from adapters.postgres.events import correction_store
from adapters.postgres.events.correction_store import Replacement
from adapters.postgres.invoices import invoice_change_store, invoice_store
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.transaction import begin
from models.messages.closing import InvoiceClosed
from models.tables import (
    events,
    invoice_lines,
    invoices,
    subscriptions,
    usage_corrections,
    wallet_transactions,
    wallets,
)
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


async def test_usage_late_for_a_period_that_was_all_billed_before_its_end(
    world: World, closing: ClosingActivities
) -> None:
    """Nothing of it is left at its end: the invoice that closes it says so, and what comes late is found by that."""
    await world.use(200_000)
    await closing.close_periods(world.close(end=APRIL + timedelta(days=20)))
    closed = await closing.close_periods(world.close("period"))
    line = ("API Calls — tiered usage (200,000 calls), less what was invoiced before", 0)
    assert (closed.status, await world.lines(closed.invoice_id)) == ("paid", [line])
    again = await closing.close_periods(world.close("period", key="once more"))
    assert again.invoice_id is None
    await world.use(1_000_000)
    following = await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert await world.lines(following.invoice_id) == [
        ("API Calls — tiered usage (1,200,000 calls), adjustment", 9000),
        ("API Calls — tiered usage (0 calls)", 0),
        ("Growth base fee", 4900),
    ]


async def test_usage_late_for_a_charge_that_has_no_line_on_the_invoice_of_its_periods_end(
    world: World, closing: ClosingActivities
) -> None:
    """The fee at the end, cut short with the subscription, says that the whole period was closed."""
    await world.use(200_000)
    middle = world.close("progressive", key="middle").model_copy(update={"at": APRIL + timedelta(days=20)})
    await closing.close_periods(middle)
    final = await closing.close_periods(world.close("final", end=APRIL + timedelta(days=24)))
    assert await world.lines(final.invoice_id) == [("Growth base fee (prorated 24/30 days)", 3920)]
    await world.change(subscriptions, world.subscription_id, ended_at=APRIL + timedelta(days=24))
    await world.use(1_000_000)
    late = await closing.close_periods(world.close("adjustment", start=MAY, end=JUNE))
    assert await world.lines(late.invoice_id) == [("API Calls — tiered usage (1,200,000 calls), adjustment", 9000)]


async def test_a_period_in_its_grace_is_not_adjusted_by_its_own_invoice(
    world: World, closing: ClosingActivities
) -> None:
    """An invoice in the middle of the next period comes before the one that closes this period."""
    await world.use(200_000)
    await closing.close_periods(world.close(end=APRIL + timedelta(days=20)))
    await world.use(200_000, APRIL + timedelta(days=25))
    await world.use(200_000, MAY)
    running = world.close("progressive", start=MAY, end=JUNE, key="running")
    await closing.close_periods(running.model_copy(update={"at": MAY + timedelta(days=2)}))
    closed = await closing.close_periods(world.close("period"))
    assert await world.lines(closed.invoice_id) == [
        ("API Calls — tiered usage (400,000 calls), less what was invoiced before", 2000)
    ]


async def test_what_a_voided_middle_invoice_billed_of_a_closed_period_is_billed_again(
    world: World, closing: ClosingActivities
) -> None:
    await world.use(200_000)
    middle = world.close("progressive", key="middle").model_copy(update={"at": APRIL + timedelta(days=20)})
    voided = await closing.close_periods(middle)
    await closing.close_periods(world.close("period"))
    await change(world, voided, "void", rebill=True)
    following = await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert await world.lines(following.invoice_id) == [
        ("API Calls — tiered usage (200,000 calls)", 1000),
        ("API Calls — tiered usage (0 calls)", 0),
        ("Growth base fee", 4900),
    ]


async def test_a_final_invoice_holds_what_came_late(world: World, closing: ClosingActivities) -> None:
    await closing.close_periods(world.close("period"))
    await world.use(1_200_000)
    final = await closing.close_periods(world.close("final", start=MAY, end=MAY + timedelta(days=31) / 2))
    assert final.total_minor == 10000 + 2450


async def amended(world: World, value: str) -> None:
    """Let the world's one event say something else."""
    async with begin(world.database, world.scope, SYSTEM_ACTOR) as tx:
        key = await tx.connection.scalar(select(events.c.idempotency_key))
        await correction_store.amend(tx, str(key), replacement=Replacement(value=value), reason=None)


async def change(world: World, closed: InvoiceClosed, step: str, **how: bool) -> None:
    """Finalize or void an invoice."""
    async with begin(world.database, world.scope, SYSTEM_ACTOR) as tx:
        row = await invoice_store.view(tx.connection, world.scope.project_id, str(closed.invoice_id), lock=True)
        await getattr(invoice_change_store, step)(tx, row, **how)


async def test_what_an_invoice_would_owe_goes_to_a_wallet(world: World, closing: ClosingActivities) -> None:
    """100.00 for the calls of April was billed, nothing is left of them: 51.00 more than May's fee."""
    await world.use(1_200_000)
    await closing.close_periods(world.close("period"))
    await amended(world, "0")
    following = await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert (following.total_minor, following.status) == (0, "paid")
    lines = await world.lines(following.invoice_id)
    assert [amount for _, amount in lines] == [-10000, 0, 4900, 5100]
    (wallet,) = await world.rows(wallets)
    (credit,) = await world.rows(wallet_transactions)
    assert (wallet.code, wallet.credits_balance, credit.invoice_id) == ("adjustments_usd", 51, following.invoice_id)
    # The next invoice draws on it, and nothing is adjusted twice.
    july = JUNE + timedelta(days=30)
    last = await closing.close_periods(world.close("period", start=JUNE, end=july))
    row = await world.invoice(last.invoice_id)
    assert (last.total_minor, row.prepaid_minor, row.status) == (4900, 4900, "paid")


async def test_a_negative_draft_gives_its_credit_when_it_is_issued(world: World, closing: ClosingActivities) -> None:
    await world.use(1_200_000)
    await closing.close_periods(world.close("period"))
    await amended(world, "0")
    draft = await closing.close_periods(world.close(end=MAY, draft=True))
    assert (draft.status, draft.total_minor, await world.rows(wallets)) == ("draft", 0, [])
    await change(world, draft, "finalize")
    (wallet,) = await world.rows(wallets)
    assert ((await world.invoice(draft.invoice_id)).status, wallet.credits_balance) == ("paid", 100)


async def test_a_correction_is_billed_again_when_its_invoice_is_voided(
    world: World, closing: ClosingActivities
) -> None:
    await world.use(200_000)
    await closing.close_periods(world.close("period"))
    await amended(world, "1200000")
    second = await closing.close_periods(world.close("period", start=MAY, end=JUNE))
    assert second.total_minor == 9000 + 4900
    assert [row.settled_by for row in await world.rows(usage_corrections)] == [second.invoice_id]
    await change(world, second, "void", rebill=True)
    july = JUNE + timedelta(days=30)
    third = await closing.close_periods(world.close("period", start=JUNE, end=july))
    # The correction of April and May's fee again, and June's fee.
    assert third.total_minor == 9000 + 4900 + 4900
    assert len(await world.rows(invoices)) == 3
