"""An invoice to be collected, for tests below the API."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from activities.collecting import CollectingActivities
from adapters.payment_port import PaymentProvider
from adapters.postgres.database import SYSTEM, ProjectScope
from adapters.postgres.rows import AsyncConnection
from models.messages.collecting import CollectInvoice, InvoiceCollected
from models.tables import customers, invoices, sandbox_charges
from tests.support.billing_world import MAY, World


class FixedProviders(dict[str, PaymentProvider]):
    """Providers by their names, whoever asks."""

    async def choose(
        self, connection: AsyncConnection, scope: ProjectScope, name: str, *, in_clock: bool
    ) -> PaymentProvider:
        """Return the provider of this name."""
        del connection, scope, in_clock
        return self[name]


@dataclass
class Collection:
    """One issued invoice, the activity that collects it, and what can be seen afterwards."""

    world: World
    invoice_id: UUID
    activities: CollectingActivities

    async def card(self, name: str) -> None:
        """Return the customer a test card by name."""
        await self.world.change(customers, self.world.customer_id, payment_provider_customer_id=name)

    async def collect(self, attempt_no: int = 1, *, at: datetime = MAY, final: bool = False) -> InvoiceCollected:
        """Run the activity."""
        return await self.activities.collect_invoice(
            CollectInvoice(
                organization_id=self.world.scope.organization_id,
                project_id=self.world.scope.project_id,
                invoice_id=self.invoice_id,
                attempt_no=attempt_no,
                at=at,
                final_attempt=final,
            )
        )

    async def invoice(self) -> Any:
        """Read the invoice's row."""
        return await self.world.invoice(self.invoice_id)

    async def set_status(self, status: str) -> None:
        """Put the invoice into a status."""
        settled = (await self.invoice()).total_minor if status == "paid" else 0
        await self.world.change(invoices, self.invoice_id, status=status, settled_minor=settled)

    async def ledger(self) -> list[Any]:
        """Read what the sandbox charged for this project."""
        project = sandbox_charges.c.metadata["project_id"].astext
        async with self.world.database.transaction(SYSTEM) as connection:
            found = await connection.execute(
                select(sandbox_charges)
                .where(project == str(self.world.scope.project_id))
                .order_by(sandbox_charges.c.created_at)
            )
            return list(found.all())
