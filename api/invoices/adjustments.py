"""Why an invoice adjusts periods that were closed before: each adjustment line with the events behind it (B108)."""

from datetime import datetime
from decimal import Decimal
from typing import Self

from fastapi import Response
from pydantic import Field

from adapters.postgres.invoices import adjustment_store, invoice_store
from adapters.postgres.invoices.adjustment_store import Adjustment, LateEvent
from api.events.correction_shapes import CorrectionResponse
from api.http.answers import Answer, EventTime
from api.http.deps import CallerDep, DatabaseDep
from api.http.responses import exact_instant, reply
from api.http.routing import resource_router
from models.identifiers import shown_id

router = resource_router("invoices")


class LateEventResponse(Answer):
    """An event that was received after its period had been billed."""

    event_id: str
    idempotency_key: str
    value: Decimal | None
    timestamp: EventTime
    received_at: datetime

    @classmethod
    def of(cls, event: LateEvent) -> Self:
        """Show a late event."""
        return cls.showing(event, event_id=shown_id("event", event.id), timestamp=exact_instant(event.occurred_at))


class AdjustmentResponse(Answer):
    """An adjustment line: its amount is what the period costs now less what was billed for it, in minor units."""

    line_id: str
    description: str = Field(examples=["API Calls — tiered usage (1,200,000 calls), adjustment"])
    amount_cents: str = Field(examples=["9000"])
    currency: str
    quantity: Decimal = Field(description="The difference.")
    total_quantity: Decimal = Field(description="That of the whole period now.")
    metric_key: str | None
    period_start: datetime
    period_end: datetime = Field(description="Exclusive.")
    reasons: list[str] = Field(examples=[["late_usage", "amended"]])
    late_events: list[LateEventResponse]
    corrections: list[CorrectionResponse]

    @classmethod
    def of(cls, adjustment: Adjustment) -> Self:
        """Show an adjustment line; events that a correction added are shown as corrections alone."""
        line, corrections = adjustment.line, adjustment.corrections
        added = {entry.event_id for entry in corrections if entry.kind == "added"}
        late = [LateEventResponse.of(event) for event in adjustment.late_events if event.id not in added]
        return cls.showing(
            line,
            line_id=shown_id("invoice_line", line.id),
            amount_cents=str(line.amount_minor),
            reasons=[*(["late_usage"] if late else []), *sorted({entry.kind for entry in corrections})],
            late_events=late,
            corrections=[CorrectionResponse.of(entry) for entry in corrections],
        )


@router.get(
    "/invoices/{invoice_id}/adjustments",
    response_model=list[AdjustmentResponse],
    operation_id="list_invoice_adjustments",
    summary="Explain an invoice's adjustment lines",
)
async def list_invoice_adjustments(invoice_id: str, caller: CallerDep, database: DatabaseDep) -> Response:
    """Return each adjustment line with the late events and the corrections behind it, at most 100 of each."""
    async with database.transaction(caller.scope) as connection:
        row = await invoice_store.view(connection, caller.project_id, invoice_id)
        found = await adjustment_store.adjustments(connection, row.id)
    return reply([AdjustmentResponse.of(each) for each in found])
