"""The whole life of a subscription on a real server: periods, payments, commands, its end."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.client import WorkflowExecutionStatus

from billing.subscriptions.subscription import SubscriptionState
from models.messages.closing import InvoiceClosed
from models.messages.subscription import (
    Activate,
    Cancel,
    ChargeInvoice,
    InvoiceNow,
    MigratePlan,
    Pause,
    Reinstate,
    Resume,
    Suspend,
)
from models.problems import Problem
from models.tables import audit_log, customers, invoices, outbox, sandbox_charges, subscriptions
from tests.support.subscribing import ref_of, workflow_id_of
from tests.waiting import eventually
from tests.workflows.conftest import Office

START = datetime(2026, 1, 31, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)
MARCH = datetime(2026, 3, 31, tzinfo=UTC)


async def in_clock(
    office: Office, *, card: str | None = "card_ok", customer: dict[str, Any] | None = None, **more: Any
) -> tuple[UUID, SubscriptionState]:
    """Make a subscription in a test clock that stands at its start, and start its workflow."""
    catalogue = office.catalogue
    clock_id = await catalogue.clock(START)
    customer_id = await catalogue.customer(card=card, clock_id=clock_id, **(customer or {}))
    state = catalogue.state(customer_id, START, at=START, frozen=START, **more)
    await catalogue.subscribe(state, clock_id=clock_id)
    await office.commands.start_subscription(ref_of(state))
    return clock_id, state


async def bills(office: Office, state: SubscriptionState) -> list[tuple[str, str, int]]:
    """Return a subscription's invoices as (kind, status, minor units)."""
    found = await office.catalogue.rows(invoices, invoices.c.subscription_id == state.subscription_id)
    return [(row.kind, row.status, row.total_minor) for row in found]


async def status(office: Office, state: SubscriptionState) -> str:
    """Return the status of a subscription's row."""
    row = await office.catalogue.row(subscriptions, state.subscription_id)
    return str(row.status)


async def new_card(office: Office, state: SubscriptionState) -> None:
    """Return the customer a card that pays."""
    customer = {"payment_provider_customer_id": "card_ok"}
    async with office.database.transaction(office.catalogue.scope) as connection:
        await connection.execute(customers.update().where(customers.c.id == state.customer_id).values(**customer))


async def is_over(office: Office, state: SubscriptionState) -> bool:
    """Return whether a workflow has completed."""
    description = await office.handle(state).describe()
    return description.status == WorkflowExecutionStatus.COMPLETED


async def test_a_year_of_monthly_billing_in_a_test_clock(office: Office) -> None:
    """Twelve periods are closed and paid in order, each in its own time, by one advance, in under 15 seconds."""
    async with office.working():
        clock_id, state = await in_clock(office)
        await office.advance(clock_id, START.replace(year=2027), seconds=15)
        found = await office.catalogue.rows(invoices)
        assert await bills(office, state) == [("period", "paid", 4900)] * 12
        ends = [row.period_end.astimezone(UTC) for row in found]
        assert [end.day for end in ends] == [28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31]
        assert [row.issued_at for row in found] == ends
        row = await office.catalogue.row(subscriptions, state.subscription_id)
        assert row.current_period_start == START.replace(year=2027)


async def test_commands_on_a_running_subscription(office: Office) -> None:
    """Pause, resume and cancel answer with the status; the row says the same; what is illegal is refused with 409."""
    async with office.working():
        _, state = await in_clock(office)
        ref, commands = ref_of(state), office.commands
        with pytest.raises(Problem) as refused:
            await commands.resume(ref, Resume(request_id="r0"))
        assert (refused.value.status, refused.value.code) == (409, "illegal_transition")
        assert (await commands.pause(ref, Pause(request_id="r1"))).status == "paused"
        assert (await commands.pause(ref, Pause(request_id="r1"))).status == "paused"
        assert await status(office, state) == "paused"
        with pytest.raises(Problem):
            await commands.pause(ref, Pause(request_id="r2"))
        assert (await commands.resume(ref, Resume(request_id="r3"))).status == "active"
        assert (await commands.cancel(ref, Cancel(request_id="r4"))).status == "active"
        row = await office.catalogue.row(subscriptions, state.subscription_id)
        assert (row.status, row.cancel_at, row.paused_at, row.resumed_at) == ("active", FEBRUARY, START, START)
        log = await office.catalogue.rows(audit_log, audit_log.c.resource_id == state.subscription_id)
        assert [entry.action for entry in log] == ["paused", "resumed", "cancel_scheduled"]


async def test_a_canceled_subscription_bills_its_last_period_and_its_workflow_completes(office: Office) -> None:
    async with office.working():
        clock_id, state = await in_clock(office)
        await office.commands.cancel(ref_of(state), Cancel(request_id="r1"))
        await office.advance(clock_id, MARCH)
        assert await bills(office, state) == [("period", "paid", 4900)]
        row = await office.catalogue.row(subscriptions, state.subscription_id)
        assert (row.status, row.ended_at, row.current_period_end) == ("canceled", FEBRUARY, FEBRUARY)
        await eventually(lambda: is_over(office, state))


async def test_a_termination_bills_the_rest_at_once(office: Office) -> None:
    async with office.working():
        clock_id, state = await in_clock(office)
        await office.advance(clock_id, START + timedelta(days=14))
        ended = await office.commands.cancel(ref_of(state), Cancel(request_id="r1", immediately=True))
        assert ended.status == "terminated"
        found = await eventually(lambda: bills(office, state), until=lambda rows: rows and rows[0][1] == "paid")
        # Half of a period of 28 days.
        assert found == [("final", "paid", 2450)]
        await eventually(lambda: is_over(office, state))


async def test_paused_periods_pass_unbilled_and_billing_goes_on_after_the_resume(office: Office) -> None:
    """Paused from 31 January (its period 0.00) until a day after 31 March: 49.00 x 29/30 days = 47.37."""
    async with office.working():
        clock_id, state = await in_clock(office)
        await office.commands.pause(ref_of(state), Pause(request_id="r1"))
        await office.advance(clock_id, MARCH + timedelta(days=1))
        assert await bills(office, state) == [("period", "paid", 0)]
        await office.commands.resume(ref_of(state), Resume(request_id="r2"))
        await office.advance(clock_id, datetime(2026, 4, 30, tzinfo=UTC))
        found = await office.catalogue.rows(invoices)
        assert [(row.period_start, row.total_minor) for row in found] == [(START, 0), (MARCH, 4737)]


async def test_b92_a_trial_is_not_billed(office: Office) -> None:
    ends = START + timedelta(days=14)
    async with office.working():
        clock_id, state = await in_clock(office, trial_ends_at=ends)
        assert state.status == "trialing"
        await office.advance(clock_id, ends)
        assert (await bills(office, state), await status(office, state)) == ([], "active")
        await office.advance(clock_id, datetime(2026, 3, 14, tzinfo=UTC))
        assert await bills(office, state) == [("period", "paid", 4900)]


async def test_a_pending_subscription_starts_at_its_time_or_by_command(office: Office) -> None:
    catalogue = office.catalogue
    clock_id = await catalogue.clock(START)
    customer_id = await catalogue.customer(clock_id=clock_id)
    later = START + timedelta(days=10)
    states = [catalogue.state(customer_id, later, at=START, frozen=START) for _ in range(2)]
    async with office.working():
        await catalogue.subscribe(*states, clock_id=clock_id)
        assert (await office.commands.activate(ref_of(states[0]), Activate(request_id="r1"))).status == "active"
        assert await status(office, states[1]) == "pending"
        await office.advance(clock_id, later)
        row = await catalogue.row(subscriptions, states[1].subscription_id)
        assert (row.status, row.starts_at, row.current_period_start) == ("active", later, later)
        row = await catalogue.row(subscriptions, states[0].subscription_id)
        assert (row.starts_at, row.anchor, row.current_period_end) == (START, START, FEBRUARY)


async def test_b38_an_explicit_migration_takes_effect_on_the_next_invoice(office: Office) -> None:
    async with office.working():
        clock_id, state = await in_clock(office)
        version_id = await office.catalogue.new_version(2, fee="60.00")
        later = MigratePlan(request_id="r1", plan_version_id=version_id, plan_version=2, at_period_end=True)
        await office.commands.migrate(ref_of(state), later)
        await office.advance(clock_id, MARCH)
        assert [bill[2] for bill in await bills(office, state)] == [4900, 6000]
        row = await office.catalogue.row(subscriptions, state.subscription_id)
        assert (row.plan_version, row.plan_version_id) == (2, version_id)


async def test_b94_b126_an_invoice_on_demand_is_charged_once_under_ten_parallel_charges(office: Office) -> None:
    async with office.working():
        _, state = await in_clock(office)
        ref, commands = ref_of(state), office.commands
        closed = await commands.invoice_now(ref, InvoiceNow(request_id="i1", cutoff_end=FEBRUARY))
        assert (closed.status, closed.total_minor, closed.line_count) == ("issued", 4900, 2)
        assert closed.invoice_id is not None
        charges = [ChargeInvoice(request_id=f"c{n}", invoice_id=closed.invoice_id) for n in range(10)]
        answers = await asyncio.gather(*(commands.charge(ref, charge) for charge in charges))
        assert sorted(answer.status for answer in answers) == ["not_collectable"] * 9 + ["paid"]
        with pytest.raises(Problem) as refused:
            await commands.invoice_now(ref, InvoiceNow(request_id="i2", cutoff_end=FEBRUARY))
        assert (refused.value.status, refused.value.code) == (409, "nothing_to_bill")
        assert str(refused.value.extra["existing_invoice_id"]).startswith("inv_")
        with pytest.raises(Problem) as refused:
            await commands.invoice_now(ref, InvoiceNow(request_id="i3", cutoff_end=START))
        assert (refused.value.status, refused.value.code) == (422, "cutoff_before_open_period")
        with pytest.raises(Problem) as refused:
            await commands.charge(ref, ChargeInvoice(request_id="c99", invoice_id=uuid4()))
        assert (refused.value.status, refused.value.code) == (404, "invoice_not_found")
    ledger = await sandbox_ledger(office)
    assert len(ledger) == 1


async def test_the_same_invoice_now_again_gives_the_one_invoice(office: Office) -> None:
    """Sent twice at once, again later, and again to the next worker: one invoice, and each answer names it."""
    request = InvoiceNow(request_id="i1", cutoff_end=FEBRUARY)
    async with office.working():
        _, state = await in_clock(office)
        ref, commands = ref_of(state), office.commands
        answers = list(await asyncio.gather(*(commands.invoice_now(ref, request) for _ in range(2))))
        answers.append(await commands.invoice_now(ref, request))
    async with office.working():
        answers.append(await commands.invoice_now(ref, request))
        # Another update of the workflow with the same request, which the server does not take for the first one.
        answers.append(
            await office.handle(state).execute_update(
                "invoice_now", request, id=f"again-{uuid4().hex}", result_type=InvoiceClosed
            )
        )
    assert len({answer.invoice_id for answer in answers}) == 1
    assert [kind for kind, _, _ in await bills(office, state)] == ["on_demand"]


async def sandbox_ledger(office: Office) -> list[Any]:
    """Read what the sandbox provider took, over all tenants."""
    from adapters.postgres.database import SYSTEM

    async with office.database.transaction(SYSTEM) as connection:
        return list((await connection.execute(sandbox_charges.select())).all())


async def test_a_declined_card_is_retried_on_the_schedule_and_recovers(office: Office) -> None:
    async with office.working():
        clock_id, state = await in_clock(office, card="card_decline_2_times")
        await office.advance(clock_id, FEBRUARY)
        live = await office.live(state)
        assert [(open_.attempts, open_.next_attempt_at) for open_ in live.invoices] == [
            (1, FEBRUARY + timedelta(days=1))
        ]
        await office.advance(clock_id, FEBRUARY + timedelta(days=1))
        assert await bills(office, state) == [("period", "issued", 4900)]
        await office.advance(clock_id, FEBRUARY + timedelta(days=4))
        assert await bills(office, state) == [("period", "paid", 4900)]
        paid = (await office.catalogue.rows(invoices))[0]
        assert paid.paid_at == FEBRUARY + timedelta(days=4)


async def test_a_card_that_never_works_fails_the_invoice_after_the_last_retry(office: Office) -> None:
    async with office.working():
        clock_id, state = await in_clock(office, card="card_decline_99_times")
        await office.advance(clock_id, FEBRUARY + timedelta(days=16))
        assert await bills(office, state) == [("period", "failed", 4900)]
        (open_,) = (await office.live(state)).invoices
        assert (open_.status, open_.attempts, open_.is_waiting) == ("failed", 5, True)
        assert await status(office, state) == "suspended"
        await new_card(office, state)
        charged = await office.commands.charge(
            ref_of(state), ChargeInvoice(request_id="c", invoice_id=open_.invoice_id)
        )
        assert (charged.status, charged.attempt_no) == ("paid", 6)
        await eventually(lambda: status(office, state), until=lambda found: found == "active")
        log = await office.catalogue.rows(audit_log, audit_log.c.resource_id == state.subscription_id)
        lived = [(entry.action, entry.data) for entry in log if "sus" in entry.action or "reins" in entry.action]
        reason = f"Every scheduled payment attempt failed for {open_.number}."
        assert lived == [("suspended", {"reason": reason}), ("reinstated", {})]


async def test_c23_an_operator_s_suspension_is_lifted_by_nobody_else_and_its_periods_are_billed(office: Office) -> None:
    async with office.working():
        clock_id, state = await in_clock(office, card="card_decline_99_times")
        ref, commands = ref_of(state), office.commands
        with pytest.raises(Problem) as refused:
            await commands.reinstate(ref, Reinstate(request_id="s0"))
        assert (refused.value.status, refused.value.code) == (409, "illegal_transition")
        suspension = Suspend(request_id="s1", reason="under review")
        assert [(await commands.suspend(ref, suspension)).status for _ in range(2)] == ["suspended", "suspended"]
        await office.advance(clock_id, FEBRUARY + timedelta(days=16))
        assert (await status(office, state), await bills(office, state)) == ("suspended", [("period", "failed", 4900)])
        # Whoever gives the service back forgives what is unpaid by then.
        assert (await commands.reinstate(ref, Reinstate(request_id="s2"))).status == "active"
        await office.advance(clock_id, FEBRUARY + timedelta(days=17))
        assert await status(office, state) == "active"


async def test_an_answer_that_got_lost_is_asked_for_again_and_nothing_is_charged_twice(office: Office) -> None:
    async with office.working():
        clock_id, state = await in_clock(office, card="card_timeout_after_success")
        await office.advance(clock_id, FEBRUARY)
        (open_,) = (await office.live(state)).invoices
        assert (open_.status, open_.attempts) == ("pending", 1)
        await eventually(lambda: bills(office, state), until=lambda rows: rows[0][1] == "paid")
    assert len(await sandbox_ledger(office)) == 1


async def test_grace_days_hold_the_bill_back_but_not_the_next_period(office: Office) -> None:
    async with office.working():
        clock_id, state = await in_clock(office, grace_days=3)
        await office.advance(clock_id, FEBRUARY + timedelta(days=1))
        row = await office.catalogue.row(subscriptions, state.subscription_id)
        assert (await bills(office, state), row.current_period_start) == ([], FEBRUARY)
        await office.advance(clock_id, FEBRUARY + timedelta(days=3))
        found = await office.catalogue.rows(invoices)
        assert [(row.period_end, row.issued_at) for row in found] == [(FEBRUARY, FEBRUARY + timedelta(days=3))]


async def test_starts_and_signals_wait_in_the_outbox_and_catch_up(office: Office) -> None:
    """Without a worker nothing is lost: the rows wait, and a command says 503 with Retry-After."""
    catalogue = office.catalogue
    clock_id = await catalogue.clock(START)
    state = catalogue.state(await catalogue.customer(clock_id=clock_id), START, at=START, frozen=START)
    await catalogue.subscribe(state, clock_id=clock_id)
    office.commands._timeout_seconds = 1
    with pytest.raises(Problem) as refused:
        await office.commands.pause(ref_of(state), Pause(request_id="r1"))
    assert (refused.value.status, refused.value.code) == (503, "commands_unavailable")
    assert "Retry-After" in refused.value.headers
    async with office.working():
        await office.advance(clock_id, MARCH)
        rows = await catalogue.rows(outbox, outbox.c.ordering_key == workflow_id_of(state))
        assert all(row.delivered_at is not None for row in rows)
