"""The simulated provider: deterministic, in process, with a ledger of its own as a remote provider would have (B127).

The customer's default payment method, or else `payment_provider_customer_id`, is the test card: what its name contains
decides (docs/payments.md). The ledger is written in a transaction of its own, so that a worker killed after the charge
finds it again by its key.
"""

import re
from datetime import UTC, datetime
from typing import Any, Final

from adapters.payment_port import ChargeRequest, Outcome, PaymentProvider, RequiresAction, Unknown, declined, succeeded
from adapters.payments.setup import ProviderSetup
from adapters.postgres.database import SYSTEM, Database
from adapters.postgres.payments import sandbox_store
from adapters.postgres.rows import AsyncConnection, Row
from models.identifiers import new_id

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

    def __init__(self, database: Database, *, serves_live: bool = True) -> None:
        self._database = database
        self.serves_live = serves_live

    @classmethod
    def configured(cls, setup: ProviderSetup) -> PaymentProvider:
        """Return the sandbox; in production it serves test projects only: nothing live is shown as paid by it."""
        return cls(setup.database, serves_live=not setup.production)

    async def charge(self, request: ChargeRequest) -> Outcome:
        """Charge once for each key; the same key again answers what was decided the first time.

        A customer whose id contains `timeout_after_success` is charged, and the first answer is lost (`Unknown`).
        """
        async with self._database.transaction(SYSTEM) as connection:
            await sandbox_store.take_turn(connection, request.key)
            known = await sandbox_store.entry(connection, request.key)
            if known is not None:
                return _outcome(known)
            status, code = await _decision(connection, request)
            entry = await _record(connection, request, status, code)
        if "timeout_after_success" in _card(request):
            return Unknown(reason="The sandbox took the money and lost its answer, as this test customer asks for.")
        return _outcome(entry)

    async def find(self, request: ChargeRequest) -> Outcome | None:
        """Look the key up in the ledger."""
        async with self._database.transaction(SYSTEM) as connection:
            known = await sandbox_store.entry(connection, request.key)
        return None if known is None else _outcome(known)

    async def abandon(self, request: ChargeRequest) -> Outcome:
        """Give up a payment that waits for its customer; one that was decided stays as it is."""
        async with self._database.transaction(SYSTEM) as connection:
            await sandbox_store.abandon(connection, request.key)
            known = await sandbox_store.entry(connection, request.key)
        return _outcome(known) if known is not None else declined("abandoned", "The payment was never sent.")


def _card(request: ChargeRequest) -> str:
    """Return the name that decides: the saved method's, else the customer's."""
    return request.method_ref or request.customer_ref or ""


async def _decision(connection: AsyncConnection, request: ChargeRequest) -> tuple[str, str | None]:
    """Decide by the test customer's name: (status, failure code)."""
    name = _card(request)
    limited = _DECLINE_TIMES.search(name)
    if limited is not None:
        before = await sandbox_store.declines(connection, request.project_id, name)
        times = 1 if limited.group(1) else int(limited.group(2))
        return ("declined", _CARD_DECLINED) if before < times else ("succeeded", None)
    if "requires_action" in name:
        return "requires_action", "authentication_required"
    for code in ("insufficient_funds", "expired_card"):
        if code in name:
            return "declined", code
    return ("declined", _CARD_DECLINED) if "decline" in name else ("succeeded", None)


async def _record(connection: AsyncConnection, request: ChargeRequest, status: str, code: str | None) -> Row[Any]:
    return await sandbox_store.record(
        connection,
        {
            "idempotency_key": request.key,
            "payment_intent_id": f"pi_{new_id().hex}",
            "customer_ref": _card(request) or None,
            "amount_minor": request.amount_minor,
            "currency": request.currency,
            "status": status,
            "failure_code": code,
            "metadata": {
                "project_id": str(request.project_id),
                "invoice_id": str(request.invoice_id),
                "attempt_no": request.attempt_no,
                "charged_at": request.at.isoformat(),
            },
        },
    )


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
