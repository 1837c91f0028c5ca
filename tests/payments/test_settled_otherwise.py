"""An invoice that is settled while a payment waits for its owner, and money that comes too late (C7)."""

from typing import Any

import pytest

from activities.collecting import CollectingActivities
from adapters.payment_port import ChargeRequest, Outcome, Unknown, succeeded
from adapters.payments.registry import ProviderChoice, payment_providers
from adapters.payments.sandbox import SandboxPayments
from adapters.postgres.database import SYSTEM
from adapters.postgres.invoices import invoice_change_store, invoice_store
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.journal.transaction import begin
from adapters.postgres.payments import offline_payment_store, payment_view_store
from api.invoices.abandon_attempt import abandon_waiting_attempt
from models.problems import Problem
from models.tables import customers, notifications, payment_attempts, projects
from tests.support.billing_world import MAY
from tests.support.collection import Collection, FixedProviders

ACTOR = Actor("api_key", "test")
_CHANGES = {"pay": offline_payment_store.mark_paid, "void": invoice_change_store.void}


def _providers(collection: Collection, **more: Any) -> ProviderChoice:
    return payment_providers(
        collection.world.database, stripe_api_key=None, stripe_api_base=None, timeout_seconds=5, **more
    )


async def _give_up(collection: Collection, providers: ProviderChoice | None = None) -> str | None:
    world = collection.world
    wanted = providers or _providers(collection)
    return await abandon_waiting_attempt(world.database, world.scope, ACTOR, wanted, str(collection.invoice_id))


async def _change(collection: Collection, name: str) -> None:
    world = collection.world
    async with begin(world.database, world.scope, ACTOR) as tx:
        row = await invoice_store.view(tx.connection, world.scope.project_id, str(collection.invoice_id), lock=True)
        await _CHANGES[name](tx, row)


async def _attempt(collection: Collection) -> Any:
    (row,) = [row for row in await collection.world.attempts() if row.attempt_no is not None]
    return row


@pytest.mark.parametrize(("change", "status"), [("pay", "paid"), ("void", "voided")])
async def test_a_payment_that_waits_for_its_owner_is_canceled_before_the_invoice_is_settled(
    collection: Collection, change: str, status: str
) -> None:
    await collection.card("cus_requires_action")
    assert (await collection.collect()).status == "requires_action"
    with pytest.raises(Problem, match="payment_pending"):
        await _change(collection, change)
    assert await _give_up(collection) is None
    await _change(collection, change)
    attempt = await _attempt(collection)
    assert ((await collection.invoice()).status, attempt.status, attempt.failure_code) == (
        status,
        "declined",
        "abandoned",
    )
    assert [entry.status for entry in await collection.ledger()] == ["canceled"]
    assert (await collection.collect(2)).code == f"invoice_{status}"


class _Answers(SandboxPayments):
    """The sandbox, whose customer confirmed or whose line is down when a payment is given up."""

    outcome: Outcome

    async def abandon(self, request: ChargeRequest) -> Outcome:
        del request
        return self.outcome

    async def find(self, request: ChargeRequest) -> Outcome | None:
        del request
        return self.outcome


@pytest.mark.parametrize("outcome", [succeeded("pi_1", MAY), Unknown(reason="no line")])
async def test_nothing_is_settled_otherwise_while_the_provider_may_have_been_paid(
    collection: Collection, outcome: Outcome
) -> None:
    await collection.card("cus_requires_action")
    await collection.collect()
    provider = _Answers(collection.world.database)
    provider.outcome = outcome
    if isinstance(outcome, Unknown):
        with pytest.raises(Problem, match="payment_pending"):
            await _give_up(collection, FixedProviders(sandbox=provider))
    else:
        assert await _give_up(collection, FixedProviders(sandbox=provider)) is not None, (
            "the workflow asks the provider at once"
        )
    assert (await _attempt(collection)).status == "requires_action"
    with pytest.raises(Problem, match="payment_pending"):
        await _change(collection, "pay")


@pytest.mark.parametrize("change", ["pay", "void"])
async def test_money_that_comes_too_late_is_kept_as_an_unapplied_payment(collection: Collection, change: str) -> None:
    """The attempt's outcome is asked for while the invoice is settled otherwise: nothing fails, and nothing is lost."""
    world = collection.world
    await collection.card("cus_requires_action")
    await collection.collect()
    attempt = await _attempt(collection)
    provider = _Answers(world.database)
    provider.outcome = succeeded("pi_late", MAY)

    async def settled_meanwhile(request: ChargeRequest) -> Outcome | None:
        """Settle the invoice as it could be settled before payments were given up first."""
        del request
        await world.change(payment_attempts, attempt.id, status="declined")
        await _change(collection, change)
        await world.change(payment_attempts, attempt.id, status="requires_action")
        return provider.outcome

    provider.find = settled_meanwhile  # type: ignore[method-assign]
    activities = CollectingActivities(world.database, FixedProviders(sandbox=provider))
    collection.activities = activities
    assert (await collection.collect()).status == "paid"
    row = await _attempt(collection)
    assert (row.status, row.unapplied_minor, row.amount_minor) == ("succeeded", 4900, 4900)
    invoice = await collection.invoice()
    assert (invoice.status, invoice.settled_minor) == (("paid", 4900) if change == "pay" else ("voided", 0))
    assert (await world.actions(collection.invoice_id))[-1] == "payment_unapplied"
    assert (await world.webhooks())[-1]["type"] == "payment.unapplied"
    (notice,) = await world.rows(notifications, notifications.c.resource_id == row.id)
    assert "Refund it at the provider" in notice.message
    await _refund(collection, row, 4000)
    with pytest.raises(Problem, match="more_than"):
        await _refund(collection, row, 901)
    await _refund(collection, row, 900)
    assert ((await _attempt(collection)).unapplied_minor, (await collection.invoice()).status) == (0, invoice.status)


async def _refund(collection: Collection, attempt: Any, amount: int) -> None:
    world = collection.world
    project = world.scope.project_id
    async with begin(world.database, world.scope, ACTOR) as tx:
        row = await invoice_store.view(tx.connection, project, str(collection.invoice_id), lock=True)
        payment = await payment_view_store.view(tx.connection, project, str(attempt.id))
        await offline_payment_store.refund(tx, row, payment=payment, amount_minor=amount, reason=None)


async def test_in_production_no_live_project_is_paid_by_a_simulation(collection: Collection) -> None:
    """Provider `stripe` without a key: the invoice stays open and says why; a test project keeps the sandbox."""
    world = collection.world
    await world.change(customers, world.customer_id, payment_provider="stripe")
    collection.activities = CollectingActivities(world.database, _providers(collection, production=True))
    refused = await collection.collect()
    assert (refused.status, refused.code) == ("not_collectable", "payment_provider_not_configured")
    assert ((await collection.invoice()).status, await world.attempts(), await collection.ledger()) == (
        "issued",
        [],
        [],
    )
    (notice,) = await world.rows(notifications, notifications.c.resource_id == collection.invoice_id)
    assert "STRIPE_API_KEY" in notice.message
    async with world.database.transaction(SYSTEM) as connection:
        await connection.execute(
            projects.update().where(projects.c.id == world.scope.project_id).values(environment="test")
        )
    assert (await collection.collect()).status == "paid"


async def test_b127_without_the_setting_the_sandbox_stands_in_for_stripe(collection: Collection) -> None:
    world = collection.world
    await world.change(customers, world.customer_id, payment_provider="stripe")
    assert (await collection.collect()).status == "paid"
