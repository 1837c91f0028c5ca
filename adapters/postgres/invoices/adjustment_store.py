"""Why an invoice adjusts a closed period: corrections that its close saw, and events that came after the bill."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.events.correction_store import CorrectionEntry
from adapters.postgres.rows import record, records

MOST_EVENTS: Final = 100
"""Most events and corrections that are shown for one line."""

_LINES: Final = text("""
    SELECT l.id, l.position, l.description, l.amount_minor, l.quantity, l.total_quantity, l.subscription_id,
           l.metric_id, l.period_start, l.period_end, m.key AS metric_key, i.currency, i.created_at AS billed_at,
           (SELECT max(b.created_at) FROM invoice_lines b JOIN invoices o ON o.id = b.invoice_id
            WHERE b.subscription_id = l.subscription_id AND b.period_start = l.period_start
              AND b.charge_id = l.charge_id AND b.invoice_id <> l.invoice_id AND b.created_at < l.created_at
              AND o.status <> 'voided') AS billed_before
    FROM invoice_lines l JOIN invoices i ON i.id = l.invoice_id LEFT JOIN metrics m ON m.id = l.metric_id
    WHERE l.invoice_id = :invoice AND l.reason = 'adjustment' ORDER BY l.position
""")

_CORRECTIONS: Final = text("""
    SELECT c.*, i.number AS invoice_number FROM usage_corrections c LEFT JOIN invoices i ON i.id = c.settled_by
    WHERE c.settled_by = :invoice AND c.subscription_id = :subscription AND c.metric_id = :metric
      AND c.occurred_at >= :start AND c.occurred_at < :end
    ORDER BY c.id LIMIT :most
""")

_LATE: Final = text("""
    SELECT e.id, e.idempotency_key, e.value, e.occurred_at, e.received_at FROM events e
    WHERE e.status = 'counted' AND e.subscription_id = :subscription AND e.metric_id = :metric
      AND e.occurred_at >= :start AND e.occurred_at < :end
      AND e.received_at > :before AND e.received_at <= :billed
    ORDER BY e.id LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class AdjustmentLine:
    """A line that adjusts a closed period; `quantity` is the difference, `total_quantity` that of the whole period."""

    id: UUID
    description: str
    amount_minor: int
    currency: str
    quantity: Decimal
    total_quantity: Decimal
    metric_key: str | None
    period_start: datetime
    period_end: datetime


@dataclass(frozen=True, slots=True)
class LateEvent:
    """An event that was received after its period had been billed."""

    id: UUID
    idempotency_key: str
    value: Decimal | None
    occurred_at: datetime
    received_at: datetime


@dataclass(frozen=True)
class Adjustment:
    """An adjustment line with what is behind it, at most `MOST_EVENTS` of each."""

    line: AdjustmentLine
    corrections: Sequence[CorrectionEntry]
    late_events: Sequence[LateEvent]


async def adjustments(connection: AsyncConnection, invoice_id: UUID) -> list[Adjustment]:
    """Return the adjustment lines of an invoice in their order.

    Late events are those that were received after the period's last bill and before this invoice.
    """
    found = []
    for line in (await connection.execute(_LINES, {"invoice": invoice_id})).all():
        names = {
            "invoice": invoice_id,
            "subscription": line.subscription_id,
            "metric": line.metric_id,
            "start": line.period_start,
            "end": line.period_end,
            "before": line.billed_before or line.billed_at,
            "billed": line.billed_at,
            "most": MOST_EVENTS,
        }
        corrections = records(CorrectionEntry, await connection.execute(_CORRECTIONS, names))
        late = records(LateEvent, await connection.execute(_LATE, names))
        found.append(Adjustment(record(AdjustmentLine, line), corrections, late))
    return found
