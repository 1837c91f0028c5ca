"""The whole life of a subscription on a real server: periods, payments, commands, its end."""

from datetime import UTC, datetime

from models.tables import invoices, subscriptions
from tests.workflows.conftest import Office

START = datetime(2026, 1, 31, tzinfo=UTC)


async def test_a_year_of_monthly_billing_in_a_test_clock(office: Office) -> None:
    """Twelve periods are closed and paid in order, each in its own time, by one advance."""
    catalogue = office.catalogue
    clock_id = await catalogue.clock(START)
    customer_id = await catalogue.customer(clock_id=clock_id)
    state = catalogue.state(customer_id, START, at=START, frozen=START)
    async with office.working():
        (workflow_id,) = await catalogue.subscribe(state, clock_id=clock_id)
        await office.commands.deliver(workflow_id)
        await office.advance(clock_id, START.replace(year=2027), seconds=15)
        found = await catalogue.rows(invoices)
        assert [row.status for row in found] == ["paid"] * 12
        assert [row.total_minor for row in found] == [4900] * 12
        ends = [row.period_end for row in found]
        assert [end.astimezone(UTC).day for end in ends] == [28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31]
        assert [row.issued_at for row in found] == ends
        row = await catalogue.row(subscriptions, state.subscription_id)
        assert row.current_period_start == START.replace(year=2027)
