"""How endpoints do: since when they fail, and the end of what has failed for too long."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import ProjectScope, driver
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.prepared import Prepared
from models.webhook_types import WebhookType

# One statement for the usual case, in which nothing changes.
_LOOK: Final = Prepared(
    text("""
SELECT e.id, e.project_id, p.organization_id, e.url, e.failing_since, e.id = ANY(CAST(:accepting AS uuid[])) AS accepts,
    e.failing_since <= clock_timestamp() - CAST(:limit AS interval) AS too_long
FROM webhook_endpoints e JOIN projects p ON p.id = e.project_id
WHERE e.deleted_at IS NULL AND e.status = 'active' AND (
    e.id = ANY(CAST(:accepting AS uuid[])) AND e.failing_since IS NOT NULL
    OR e.id = ANY(CAST(:gone AS uuid[]))
    OR e.id = ANY(CAST(:refusing AS uuid[])) AND (
        e.failing_since IS NULL OR e.failing_since <= clock_timestamp() - CAST(:limit AS interval)))
ORDER BY e.id FOR NO KEY UPDATE OF e
""")
)
_RECOVERED: Final = text("UPDATE webhook_endpoints SET failing_since = NULL WHERE id = :id")
_FAILING: Final = text("UPDATE webhook_endpoints SET failing_since = :since WHERE id = :id")
_DISABLE: Final = text("""
UPDATE webhook_endpoints SET status = 'disabled', disabled_reason = :reason, updated_at = clock_timestamp()
WHERE id = :id
""")
_END_RETRIES: Final = text("""
UPDATE webhook_deliveries SET next_attempt_at = NULL, updated_at = clock_timestamp(),
    last_error = coalesce(last_error || '; ', '') || :why
WHERE endpoint_id = :id AND status = 'failed' AND next_attempt_at IS NOT NULL
""")


_GONE: Final = 410


class Outcome(Protocol):
    """What has to be known of an attempt."""

    @property
    def success(self) -> bool:
        """Return whether it was accepted."""
        ...

    @property
    def attempted_at(self) -> datetime:
        """Return when it was made."""
        ...

    @property
    def error(self) -> str | None:
        """Return why it failed."""
        ...

    @property
    def http_status(self) -> int | None:
        """Return what was answered, None for no answer."""
        ...


async def record_outcomes(
    connection: AsyncConnection, outcomes: Sequence[tuple[UUID, Outcome]], *, disable_after: timedelta
) -> None:
    """Note what attempts say about their endpoints; one that accepted something is well.

    The first failure after a success makes a notification (one a day for each endpoint). An endpoint that still fails
    ``disable_after`` later is disabled: notification, webhook, audit entry, and no further attempts. So is one that
    answers 410 (Gone), at once, as the Standard Webhooks specification says.
    """
    accepting = {endpoint for endpoint, outcome in outcomes if outcome.success}
    refusing = {endpoint: outcome for endpoint, outcome in outcomes if endpoint not in accepting}
    gone = {endpoint for endpoint, outcome in refusing.items() if outcome.http_status == _GONE}
    asked = {
        "accepting": sorted(accepting),
        "refusing": sorted(refusing),
        "gone": sorted(gone),
        "limit": disable_after,
    }
    for row in await (await _LOOK.run(await driver(connection), asked)).fetchall():
        if row.accepts:
            await connection.execute(_RECOVERED, {"id": row.id})
        elif row.id in gone:
            await _disable(_in_project(connection, row), row, refusing[row.id], "it answered 410: it is gone for good")
        elif row.failing_since is None:
            await _first_failure(_in_project(connection, row), row, refusing[row.id])
        elif row.too_long:
            why = (
                f"it has accepted nothing since {_shown(row.failing_since)}; the last attempt: {refusing[row.id].error}"
            )
            await _disable(_in_project(connection, row), row, refusing[row.id], why)


def _shown(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")


def _in_project(connection: AsyncConnection, row: Any) -> Transaction:
    return Transaction(connection, ProjectScope(row.organization_id, row.project_id), SYSTEM_ACTOR)


async def _first_failure(tx: Transaction, row: Any, outcome: Outcome) -> None:
    await tx.connection.execute(_FAILING, {"id": row.id, "since": outcome.attempted_at})
    await tx.notify(
        kind="webhook",
        title=f"A webhook to {row.url} failed",
        body=f"{outcome.error}. It is tried again; `GET /v1/webhook_endpoints/hooks/list?endpoint_id={row.id}` "
        "shows what was sent.",
        resource_type="webhook_endpoint",
        resource_id=row.id,
        key=f"webhook_endpoint.failing/{row.id}/{outcome.attempted_at:%Y-%m-%d}",
    )


async def _disable(tx: Transaction, row: Any, outcome: Outcome, reason: str) -> None:
    since = _shown(row.failing_since or outcome.attempted_at)
    await tx.connection.execute(_DISABLE, {"id": row.id, "reason": reason})
    await stop_retries(tx.connection, row.id, "the endpoint was disabled")
    await tx.notify(
        kind="webhook",
        title=f"Webhook endpoint {row.url} was disabled",
        body=f"Nothing more is sent to it: {reason}. Mend the receiver, set the endpoint's status to active, and send "
        "again what it missed: `POST /v1/webhook_endpoints/{id}/replay`.",
        resource_type="webhook_endpoint",
        resource_id=row.id,
        key=f"webhook_endpoint.disabled/{row.id}/{since}",
    )
    await tx.audit(
        resource_type="webhook_endpoint",
        resource_id=row.id,
        action="status_changed",
        title=f"Webhook endpoint {row.url} disabled: {reason}",
        changes={"status": {"old": "active", "new": "disabled"}},
    )
    data = {"webhook_endpoint_id": str(row.id), "url": row.url, "status": "disabled", "reason": reason}
    await tx.webhook(
        WebhookType.WEBHOOK_ENDPOINT_DISABLED,
        {**data, "failing_since": since},
        ordering_key=f"webhook/endpoint/{row.id}",
    )


async def stop_retries(connection: AsyncConnection, endpoint_id: UUID, why: str) -> None:
    """End the retries of what failed at an endpoint; each delivery's workflow learns of it at its next attempt."""
    await connection.execute(_END_RETRIES, {"id": endpoint_id, "why": why})
