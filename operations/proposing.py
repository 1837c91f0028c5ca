"""What an invoice would hold now: the close without its writes, which is the preview, too (R25).

terms -> quantities -> rate -> difference -> discounts -> credits -> wallets; each step takes what the last one gave.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from adapters.postgres.failures import is_of_the_data
from adapters.postgres.invoices import carried_amount_store, held_adjustment_store
from adapters.postgres.invoices.billing_store import Terms, history_since, version_of
from adapters.postgres.invoices.reopened_period_store import ReopenedPeriod, reopened
from adapters.postgres.rows import AsyncConnection
from adapters.postgres.subscriptions.period_version_store import ServedVersions, versions_of
from adapters.postgres.usage.usage_store import usages
from adapters.postgres.wallets import wallet_move_store
from adapters.postgres.wallets.wallet_move_store import NO_WALLET_DRAW, WalletDraw
from billing.closing.bill import Adjustments, Bill, Priced, adjustments_of, bill_of, carryover_line
from billing.closing.periods import LeftOut, PeriodToRate, Window, first_start, periods_to_rate
from billing.invoice import InvoiceLine, total
from billing.rating import rate


@dataclass(frozen=True)
class Proposal:
    """An invoice that could be written: its charges, what is beside them, and its lines in order."""

    bill: Bill
    adjustments: Adjustments
    lines: tuple[InvoiceLine, ...]
    owed_minor: int
    reopened: Sequence[ReopenedPeriod]

    @property
    def beside(self) -> tuple[InvoiceLine, ...]:
        """The lines beside the charges: add-ons, discounts, what goes to a wallet."""
        return self.lines[len(self.bill.lines) :]

    @property
    def total_minor(self) -> int:
        """The sum of the lines, never negative (C2)."""
        return total(self.lines)


async def propose(
    connection: AsyncConnection,
    terms: Terms,
    window: Window,
    *,
    lock: bool,
    draft: bool = False,
    used: Sequence[Adjustments] = (),
) -> Proposal:
    """Return the invoice of a window; it has no lines when all is billed. Nothing is written.

    `lock` keeps other subscriptions of the customer from using the same coupons and fees until the transaction ends;
    `used` is what other invoices that are proposed at the same time take of them. Raises `AbsurdInvoice`.
    """
    # Read before what was billed is, so that what is reopened later stays for the next close.
    again = await reopened(connection, terms.subscription_id) if terms.has_reopened else []
    bill = await unbilled(connection, terms, window, again)
    held = await held_adjustment_store.held_adjustments(connection, terms, bill, lock=lock)
    for taken in used:
        held = held.after(taken)
    adjustments = adjustments_of(bill, held)
    lines = tuple(
        line.model_copy(update={"subscription_id": terms.subscription_id}) for line in (*bill.lines, *adjustments.lines)
    )
    # A draft is no demand for money: what waits for the next invoice goes on waiting.
    if lines and terms.has_carried and not draft and not used:
        waiting = await carried_amount_store.take_over(connection, terms.customer_id, bill.currency, lock=lock)
        lines += tuple(waiting)
    due = total(lines)
    return Proposal(bill, adjustments, lines + carryover_line(due), owed_minor=max(0, -due), reopened=again)


async def unbilled(connection: AsyncConnection, terms: Terms, window: Window, found: Sequence[ReopenedPeriod]) -> Bill:
    """Return the charges of a window, and of periods that were ``found`` reopened, that are not billed yet.

    A period that was billed before and cannot be rated again is left out, so that it holds up no other. Raises
    `AbsurdInvoice`.
    """
    first = first_start(terms, window)
    again = {row.period_start: row.plan_version_id for row in found}
    history = await history_since(connection, terms.subscription_id, first, reopened=again)
    pinned = window.plan_version_id or terms.plan_version_id
    served = ServedVersions()
    # A close that was told its version bills the period it was told it for.
    if terms.changed_plans and window.plan_version_id is None:
        served = await versions_of(connection, terms.subscription_id)
    periods = periods_to_rate(terms, window, history, lambda start: served.of(start) or pinned)
    currency = (await version_of(connection, pinned)).currency
    priced, left_out = list[Priced](), list[LeftOut]()
    for period in periods:
        if not history.was_billed(period.period.start):
            priced.append((period, await _priced(connection, terms, window, period, currency)))
            continue
        try:
            async with connection.begin_nested():
                priced.append((period, await _priced(connection, terms, window, period, currency)))
        except Exception as error:
            if not is_of_the_data(error):
                raise
            left_out.append(LeftOut(period.period, f"{type(error).__name__}: {error}"))
    bill = bill_of(terms, window, history, priced, currency=currency)
    return replace(bill, left_out=(*left_out, *bill.left_out)) if left_out else bill


async def _priced(
    connection: AsyncConnection, terms: Terms, window: Window, period: PeriodToRate, currency: str
) -> tuple[InvoiceLine, ...]:
    version = await version_of(connection, period.plan_version_id)
    assert version.currency.upper() == currency.upper(), "an invoice has one currency"
    metered = [charge for charge in version.charges if charge.metered]
    used = {}
    if metered:
        used = await usages(
            connection,
            terms.subscription_id,
            metered,
            period=period.counted,
            through=period.through,
            levels_end=period.active.end,
        )
    charges = metered if window.kind == "progressive" else version.charges
    return rate(
        charges,
        used,
        period=period.active,
        full_period=period.full,
        currency=version.currency,
        pauses=terms.pauses,
    )


async def wallet_draw(connection: AsyncConnection, terms: Terms, proposal: Proposal, window: Window) -> WalletDraw:
    """Lock and return what the customer's wallets pay; customers without credits cost no statement (B133)."""
    if not terms.has_wallet:
        return NO_WALLET_DRAW
    return await wallet_move_store.wallet_draw_for(
        connection,
        terms.customer_id,
        due_minor=proposal.total_minor,
        currency=proposal.bill.currency,
        at=window.at,
    )
