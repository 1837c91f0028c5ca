"""Giving up a payment that waits for its owner, so that its invoice can be settled in another way (C7).

The provider is asked first and believed: only when it says that the payment can no longer succeed is the attempt
closed, so that an invoice that is then marked paid or voided cannot be paid a second time.
"""

from typing import Any, Final

from adapters.payment_port import ChargeRequest, Declined, Succeeded
from adapters.payments.registry import ProviderChoice
from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.invoices import invoice_change_store, invoice_store, payment_attempt_store
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.journal.transaction import begin
from adapters.postgres.payments import payment_store
from adapters.postgres.rows import Row
from models.identifiers import shown_id
from models.problems import Problem, conflict

_WAITS_FOR_ITS_OWNER: Final = "requires_action"


async def abandon_waiting_attempt(
    database: Database, scope: ProjectScope, actor: Actor, providers: ProviderChoice, ref: str
) -> str | None:
    """Cancel the invoice's attempt that waits for its owner, if there is one, at the provider and then here.

    Answers the workflow to be told when the provider said that it has just been paid. Raises `Problem` 404
    `invoice_not_found`, 409 as choosing its provider does, and 409 `payment_pending` when the provider cannot say that
    nothing will be paid.
    """
    found = await _waiting(database, scope, ref)
    if found is None:
        return None
    attempt, request, in_clock = found
    async with database.transaction(scope) as connection:
        provider = await providers.choose(connection, scope, attempt.provider, in_clock=in_clock)
    outcome = await provider.abandon(request)
    async with begin(database, scope, actor) as tx:
        row = await invoice_store.view(tx.connection, scope.project_id, str(attempt.invoice_id), lock=True)
        if isinstance(outcome, Succeeded):
            return await invoice_change_store.notify(tx, row, invoice_change_store.MAY_BE_PAID)
        if not isinstance(outcome, Declined):
            raise _pending("The provider cannot say now whether the open payment is given up; try again.")
        closed = await payment_store.finish_attempt(
            tx.connection,
            attempt.id,
            status="declined",
            at=row.customer_now,
            provider_payment_id=outcome.payment_id,
            failure_code="abandoned",
            failure_message=outcome.message,
        )
        if closed:
            await tx.at(row.customer_now).audit(
                resource_type="payment",
                resource_id=attempt.id,
                action="abandoned",
                title=f"Payment {shown_id('payment', attempt.id)} given up before its owner confirmed it",
                data={"invoice_id": attempt.invoice_id, "provider": attempt.provider},
            )
    return None


async def _waiting(database: Database, scope: ProjectScope, ref: str) -> tuple[Row[Any], ChargeRequest, bool] | None:
    async with database.transaction(scope) as connection:
        row = await invoice_store.view(connection, scope.project_id, ref)
        attempts = await payment_attempt_store.attempts_of(connection, row.id)
        attempt = next((each for each in attempts if each.status == _WAITS_FOR_ITS_OWNER), None)
        if attempt is None:
            return None
        invoice = await payment_store.lock_invoice(connection, row.id)
        assert invoice is not None, "an invoice with an attempt is never deleted"
        request = payment_store.charge_request(scope.project_id, invoice, attempt, at=row.customer_now)
        return attempt, request, invoice.in_test_clock


def _pending(detail: str) -> Problem:
    return conflict("payment_pending", detail)
