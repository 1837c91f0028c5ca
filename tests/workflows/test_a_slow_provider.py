"""A provider that does not answer holds up nobody but the invoice it was asked about."""

from datetime import timedelta

import psycopg

from billing.period import Period
from billing.subscriptions.subscription import DueClose, SubscriptionState
from models.tables import invoices
from tests.conftest import FreshDatabase
from tests.support.subscribing import ref_of, soon_due
from tests.waiting import eventually
from tests.workflows.conftest import Office

FIRST_END_SECONDS = 2.0


async def subscribed(office: Office) -> SubscriptionState:
    """Make a subscription with a period that ends in a moment, and an earlier one whose grace days end right after."""
    start, at = soon_due(FIRST_END_SECONDS)
    begun = start.replace(year=start.year - 1, month=12) if start.month == 1 else start.replace(month=start.month - 1)
    state = office.catalogue.state(await office.catalogue.customer(), begun, at=at)
    assert state.period is not None
    grace = DueClose(
        period=Period(start=begun, end=start),
        close_at=state.period.end + timedelta(seconds=FIRST_END_SECONDS),
        plan_version_id=state.plan_version_id,
    )
    state = state.model_copy(update={"due_closes": (grace,)})
    await office.catalogue.subscribe(state)
    await office.commands.start_subscription(ref_of(state))
    return state


async def test_the_next_close_does_not_wait_for_a_provider_that_hangs(
    office: Office, fresh_database: FreshDatabase
) -> None:
    with psycopg.connect(fresh_database.admin_url) as hanging:
        hanging.execute("LOCK TABLE sandbox_charges IN ACCESS EXCLUSIVE MODE")
        async with office.working():
            state = await subscribed(office)
            billed = await eventually(lambda: office.catalogue.rows(invoices), until=lambda rows: len(rows) == 2)
            assert {row.status for row in billed} == {"issued"}
            assert len((await office.live(state)).invoices) == 2
            hanging.rollback()
            await eventually(
                lambda: office.catalogue.rows(invoices), until=lambda rows: {row.status for row in rows} == {"paid"}
            )
