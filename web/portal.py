"""The portal's page: what one customer has subscribed to, used and been billed for (B172)."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from adapters.postgres.database import Database
from adapters.postgres.paging import Page
from adapters.postgres.tenancy import organization_store
from api.portal import portal_view
from api.portal.portal_auth import read_token
from api.portal.portal_shapes import PortalBranding
from api.portal.portal_view import PortalSubscriptionView
from billing.money import exponent, to_major
from billing.numbers import grouped
from billing.period import inclusive_end, zone
from billing.scope import group_label
from models.problems import Problem
from web.rendering import page

router = APIRouter(include_in_schema=False)

_MOST_INVOICES: Final = 24
_COLOR: Final = re.compile(r"#[0-9A-Fa-f]{6}")


@router.get("/portal")
async def portal_page(request: Request, token: str = "") -> Response:
    """Show the customer whom the token names its subscriptions, its usage so far and its invoices with their lines."""
    database: Database = request.app.state.database
    try:
        caller = read_token(request.app.state.settings, token)
        async with database.transaction(caller.scope) as connection:
            customer = await portal_view.customer_profile(connection, caller)
            brand = PortalBranding.of(await organization_store.get(connection, caller.scope.organization_id))
            subscriptions = await portal_view.subscriptions_of_customer(connection, caller, usage=True)
            invoices, total, _ = await portal_view.invoices(connection, caller, Page(limit=_MOST_INVOICES))
    except Problem as problem:
        return page("portal_refused.html", problem.status, error=problem.detail)
    return page(
        "portal.html",
        own_style=_accent(brand.accent_color),
        brand=brand,
        customer=customer,
        subscriptions=[_shown(each) for each in subscriptions],
        invoices=invoices,
        total=total,
        money=money,
        day=lambda at: day(at, customer.timezone),
        number=lambda value: grouped(Decimal(value)),
    )


def _accent(color: str | None) -> str:
    """Return the style sheet of a seller's own colour; nothing for what is no colour."""
    return f":root {{ --accent: {color}; }}" if color is not None and _COLOR.fullmatch(color) else ""


def _shown(each: PortalSubscriptionView) -> dict[str, Any]:
    shown = each.document()
    usage = [] if each.usage is None else each.usage.by_line
    used_minor = 0 if each.usage is None else each.usage.amount_minor
    return {
        **dict(shown),
        "currency": each.of.version.currency,
        "running": each.usage is not None,
        "start": day(each.of.current.start, each.row.timezone),
        "end": day(inclusive_end(each.of.current.end), each.row.timezone),
        "bill_day": day(each.next_billing, each.row.timezone),
        "usage": [
            {
                "name": f"{line.label} ({group_label(line.group)})" if line.group else line.label,
                "quantity": grouped(line.quantity),
                "unit": charge.unit or "",
                "amount_minor": line.amount_minor,
            }
            for charge, line in usage
        ],
        "fee_minor": each.fee_minor,
        "total_minor": each.fee_minor + used_minor,
    }


def money(minor: int, currency: str) -> str:
    """Write minor units as people read them: 14900 usd -> 149.00 USD."""
    return f"{to_major(minor, currency):,.{exponent(currency)}f} {currency.upper()}"


def day(at: datetime | None, timezone: str) -> str:
    """Write the date of an instant in a time zone; a dash for none."""
    return "–" if at is None else at.astimezone(zone(timezone)).strftime("%-d %b %Y")
