"""The simulated provider: deterministic, in process, with a ledger of its own as a remote provider would have (B127).

The customer's `payment_provider_customer_id` is the test card: what its name contains decides (docs/payments.md). The
ledger is written in a transaction of its own, so that a worker killed after the charge finds it again by its key.
"""

import re
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.payments.port import ChargeRequest, Outcome, RequiresAction, Unknown, declined, succeeded
from adapters.postgres.database import SYSTEM, Database
from models.identifiers import new_id
from models.tables import sandbox_charges

_DECLINE_TIMES: Final = re.compile(r"decline_(?:(once)|([1-9][0-9]?)_times)")
_CARD_DECLINED: Final = "card_declined"
_MESSAGES: Final = {
    _CARD_DECLINED: "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "abandoned": "The payment was given up before the customer confirmed it.",
}


class SandboxPayments:
    """Charge test customers without any network."""

    name = "sandbox"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def charge(self, request: ChargeRequest) -> Outcome:
        """Charge once for each key; the same key again answers what was decided the first time.

        A customer whose id contains `timeout_after_success` is charged, and the first answer is lost (`Unknown`).
        """
        async with self._database.transaction(SYSTEM) as connection:
            # Two calls with one key must not both decide: the second waits for the first.
            await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(request.key, 0))))
            known = await _ledger_entry(connection, request.key)
            if known is not None:
                return _outcome(known)
            status, code = await _decision(connection, request)
            entry = await _record(connection, request, status, code)
        if "timeout_after_success" in (request.customer_ref or ""):
            return Unknown(reason="The sandbox took the money and lost its answer, as this test customer asks for.")
        return _outcome(entry)

    async def find(self, request: ChargeRequest) -> Outcome | None:
        """Look the key up in the ledger."""
        async with self._database.transaction(SYSTEM) as connection:
            known = await _ledger_entry(connection, request.key)
        return None if known is None else _outcome(known)

    async def abandon(self, request: ChargeRequest) -> Outcome:
        """Give up a payment that waits for its customer; one that was decided stays as it is."""
        async with self._database.transaction(SYSTEM) as connection:
            await connection.execute(
                update(sandbox_charges)
                .where(sandbox_charges.c.idempotency_key == request.key, sandbox_charges.c.status == "requires_action")
                .values(status="canceled", failure_code="abandoned")
            )
            known = await _ledger_entry(connection, request.key)
        return _outcome(known) if known is not None else declined("abandoned", "The payment was never sent.")


async def _ledger_entry(connection: AsyncConnection, key: str) -> Row[Any] | None:
    found = await connection.execute(select(sandbox_charges).where(sandbox_charges.c.idempotency_key == key))
    return found.one_or_none()


async def _decision(connection: AsyncConnection, request: ChargeRequest) -> tuple[str, str | None]:
    """Decide by the test customer's name: (status, failure code)."""
    name = request.customer_ref or ""
    limited = _DECLINE_TIMES.search(name)
    if limited is not None:
        times = 1 if limited.group(1) else int(limited.group(2))
        return ("declined", _CARD_DECLINED) if await _declines(connection, request) < times else ("succeeded", None)
    if "requires_action" in name:
        return "requires_action", "authentication_required"
    for code in ("insufficient_funds", "expired_card"):
        if code in name:
            return "declined", code
    return ("declined", _CARD_DECLINED) if "decline" in name else ("succeeded", None)


async def _declines(connection: AsyncConnection, request: ChargeRequest) -> int:
    """Count how often this customer of this project was declined before."""
    counted = await connection.execute(
        select(func.count()).where(
            sandbox_charges.c.customer_ref == request.customer_ref,
            sandbox_charges.c.metadata["project_id"].astext == str(request.project_id),
            sandbox_charges.c.status == "declined",
        )
    )
    return int(counted.scalar_one())


async def _record(connection: AsyncConnection, request: ChargeRequest, status: str, code: str | None) -> Row[Any]:
    written = await connection.execute(
        insert(sandbox_charges)
        .values(
            idempotency_key=request.key,
            payment_intent_id=f"pi_{new_id().hex}",
            customer_ref=request.customer_ref,
            amount_minor=request.amount_minor,
            currency=request.currency,
            status=status,
            failure_code=code,
            metadata={
                "project_id": str(request.project_id),
                "invoice_id": str(request.invoice_id),
                "attempt_no": request.attempt_no,
                "charged_at": request.at.isoformat(),
            },
        )
        .returning(sandbox_charges)
    )
    row: Row[Any] = written.one()
    return row


def _outcome(entry: Row[Any]) -> Outcome:
    row = entry._mapping
    payment_id = str(row["payment_intent_id"])
    match row["status"]:
        case "succeeded":
            return succeeded(payment_id, datetime.fromisoformat(row["metadata"]["charged_at"]).astimezone(UTC))
        case "requires_action":
            return RequiresAction(payment_id=payment_id)
        case _:
            code = str(row["failure_code"])
            return declined(code, _MESSAGES.get(code, "The card was declined."), payment_id)
