"""Ended subscriptions whose usage has changed since their final invoice, for the relay."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Update, func, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.events.late_usage_store import HAS_REOPENED, LATE_PERIODS
from models.messages.base import SubscriptionRef
from models.tables import subscriptions

_ENDED: Final = text("""
    SELECT s.id, s.project_id, p.organization_id, s.ended_at, s.test_clock_id
    FROM subscriptions s JOIN projects p ON p.id = s.project_id
    WHERE s.id = ANY(:subscriptions) AND s.ended_at IS NOT NULL
""")
_IS_LATE: Final = text(f"SELECT EXISTS ({LATE_PERIODS}) OR {HAS_REOPENED}")


@dataclass(frozen=True)
class EndedSubscription:
    """An ended subscription; `late` says that periods of it have changed since they were billed."""

    ref: SubscriptionRef
    in_test_clock: bool
    late: bool


async def ended_among(connection: AsyncConnection, subscription_ids: Sequence[UUID]) -> dict[UUID, EndedSubscription]:
    """Return those of some subscriptions that have ended; works in the system's scope."""
    rows = (await connection.execute(_ENDED, {"subscriptions": list(subscription_ids)})).all()
    found: dict[UUID, EndedSubscription] = {}
    for row in rows:
        late = await connection.scalar(_IS_LATE, {"subscription": row.id, "start": row.ended_at})
        ref = SubscriptionRef(organization_id=row.organization_id, project_id=row.project_id, subscription_id=row.id)
        found[row.id] = EndedSubscription(ref, row.test_clock_id is not None, bool(late))
    return found


async def mark_late(connection: AsyncConnection, subscription_id: UUID) -> None:
    """Note that usage of an ended subscription is to be billed; its test clock waits for that."""
    await connection.execute(_set_late(subscription_id, func.clock_timestamp()))


async def mark_billed(connection: AsyncConnection, subscription_id: UUID) -> None:
    """Note that the late usage of an ended subscription was looked at and billed."""
    await connection.execute(_set_late(subscription_id, None))


def _set_late(subscription_id: UUID, at: Any) -> Update:
    return update(subscriptions).where(subscriptions.c.id == subscription_id).values(late_usage_at=at)
