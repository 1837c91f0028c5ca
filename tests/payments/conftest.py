"""An issued invoice and its collection through the sandbox."""

import pytest

from activities.closing import ClosingActivities
from activities.collecting import CollectingActivities
from adapters.payments.registry import payment_providers
from adapters.postgres.database import Database, ProjectScope
from tests.support.billing_world import World
from tests.support.collection import Collection


@pytest.fixture
async def collection(database: Database, tenant: ProjectScope) -> Collection:
    """An issued invoice of 4900 cents for a customer of the sandbox."""
    world = await World(database, tenant).build(
        customer={"payment_provider": "sandbox", "payment_provider_customer_id": "cus_test"}
    )
    closed = await ClosingActivities(database).close_periods(world.close())
    assert closed.invoice_id is not None
    providers = payment_providers(database, stripe_api_key=None, stripe_api_base=None, timeout_seconds=5)
    return Collection(world, closed.invoice_id, CollectingActivities(database, providers))
