"""A command that arrives after a worker's absence comes after everything that was due before it."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from api.http.commands import Commands
from billing.subscriptions.subscription import SubscriptionState
from models.messages.base import SubscriptionRef
from models.messages.subscription import Cancel, Pause, Resume
from models.tables import invoices, subscriptions
from tests.support.subscribing import ref_of, soon_due
from tests.waiting import eventually
from tests.workflows.conftest import Office

SECONDS = 8.0


async def subscribed(office: Office) -> SubscriptionState:
    """Make a subscription whose period ends in a few seconds, in wall time; its workflow is started."""
    start, at = soon_due(SECONDS)
    state = office.catalogue.state(await office.catalogue.customer(), start, at=at)
    await office.catalogue.subscribe(state)
    await office.commands.start_subscription(ref_of(state))
    return state


async def period_is_over(state: SubscriptionState) -> None:
    """Wait until the wall clock has passed the end of the subscription's first period."""
    assert state.period is not None
    end = state.period.end

    async def is_over() -> bool:
        return datetime.now(UTC) > end

    await eventually(is_over)


async def pause(commands: Commands, ref: SubscriptionRef) -> Any:
    return await commands.pause(ref, Pause(request_id="late"))


async def cancel(commands: Commands, ref: SubscriptionRef) -> Any:
    return await commands.cancel(ref, Cancel(request_id="late"))


@pytest.mark.parametrize("command", [pause, cancel])
async def test_the_period_that_ended_before_the_command_is_billed_and_the_next_one_runs(
    office: Office, command: Any
) -> None:
    """A pause does not reach back into the period that was over; a cancellation ends the period that runs."""
    state = await subscribed(office)
    async with office.working():
        await eventually(lambda: office.live(state), until=lambda live: live.period == state.period)
    await period_is_over(state)
    sent = asyncio.create_task(command(office.commands, ref_of(state)))
    async with office.working():
        await sent
        found = await eventually(lambda: office.catalogue.rows(invoices))
        assert state.period is not None
        assert [(row.kind, row.period_end) for row in found] == [("period", state.period.end)]
        row = await office.catalogue.row(subscriptions, state.subscription_id)
        assert row.current_period_start == state.period.end
        assert row.status == ("paused" if command is pause else "active")
        assert row.cancel_at in (None, row.current_period_end)


async def test_a_late_resume_bills_what_was_before_the_pause_of_the_period_that_is_over(office: Office) -> None:
    state = await subscribed(office)
    async with office.working():
        await office.commands.pause(ref_of(state), Pause(request_id="early"))
    await period_is_over(state)
    sent = asyncio.create_task(office.commands.resume(ref_of(state), Resume(request_id="late")))
    async with office.working():
        await sent
        row = await office.catalogue.row(subscriptions, state.subscription_id)
        assert state.period is not None
        assert (row.status, row.current_period_start) == ("active", state.period.end)
        found = await eventually(lambda: office.catalogue.rows(invoices))
        assert [(row.kind, row.period_end) for row in found] == [("period", state.period.end)]
