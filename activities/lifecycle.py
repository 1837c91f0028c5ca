"""Steps of a subscription's life that only touch Postgres: one transaction each, as local activities."""

from temporalio import activity

from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.subscriptions import lifecycle_store
from models.messages.base import SubscriptionRef
from models.messages.lifecycle import FindInvoice, InvoiceStanding, LifecycleRecorded, RecordLifecycle


class LifecycleActivities:
    """Writes what the workflow decided into the record."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="record_lifecycle")
    async def record_lifecycle(self, step: RecordLifecycle) -> LifecycleRecorded:
        """Make the subscription's row say what the workflow decided, with its audit entry; safe to run again."""
        scope = scope_of(step.subscription)
        async with self._database.transaction(scope) as connection:
            return LifecycleRecorded(changed=await lifecycle_store.record(connection, scope, step))

    @activity.defn(name="find_invoice")
    async def find_invoice(self, question: FindInvoice) -> InvoiceStanding:
        """Say where an invoice of the subscription stands; changes nothing."""
        ref = question.subscription
        async with self._database.transaction(scope_of(ref)) as connection:
            return await lifecycle_store.standing(connection, ref.subscription_id, question.invoice_id)


def scope_of(ref: SubscriptionRef) -> ProjectScope:
    """Give the tenant whose rows a subscription's activities may see."""
    return ProjectScope(organization_id=ref.organization_id, project_id=ref.project_id)
