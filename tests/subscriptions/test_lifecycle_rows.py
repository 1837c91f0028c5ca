"""What a lifecycle step writes into a subscription's row."""

from datetime import timedelta

import pytest

from activities.lifecycle import LifecycleActivities
from adapters.postgres.database import Database, ProjectScope
from models.messages.lifecycle import LifecycleAction, RecordLifecycle
from models.tables import subscriptions
from tests.support.billing_world import APRIL, MAY, World


@pytest.fixture
async def world(database: Database, tenant: ProjectScope) -> World:
    """A subscription from 1 April 2026."""
    return await World(database, tenant).build()


def step(world: World, action: LifecycleAction, *, hours_late: int) -> RecordLifecycle:
    """Record the end of the subscription on 1 May, some hours after it."""
    return RecordLifecycle(
        subscription=world.ref,
        action=action,
        at=MAY + timedelta(hours=hours_late),
        status="canceled",
        starts_at=APRIL,
        anchor=APRIL,
        bills_automatically_from=APRIL,
        cancel_at=MAY,
        plan_version_id=world.version_id,
        plan_version=1,
    )


@pytest.mark.parametrize("action", ["canceled", "parked"])
async def test_a_subscription_ended_when_it_was_to_end_not_when_that_was_noticed(
    world: World, database: Database, action: LifecycleAction
) -> None:
    """Else the hours of a worker's absence would count as subscribed: their usage taken, their fee billed on demand."""
    lifecycle = LifecycleActivities(database)
    await lifecycle.record_lifecycle(step(world, "canceled", hours_late=100))
    await lifecycle.record_lifecycle(step(world, action, hours_late=200))
    (row,) = await world.rows(subscriptions)
    assert (row.status, row.ended_at) == ("canceled", MAY)
