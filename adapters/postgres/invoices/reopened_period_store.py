"""Billing periods that the next close is to rate again, because an invoice of theirs was voided or deleted (R20)."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import delete, insert, select, text

from adapters.postgres.events import rollup_store
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.rows import AsyncConnection
from models.identifiers import new_id
from models.tables import invoice_lines, plan_charges, reopened_periods, subscriptions

# Written before the invoice is voided, so that what is live includes it. A line that gives money back is not forgiven:
# the customer still gets it.
_FORGIVE: Final = text("""
    UPDATE invoice_lines l SET forgiven_minor = greatest(0, least(l.amount_minor, live.amount_minor))
    FROM (
        SELECT o.charge_id, o.period_start, o.group_key, CAST(sum(o.amount_minor) AS bigint) AS amount_minor
        FROM invoice_lines o JOIN invoices i ON i.id = o.invoice_id
        WHERE o.subscription_id = :subscription AND o.charge_id IS NOT NULL AND i.status <> 'voided'
          AND o.period_start IN (SELECT m.period_start FROM invoice_lines m WHERE m.invoice_id = :invoice)
        GROUP BY 1, 2, 3
    ) live
    WHERE l.invoice_id = :invoice AND l.amount_minor >= 0 AND live.charge_id = l.charge_id
      AND live.period_start = l.period_start AND live.group_key IS NOT DISTINCT FROM l.group_key
""")

# What a coupon found billed when it came shrinks by what is forgiven of it. An invoice from before the coupon is one
# that is older than the first with a discount of it.
_FORGIVE_BEFORE_COUPONS: Final = text("""
    UPDATE period_coupons k SET since_minor = greatest(0, k.since_minor - held.forgiven_minor)
    FROM (
        SELECT period_start, sum(forgiven_minor) AS forgiven_minor FROM invoice_lines
        WHERE invoice_id = :invoice AND forgiven_minor > 0 GROUP BY 1
    ) held
    WHERE k.subscription_id = :subscription AND k.period_start = held.period_start AND k.since_minor > 0
      AND NOT EXISTS (
        SELECT FROM invoice_lines d
        WHERE d.subscription_id = k.subscription_id AND d.period_start = k.period_start AND d.kind = 'discount'
          AND d.reference = 'coupon:' || k.application_id AND d.invoice_id <= :invoice
      )
""")


class ReopenedPeriod(NamedTuple):
    """A period that is to be rated again under a plan version; several rows may name one period."""

    id: UUID
    period_start: datetime
    plan_version_id: UUID


async def forgive(connection: AsyncConnection, subscription_id: UUID, invoice_id: UUID) -> None:
    """Write on the lines of an invoice that is about to be voided what no later difference may bring back.

    That is what a line holds, in minor units, but not more than live invoices hold for its charge, group and period.
    """
    named = {"subscription": subscription_id, "invoice": invoice_id}
    await connection.execute(_FORGIVE, named)
    await connection.execute(_FORGIVE_BEFORE_COUPONS, named)


async def reopen(tx: Transaction, subscription_id: UUID, invoice_id: UUID) -> None:
    """Have the next close rate the periods of an invoice again; to be called while it has its lines.

    An ended subscription has no next close: the relay has it looked at, as for late usage.
    """
    lines = select(invoice_lines.c.period_start, plan_charges.c.plan_version_id).distinct()
    lines = lines.join(plan_charges, plan_charges.c.id == invoice_lines.c.charge_id)
    found = (await tx.connection.execute(lines.where(invoice_lines.c.invoice_id == invoice_id))).all()
    if not found:
        return
    rows: list[dict[str, Any]] = [
        {
            "id": new_id(),
            "project_id": tx.scope.project_id,
            "subscription_id": subscription_id,
            "period_start": row.period_start,
            "plan_version_id": row.plan_version_id,
        }
        for row in found
    ]
    await tx.connection.execute(insert(reopened_periods), rows)
    ended = await tx.connection.scalar(select(subscriptions.c.ended_at).where(subscriptions.c.id == subscription_id))
    if ended is not None:
        assert tx.scope.project_id is not None, "invoices belong to a project"
        await rollup_store.mark(tx.connection, tx.scope.project_id, [subscription_id])


async def reopened(connection: AsyncConnection, subscription_id: UUID) -> Sequence[ReopenedPeriod]:
    """Read the periods of a subscription that are to be rated again, the latest row last.

    To be read before what was billed is, so that what is reopened later stays for the next close.
    """
    columns = reopened_periods.c
    statement = select(columns.id, columns.period_start, columns.plan_version_id).where(
        columns.subscription_id == subscription_id, columns.period_start >= text("event_floor()")
    )
    return [ReopenedPeriod(*row) for row in await connection.execute(statement.order_by(columns.id))]


async def mark_rated(
    connection: AsyncConnection, found: Sequence[ReopenedPeriod], starts: Collection[datetime]
) -> None:
    """Note that a close has rated the periods with these starts, of those that it had read."""
    rated = [row.id for row in found if row.period_start in starts]
    if rated:
        await connection.execute(delete(reopened_periods).where(reopened_periods.c.id.in_(rated)))
