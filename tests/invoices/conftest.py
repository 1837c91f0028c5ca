"""A world of one subscription, and its close."""

import pytest

from activities.closing import ClosingActivities
from adapters.postgres.database import Database, ProjectScope
from tests.support.billing_world import World


@pytest.fixture
async def world(database: Database, tenant: ProjectScope) -> World:
    """The quickstart's customer, subscribed from 1 April 2026."""
    return await World(database, tenant).build()


@pytest.fixture
def closing(database: Database) -> ClosingActivities:
    """The activity under test."""
    return ClosingActivities(database)
