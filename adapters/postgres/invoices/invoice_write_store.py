"""Writing an invoice: its row, lines, number, audit entries and webhooks in one statement (C2, C8, C9).

One statement, because the number's counter is one row per project or billing entity: it stays locked only while this
statement runs and the transaction commits, so closes of many subscriptions of a project hardly wait for each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg.errors import UniqueViolation
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import ProjectScope, driver
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.journal.outbox_store import envelope
from adapters.postgres.prepared import DIALECT, Prepared
from billing.invoice import InvoiceLine, InvoiceStatus, total
from billing.money import to_major
from billing.numbers import json_number, plain
from billing.period import zone
from models.identifiers import new_id, shown_id
from models.tables import invoice_lines
from models.webhook_types import WebhookType

_BILLING_KEY: Final = "uq_invoices_project_id_billing_key"
# Amounts in webhooks are JSON numbers, exact (C11).
_JSON: Final = msgspec.json.Encoder(decimal_format="number")


class AlreadyBilled(Exception):
    """Raised when an earlier run wrote the invoice of a billing key (C8)."""


@dataclass(frozen=True)
class NewInvoice:
    """An invoice to be written. `at` is the subscription's now; amounts are minor units of `currency`.

    `prepaid_minor` is what wallets pay; the caller writes its settlements (B133). `timezone` is the billing zone, whose
    date the number shows; a draft has no number.
    """

    scope: ProjectScope
    actor: Actor
    customer_id: UUID
    customer_shown: str
    kind: str
    status: InvoiceStatus
    currency: str
    lines: Sequence[InvoiceLine]
    billing_key: str
    at: datetime
    due_at: datetime | None
    timezone: str = "UTC"
    subscription_id: UUID | None = None
    billing_entity_id: UUID | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    auto_collect: bool = False
    prepaid_minor: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    next_period: tuple[datetime, datetime] | None = None
    id: UUID = field(default_factory=new_id)

    @property
    def total_minor(self) -> int:
        """The sum of the lines (C2, B97)."""
        return total(self.lines)

    @property
    def is_final(self) -> bool:
        """Return whether it is more than a draft, so that it has a number and was issued."""
        return self.status != "draft"


#: What of a line is written, with its type; the invoice, its project and the time are the statement's.
_LINE_COLUMNS: Final = {
    column.name: column.type.compile(DIALECT)
    for column in invoice_lines.columns
    if column.name not in ("project_id", "invoice_id", "forgiven_minor", "created_at")
}

#: Draws the next number: of the billing entity's series (B119), else of the project's (C8). Gives none for a draft.
DRAW_NUMBER: Final = """
WITH drawn_of_project AS (
    INSERT INTO invoice_counters AS counter (project_id, next_number)
    SELECT CAST(:project_id AS uuid), 2
    WHERE CAST(:is_final AS boolean) AND CAST(:billing_entity_id AS uuid) IS NULL
    ON CONFLICT (project_id) DO UPDATE SET next_number = counter.next_number + 1
    RETURNING next_number - 1 AS drawn_number
), drawn_of_entity AS (
    UPDATE billing_entities SET next_invoice_number = next_invoice_number + 1
    WHERE id = CAST(:billing_entity_id AS uuid) AND CAST(:is_final AS boolean)
    RETURNING coalesce(invoice_prefix, code) || '-' AS prefix, next_invoice_number - 1 AS drawn_number
), drawn AS (
    SELECT prefix || lpad(drawn_number::text, greatest(4, length(drawn_number::text)), '0') AS number
    FROM (SELECT CAST(:number_prefix AS text) AS prefix, drawn_number FROM drawn_of_project
          UNION ALL SELECT prefix, drawn_number FROM drawn_of_entity) AS either
)"""

_WRITE: Final = Prepared(
    text(
        DRAW_NUMBER  # noqa: S608 - both parts are constants
        + """, made AS (
    INSERT INTO invoices (
        id, project_id, number, customer_id, subscription_id, billing_entity_id, kind, status, currency,
        period_start, period_end, total_minor, settled_minor, prepaid_minor, billing_key, auto_collect,
        issued_at, due_at, paid_at, metadata
    )
    SELECT CAST(:id AS uuid), CAST(:project_id AS uuid),
        (SELECT number FROM drawn), CAST(:customer_id AS uuid), CAST(:subscription_id AS uuid),
        CAST(:billing_entity_id AS uuid), CAST(:kind AS text), CAST(:status AS text),
        CAST(:currency AS text), CAST(:period_start AS timestamptz), CAST(:period_end AS timestamptz),
        CAST(:total_minor AS bigint), CAST(:prepaid_minor AS bigint), CAST(:prepaid_minor AS bigint),
        CAST(:billing_key AS text), CAST(:auto_collect AS boolean),
        CAST(:issued_at AS timestamptz), CAST(:due_at AS timestamptz), CAST(:paid_at AS timestamptz),
        CAST(:metadata AS jsonb)
    RETURNING number
), written_lines AS (
    INSERT INTO invoice_lines (project_id, invoice_id, """
        + ", ".join(_LINE_COLUMNS)
        + """)
    SELECT CAST(:project_id AS uuid), CAST(:id AS uuid), """
        + ", ".join(f"line.{name}" for name in _LINE_COLUMNS)
        + """
    FROM jsonb_to_recordset(CAST(:lines AS jsonb)) AS line("""
        + ", ".join(f"{name} {kind}" for name, kind in _LINE_COLUMNS.items())
        + """)
), audited AS (
    INSERT INTO audit_log (
        id, organization_id, project_id, resource_type, resource_id, action, title, data, actor_type, actor_id,
        occurred_at
    )
    SELECT entry.id, CAST(:organization_id AS uuid), CAST(:project_id AS uuid), 'invoice', CAST(:id AS uuid),
        entry.action, entry.title, CAST(:audit_data AS jsonb) || jsonb_build_object('invoice_number', made.number),
        CAST(:actor_type AS text), CAST(:actor_id AS text), CAST(:at AS timestamptz)
    FROM jsonb_to_recordset(CAST(:audit AS jsonb)) AS entry(id uuid, action text, title text), made
), told AS (
    INSERT INTO outbox (project_id, topic, ordering_key, payload)
    SELECT CAST(:project_id AS uuid), 'webhook', CAST(:ordering_key AS text),
        jsonb_set(message.payload, '{data,invoice_number}', coalesce(to_jsonb(made.number), 'null'))
    FROM jsonb_to_recordset(CAST(:webhooks AS jsonb)) AS message(payload jsonb), made
), moved AS (
    UPDATE subscriptions
    SET current_period_start = CAST(:next_start AS timestamptz), current_period_end = CAST(:next_end AS timestamptz),
        updated_at = clock_timestamp()
    WHERE id = CAST(:subscription_id AS uuid) AND CAST(:next_start AS timestamptz) IS NOT NULL
)
SELECT number FROM made
"""
    )
)

_TITLES: Final = {
    "created": "Invoice created",
    "issued": "Invoice issued",
    "paid": "Invoice settled: nothing is due",
}


async def write_invoice(connection: AsyncConnection, invoice: NewInvoice) -> str | None:
    """Write the invoice and everything that must be known about it; returns its number, None for a draft.

    Raises `AlreadyBilled` when an invoice with its billing key exists; the transaction is then lost.
    """
    # A draft's number is drawn at finalisation; an issued one's here, last before the commit.
    try:
        written = await _WRITE.run(await driver(connection), _parameters(invoice))
    except UniqueViolation as error:
        if error.diag.constraint_name == _BILLING_KEY:
            raise AlreadyBilled(invoice.billing_key) from error
        raise
    (number,) = await written.fetchone() or (None,)
    return number


def _parameters(invoice: NewInvoice) -> dict[str, Any]:
    next_start, next_end = invoice.next_period or (None, None)
    actions = _actions(invoice)
    return {
        "id": invoice.id,
        "organization_id": invoice.scope.organization_id,
        "project_id": invoice.scope.project_id,
        "is_final": invoice.is_final,
        "number_prefix": number_prefix(invoice.at, invoice.timezone),
        "customer_id": invoice.customer_id,
        "subscription_id": invoice.subscription_id,
        "billing_entity_id": invoice.billing_entity_id,
        "kind": invoice.kind,
        "status": invoice.status,
        "currency": invoice.currency,
        "period_start": invoice.period_start,
        "period_end": invoice.period_end,
        "total_minor": invoice.total_minor,
        "prepaid_minor": invoice.prepaid_minor,
        "billing_key": invoice.billing_key,
        "auto_collect": invoice.auto_collect,
        "issued_at": invoice.at if invoice.is_final else None,
        "due_at": invoice.due_at,
        "paid_at": invoice.at if invoice.status == "paid" else None,
        "metadata": _text(invoice.metadata),
        "lines": _text([_line(position, line) for position, line in enumerate(invoice.lines)]),
        "audit": _text([{"id": new_id(), "action": action, "title": _title(invoice, action)} for action in actions]),
        "audit_data": _text({"total_minor": invoice.total_minor, "currency": invoice.currency, "kind": invoice.kind}),
        "actor_type": invoice.actor.type,
        "actor_id": invoice.actor.id,
        "at": invoice.at,
        "ordering_key": webhook_order(invoice.id),
        "webhooks": _text([{"payload": _message(invoice, action)} for action in actions]),
        "next_start": next_start,
        "next_end": next_end,
    }


def _title(invoice: NewInvoice, action: str) -> str:
    return "Invoice paid from wallets" if action == "paid" and invoice.prepaid_minor else _TITLES[action]


def number_prefix(at: datetime, timezone: str) -> str:
    """Return what stands before the running number, with the date in the billing zone: INV-20260501-."""
    return f"INV-{at.astimezone(zone(timezone)):%Y%m%d}-"


def _actions(invoice: NewInvoice) -> tuple[str, ...]:
    if not invoice.is_final:
        return ("created",)
    return ("created", "issued", "paid") if invoice.status == "paid" else ("created", "issued")


def _text(value: Any) -> str:
    return _JSON.encode(value).decode()


def _line(position: int, line: InvoiceLine) -> dict[str, Any]:
    """Return the columns of a line; a field that is called as its column needs nothing here."""
    own = {
        "id": new_id(),
        "position": position,
        "group_key": dict(line.group) if line.group else None,
        "events_count": line.events,
        "period_start": None if line.period is None else line.period.start,
        "period_end": None if line.period is None else line.period.end,
        "steps": line.shown_steps,
    }
    return {name: own[name] if name in own else _plain(getattr(line, name)) for name in _LINE_COLUMNS}


def _plain(value: Any) -> Any:
    return plain(value) if isinstance(value, Decimal) else value


def _message(invoice: NewInvoice, action: str) -> dict[str, Any]:
    data = webhook_data(
        invoice_id=invoice.id,
        customer_shown=invoice.customer_shown,
        subscription_id=invoice.subscription_id,
        total_minor=invoice.total_minor,
        currency=invoice.currency,
        status=invoice.status,
    )
    return envelope(WebhookType.of("invoice", action), data, at=invoice.at)


def webhook_order(invoice_id: UUID) -> str:
    """Name the order of an invoice's webhooks; starts and signals of its workflow do not wait for them."""
    return f"webhook/invoice/{invoice_id}"


def webhook_data(
    *,
    invoice_id: UUID,
    customer_shown: str,
    subscription_id: UUID | None,
    total_minor: int,
    currency: str,
    status: str,
    **more: Any,
) -> dict[str, Any]:
    """Return the data of a webhook about an invoice or its payment.

    `amount` is in major units as a number, `amount_cents` in minor units as a decimal string (C11).
    """
    shown = shown_id("invoice", invoice_id)
    return {
        "invoiceId": shown,
        "invoice_id": shown,
        "amount": json_number(to_major(total_minor, currency)),
        "amount_cents": str(total_minor),
        "currency": currency,
        "customer_id": customer_shown,
        "subscription_id": None if subscription_id is None else shown_id("subscription", subscription_id),
        "status": status,
        **more,
    }
