"""The billing time zone: on whose wall clock periods begin and invoices are dated (R12)."""

from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

#: A customer's zone is its own, else its billing entity's, its project's, its organization's; UTC for none.
ZONE_OF_CUSTOMER: Final = "coalesce(c.timezone, b.timezone, p.timezone, o.timezone, 'UTC')"
WITH_ZONE: Final = """
    JOIN projects p ON p.id = c.project_id JOIN organizations o ON o.id = p.organization_id
    LEFT JOIN billing_entities b ON b.id = c.billing_entity_id
"""
_ZONE_OF_INVOICE: Final = text(
    f"SELECT coalesce(s.timezone, {ZONE_OF_CUSTOMER}) FROM customers c {WITH_ZONE}"  # noqa: S608 - constants
    " LEFT JOIN subscriptions s ON s.id = :subscription WHERE c.id = :customer"
)


async def zone_of_invoice(connection: AsyncConnection, customer_id: UUID, subscription_id: UUID | None) -> str:
    """Return the IANA name of the zone in which an invoice is dated: its subscription's, else its customer's."""
    names = {"customer": customer_id, "subscription": subscription_id}
    return str((await connection.execute(_ZONE_OF_INVOICE, names)).scalar_one())
