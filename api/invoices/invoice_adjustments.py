"""What invoices show beside the charges of a plan: fees of add-ons, and discounts (B121, B122)."""

from collections.abc import Sequence
from typing import Any

from adapters.postgres.invoices.coupon_store import DISCOUNT_LINE
from adapters.postgres.invoices.invoice_store import StoredLine
from billing.invoice import InvoiceLine
from billing.numbers import json_number, plain
from billing.period import inclusive_end


def discounted(lines: Sequence[InvoiceLine] | Sequence[StoredLine]) -> int:
    """Return what coupons took off, in minor units, 0 or more: the discount lines with the other sign."""
    return -sum(line.amount_minor for line in lines if line.kind == DISCOUNT_LINE)


def preview_extras(lines: Sequence[InvoiceLine]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Show proposed lines beside the charges as line items, and those that are fees as BoxBilling's fees."""
    items = [
        {
            "description": line.description,
            "amount": line.amount_minor,
            "quantity": json_number(line.quantity),
            "amount_cents": str(line.amount_minor),
            "type": line.kind,
            "reason": line.reason,
            "charge_id": None,
            "metric_key": None,
            "period_start": None if line.period is None else line.period.start,
            "period_end": None if line.period is None else inclusive_end(line.period.end),
            "steps": line.shown_steps,
        }
        for line in lines
    ]
    fees = [
        {
            "description": line.description,
            "units": plain(line.quantity),
            "unit_amount_cents": str(line.amount_minor),
            "amount_cents": str(line.amount_minor),
            "charge_model": None,
            "metric_code": None,
        }
        for line in lines
        if line.kind != DISCOUNT_LINE
    ]
    return items, fees
