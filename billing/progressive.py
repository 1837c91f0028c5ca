"""The invoice in the middle of a period: its usage so far at whole-period rating, less what was billed (C29, C30)."""

from collections.abc import Sequence

from billing.invoice import BilledLine, InvoiceLine, assemble, total
from billing.rating import ProposedLine


def unbilled_usage(existing: Sequence[BilledLine], proposed: Sequence[ProposedLine]) -> tuple[InvoiceLine, ...]:
    """Return the lines that bill one running period's usage up to what is proposed; fixed fees stay for its end (B156).

    `proposed` prices the whole period (tiers do not restart), so this invoice, further ones and the one at the period's
    end add up to one rating (B155): at 0.05 each, 10,251 units give 512.55, and 20,000 at the end another 487.45.
    A charge that was not used has no line, and an invoice that would give money back is left to the period's end.
    Raises `AbsurdInvoice`.
    """
    usage = [line for line in proposed if line.kind == "usage"]
    if not usage:
        return ()
    lines = assemble(existing, usage, closed=())
    used = tuple(line for line in lines if line.amount_minor or line.quantity)
    return used if total(used) > 0 else ()
