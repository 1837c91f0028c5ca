"""What payment providers tell: the manual provider's signed webhook (B130)."""

import hashlib
import hmac
from typing import Annotated

from fastapi import Depends, Header, Path, Request, Response

from adapters.postgres.database import SYSTEM
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.journal.transaction import begin
from adapters.postgres.payments import offline_payment_store, payment_view_store
from api.http.deps import CommandsDep, DatabaseDep
from api.http.responses import reply
from api.http.routing import resource_router
from api.payments.payment_shapes import ManualPaymentWebhook, PaymentWebhookDocument
from api.payments.payments import locked
from models.problems import Problem

router = resource_router("Payments", idempotent=False, public=True)

_ACTOR = Actor("provider", "manual")
_STORED = {"succeeded": ("succeeded", "refunded"), "failed": ("declined",)}


async def _must_be_signed(
    request: Request,
    provider: Annotated[str, Path(max_length=50)],
    x_webhook_signature: Annotated[str | None, Header(max_length=200)] = None,
) -> None:
    signature = x_webhook_signature
    secret = request.app.state.settings.manual_webhook_secret
    if provider == _ACTOR.id and secret is not None and signature is not None:
        wanted = hmac.new(secret.get_secret_value().encode(), await request.body(), hashlib.sha256).hexdigest()
        if hmac.compare_digest(wanted.encode(), signature.lower().encode()):
            return
    raise Problem(401, "bad_signature", "The notice is not signed with this server's secret for the provider.")


@router.post(
    "/payments/webhook/{provider}",
    response_model=PaymentWebhookDocument,
    dependencies=[Depends(_must_be_signed)],
    operation_id="receive_payment_webhook",
    summary="Handle payment webhook",
)
async def handle_payment_webhook(body: ManualPaymentWebhook, database: DatabaseDep, commands: CommandsDep) -> Response:
    """Take note of what became of a pending payment; the same notice again changes nothing.

    `X-Webhook-Signature` is the hex HMAC-SHA256 of the body under `DURABILL_MANUAL_WEBHOOK_SECRET`; without that
    secret, with another signature, or from another provider it is 401.
    """
    ref = body.metadata.payment_id
    async with database.transaction(SYSTEM) as connection:
        scope = await payment_view_store.scope_of(connection, ref)
    workflow_id = None
    async with begin(database, scope, _ACTOR) as tx:
        row, payment = await locked(tx.connection, scope.project_id, ref)
        changed = payment.status not in _STORED[body.status]
        if changed and body.status == "succeeded":
            workflow_id = await offline_payment_store.succeed(tx, row, payment)
        elif changed:
            await offline_payment_store.fail(tx, row, payment)
    if workflow_id is not None:
        await commands.deliver(workflow_id)
    return reply({"received": True, "changed": changed})
