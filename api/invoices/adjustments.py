"""Why an invoice adjusts periods that were closed before: each adjustment line with the events behind it (B108)."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from fastapi import Response
from pydantic import BaseModel, Field

from adapters.postgres.invoices import adjustment_store, invoice_store
from adapters.postgres.invoices.adjustment_store import Adjustment
from api.events.correction_shapes import CorrectionResponse, correction_document
from api.http.deps import CallerDep, DatabaseDep
from api.http.responses import reply
from api.http.routing import resource_router
from models.identifiers import shown_id

router = resource_router("invoices")


class LateEvent(BaseModel):
    """An event that was received after its period had been billed."""

    event_id: str
    idempotency_key: str
    value: Decimal | None
    timestamp: datetime
    received_at: datetime


class AdjustmentResponse(BaseModel):
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
    late_events: list[LateEvent]
    corrections: list[CorrectionResponse]


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
    return reply([_document(each) for each in found])


def _document(adjustment: Adjustment) -> dict[str, Any]:
    line = adjustment.line
    kinds = sorted({row.kind for row in adjustment.corrections})
    added = {row.event_id for row in adjustment.corrections if row.kind == "added"}
    late = [event for event in adjustment.late_events if event["id"] not in added]
    return {
        "line_id": shown_id("invoice_line", line["id"]),
        "description": line["description"],
        "amount_cents": str(line["amount_minor"]),
        "currency": line["currency"],
        "quantity": line["quantity"],
        "total_quantity": line["total_quantity"],
        "metric_key": line["metric_key"],
        "period_start": line["period_start"],
        "period_end": line["period_end"],
        "reasons": [*(["late_usage"] if late else []), *kinds],
        "late_events": [
            {
                "event_id": shown_id("event", event["id"]),
                "idempotency_key": event["idempotency_key"],
                "value": event["value"],
                "timestamp": event["occurred_at"],
                "received_at": event["received_at"],
            }
            for event in late
        ],
        "corrections": [correction_document(row) for row in adjustment.corrections],
    }
