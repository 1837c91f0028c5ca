"""One open transaction of a project: where it writes, for whom, in whose name, and at what time of the subscription.

Everything that is written beside a change (audit entry, webhook, notification, outbox row) is written through it, so it
commits or rolls back with the change.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.journal import audit_store, change_webhooks, notification_store, outbox_store
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.rows import Columns
from billing.subscriptions.subscription import SubscriptionState
from models.messages.base import Message
from models.webhook_types import WebhookType


@dataclass(frozen=True)
class Transaction:
    """An open transaction of one project.

    ``now`` is the subscription's time, for ``occurred_at`` and ``created_at``; None means the wall clock.
    The rule for parameters: a function that writes, or calls one that does, takes ``tx``; a function that only reads
    takes the connection (``tx.connection``).
    """

    connection: AsyncConnection
    scope: ProjectScope
    actor: Actor
    now: datetime | None = None

    def at(self, now: datetime) -> "Transaction":
        """Return the same transaction with another time for what it writes."""
        return replace(self, now=now)

    def by(self, actor: Actor) -> "Transaction":
        """Return the same transaction in another actor's name."""
        return replace(self, actor=actor)

    async def audit(
        self,
        *,
        resource_type: str,
        resource_id: UUID,
        action: str,
        title: str = "",
        changes: Columns | None = None,
        data: Columns | None = None,
    ) -> None:
        """Write one audit entry about a resource, and its webhook if the change has one (`change_webhooks.TOLD`).

        ``changes`` is ``{"field": {"old": ..., "new": ...}}`` (see ``changes_between``).
        """
        await audit_store.record(
            self.connection,
            self.scope,
            self.actor,
            resource_type=resource_type,
            resource_id=resource_id,
            action=action,
            title=title,
            changes=changes,
            data=data,
            occurred_at=self.now,
        )
        told = change_webhooks.of_change(resource_type, resource_id, action, changes)
        if told is not None:
            await self.webhook(told.kind, told.data, ordering_key=told.ordering_key)

    async def webhook(self, kind: WebhookType, data: Columns, *, ordering_key: str) -> None:
        """Write the outbox row of a webhook, in the one envelope (`outbox_store.envelope`).

        Messages of one ``ordering_key`` are numbered and sent in the order they were written.
        """
        await self.enqueue(
            topic=outbox_store.WEBHOOK,
            ordering_key=ordering_key,
            payload=outbox_store.envelope(kind, data, at=self.now or datetime.now(UTC)),
        )

    async def notify(
        self,
        *,
        kind: str,
        title: str,
        body: str,
        resource_type: str | None,
        resource_id: UUID | None,
        key: str,
    ) -> bool:
        """Write a notification; returns False if the project has one with this ``key`` already."""
        return await notification_store.notify(
            self.connection,
            self.scope,
            kind=kind,
            title=title,
            body=body,
            resource_type=resource_type,
            resource_id=resource_id,
            key=key,
        )

    async def enqueue(self, *, topic: str, ordering_key: str, payload: Columns) -> int:
        """Write one outbox row; returns its id.

        Rows of one ``ordering_key`` are delivered in the order of their ids.
        """
        return await outbox_store.enqueue(
            self.connection,
            project_id=self.scope.project_id,
            topic=topic,
            ordering_key=ordering_key,
            payload=payload,
        )

    async def enqueue_start(self, *, workflow: str, workflow_id: str, message: Message) -> str:
        """Write the row that starts a workflow by its registered name; returns the workflow's id."""
        return await outbox_store.enqueue_start(
            self.connection,
            project_id=self.scope.project_id,
            workflow=workflow,
            workflow_id=workflow_id,
            message=message,
        )

    async def enqueue_signal(self, *, workflow_id: str, signal: str, message: Message) -> None:
        """Write the row that signals a workflow."""
        await outbox_store.enqueue_signal(
            self.connection,
            project_id=self.scope.project_id,
            workflow_id=workflow_id,
            signal=signal,
            message=message,
        )

    async def enqueue_subscription_start(self, state: SubscriptionState) -> str:
        """Write the row that starts a new subscription's workflow; returns the workflow's id."""
        return await outbox_store.enqueue_subscription_start(self.connection, state)

    async def enqueue_subscription_signal(self, *, subscription_id: UUID, signal: str, message: Message) -> None:
        """Write the row that signals a subscription's workflow."""
        await outbox_store.enqueue_subscription_signal(
            self.connection,
            project_id=self.scope.project_id,
            subscription_id=subscription_id,
            signal=signal,
            message=message,
        )


@asynccontextmanager
async def begin(
    database: Database, scope: ProjectScope, actor: Actor, *, now: datetime | None = None
) -> AsyncIterator[Transaction]:
    """Open a transaction of a project; it commits at the end and rolls back on any error, as ``Database`` says."""
    async with database.transaction(scope) as connection:
        yield Transaction(connection, scope, actor, now)
