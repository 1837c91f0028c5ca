"""Steps of a subscription's life that only touch Postgres: one transaction each, as local activities."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime

from temporalio import activity

from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.journal.transaction import Transaction, begin
from adapters.postgres.subscriptions import lifecycle_store
from models.identifiers import subscription_workflow_id
from models.messages.base import SubscriptionRef
from models.messages.lifecycle import FindInvoice, InvoiceStatusFound, LifecycleRecorded, RecordLifecycle


class LifecycleActivities:
    """Writes what the workflow decided into the record."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="record_lifecycle")
    async def record_lifecycle(self, step: RecordLifecycle) -> LifecycleRecorded:
        """Make the subscription's row say what the workflow decided, with its audit entry; safe to run again."""
        async with begin_for(self._database, step.subscription, at=step.at) as tx:
            return LifecycleRecorded(changed=await lifecycle_store.record(tx, step))

    @activity.defn(name="find_invoice")
    async def find_invoice(self, question: FindInvoice) -> InvoiceStatusFound:
        """Return where an invoice of the subscription stands; changes nothing."""
        ref = question.subscription
        async with self._database.transaction(scope_of(ref)) as connection:
            return await lifecycle_store.find_invoice_status(connection, ref.subscription_id, question.invoice_id)


def begin_for(
    database: Database, ref: SubscriptionRef, *, at: datetime | None = None
) -> AbstractAsyncContextManager[Transaction]:
    """Open a transaction in the name of a subscription's workflow; ``at`` is the subscription's time."""
    actor = Actor("workflow", subscription_workflow_id(ref.project_id, ref.subscription_id))
    return begin(database, scope_of(ref), actor, now=at)


def scope_of(ref: SubscriptionRef) -> ProjectScope:
    """Return the tenant whose rows a subscription's activities may see."""
    return ProjectScope(organization_id=ref.organization_id, project_id=ref.project_id)
