"""What the committed histories are of: short lives that together go through every branch of the workflows."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final

from models.messages.subscription import (
    Cancel,
    ChargeInvoice,
    InvoiceNow,
    Pause,
    Reinstate,
    Resume,
    RetryParked,
    Suspend,
)
from tests.support.subscribing import ref_of
from tests.waiting import eventually
from tests.workflows.conftest import Office
from tests.workflows.test_alerting import looked_again, watched_and_billed
from tests.workflows.test_durability import break_plan, use
from tests.workflows.test_life import FEBRUARY, MARCH, START, bills, in_clock, is_over, new_card
from tests.workflows.test_upkeep import late_after_the_end, rollups_checked, window_reprocessed
from tests.workflows.test_webhook_delivery import webhook_retried


async def paid_periods(office: Office) -> str:
    """Two periods are billed and paid; usage is told; the subscription ends with its third."""
    clock_id, state = await in_clock(office)
    await use(office, state, 100, START + timedelta(days=1), number=1)
    await eventually(lambda: office.live(state), until=lambda live: bool(live.usage))
    await office.advance(clock_id, MARCH)
    await office.commands.cancel(ref_of(state), Cancel(request_id="cancel"))
    await office.advance(clock_id, MARCH + timedelta(days=31))
    await eventually(lambda: is_over(office, state))
    return office.handle(state).id


async def declined_and_retried(office: Office) -> str:
    """A card is declined twice, and pays on the second retry."""
    clock_id, state = await in_clock(office, card="card_decline_2_times")
    for days in (0, 1, 4):
        await office.advance(clock_id, FEBRUARY + timedelta(days=days))
    assert await bills(office, state) == [("period", "paid", 4900)]
    return office.handle(state).id


async def commanded(office: Office) -> str:
    """Paused, resumed, billed on demand, charged, terminated with a final bill."""
    clock_id, state = await in_clock(office)
    ref, commands = ref_of(state), office.commands
    await commands.pause(ref, Pause(request_id="pause"))
    await commands.resume(ref, Resume(request_id="resume"))
    closed = await commands.invoice_now(ref, InvoiceNow(request_id="invoice", cutoff_end=FEBRUARY))
    assert closed.invoice_id is not None
    await commands.charge(ref, ChargeInvoice(request_id="charge", invoice_id=closed.invoice_id))
    await office.advance(clock_id, FEBRUARY + timedelta(days=10))
    await commands.cancel(ref, Cancel(request_id="end", immediately=True))
    await eventually(lambda: is_over(office, state))
    return office.handle(state).id


async def suspended_and_reinstated(office: Office) -> str:
    """Suspended and reinstated by commands, then by itself when a card never pays, until another one does."""
    clock_id, state = await in_clock(office, card="card_decline_99_times")
    ref, commands = ref_of(state), office.commands
    await commands.suspend(ref, Suspend(request_id="suspend", reason="under review"))
    await commands.reinstate(ref, Reinstate(request_id="reinstate"))
    await office.advance(clock_id, FEBRUARY + timedelta(days=16))
    (unpaid,) = (await office.live(state)).invoices
    await new_card(office, state)
    await commands.charge(ref, ChargeInvoice(request_id="charge", invoice_id=unpaid.invoice_id))
    await eventually(lambda: office.live(state), until=lambda live: live.status == "active")
    return office.handle(state).id


async def parked_and_retried(office: Office) -> str:
    """A bill that cannot be made is set aside, then taken up again."""
    clock_id, state = await in_clock(office)
    await break_plan(office, broken=True)
    await office.advance(clock_id, FEBRUARY)
    await break_plan(office, broken=False)
    await office.commands.retry_parked(ref_of(state), RetryParked(request_id="retry"))
    await eventually(lambda: bills(office, state), until=lambda rows: rows == [("period", "paid", 4900)])
    return office.handle(state).id


async def trial_with_grace(office: Office) -> str:
    """A trial ends, a period is billed after its grace days."""
    clock_id, state = await in_clock(office, trial_ends_at=START + timedelta(days=14), grace_days=2)
    await office.advance(clock_id, START + timedelta(days=60))
    assert len(await bills(office, state)) == 1
    return office.handle(state).id


SCENARIOS: Final[Mapping[str, Callable[[Office], Awaitable[str]]]] = {
    "paid_periods": paid_periods,
    "declined_and_retried": declined_and_retried,
    "commanded": commanded,
    "suspended_and_reinstated": suspended_and_reinstated,
    "parked_and_retried": parked_and_retried,
    "trial_with_grace": trial_with_grace,
    "watched_and_billed": watched_and_billed,
    "looked_again": looked_again,
    "webhook_retried": webhook_retried,
    "late_after_the_end": late_after_the_end,
    "rollups_checked": rollups_checked,
    "window_reprocessed": window_reprocessed,
}
