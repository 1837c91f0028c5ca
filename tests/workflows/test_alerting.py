"""A watched subscription on a real server: what its workflow does when usage gets to a line or a threshold."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from activities.alerting import AlertActivities
from activities.closing import ClosingActivities
from adapters.postgres.alerts import alert_store, threshold_hit_store, threshold_store
from adapters.postgres.alerts.threshold_hit_store import ThresholdHit
from adapters.postgres.database import SYSTEM
from adapters.postgres.journal import relay_store
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.journal.relay_store import DueWatermark
from adapters.postgres.journal.transaction import begin
from billing.subscriptions.alert_state import evaluation_requested
from billing.subscriptions.subscription import SubscriptionState
from models.identifiers import new_id
from models.messages.alerting import EvaluateAlerts
from models.messages.subscription import RetryParked, UsageRecorded
from models.messages.subscription_steps import evaluation_of, progressive_close
from models.tables import (
    audit_log,
    invoices,
    subscriptions,
    usage_alert_triggers,
    usage_alerts,
    usage_threshold_crossings,
)
from tests.support.subscribing import ref_of, soon_due, workflow_id_of
from tests.waiting import eventually
from tests.workflows.conftest import Office
from tests.workflows.test_durability import break_plan, use
from tests.workflows.test_life import FEBRUARY, START, bills, in_clock

_ME = Actor("test")


async def watch(office: Office, state: SubscriptionState, *, cents: int) -> None:
    """Return a subscription an alert on 100 calls, at half and at all of them, and a threshold of some cents."""
    scope = office.catalogue.scope
    async with begin(office.database, scope, _ME) as tx:
        watched = await alert_store.watched(tx.connection, scope.project_id, str(state.subscription_id))
        alert = {
            "metric_id": office.catalogue.metric_id,
            "threshold_value": 100,
            "levels": [50, 100],
            "recurring": True,
        }
        await alert_store.create(tx, watched, alert)
        threshold = {"subscription_id": state.subscription_id, "amount_cents": cents, "currency": "usd"}
        await threshold_store.create(tx, threshold)


async def levels(office: Office) -> list[tuple[int, int]]:
    """Return every trigger as (level, usage)."""
    return [(row.level, int(row.current_usage)) for row in await office.catalogue.rows(usage_alert_triggers)]


async def watched_and_billed(office: Office) -> str:
    """Half of the line, then all of it together with a threshold, whose invoice is paid; then the period ends."""
    clock_id, state = await in_clock(office)
    await watch(office, state, cents=100)
    await eventually(
        lambda: office.live(state), until=lambda live: live.alert_state is not None and live.alert_state.thresholds
    )
    await use(office, state, 60, START + timedelta(days=1), number=1)
    await eventually(lambda: levels(office), until=lambda found: found == [(50, 60)])
    await use(office, state, 60, START + timedelta(days=2), number=2)
    await eventually(lambda: bills(office, state), until=lambda found: found == [("progressive", "paid", 120)])
    await office.advance(clock_id, FEBRUARY + timedelta(days=1))
    assert await bills(office, state) == [("progressive", "paid", 120), ("period", "paid", 4900)]
    assert await levels(office) == [(50, 60), (100, 120)]
    live = await office.live(state)
    assert live.alert_state is not None
    assert "threshold reached at 1.20 USD, invoice" in live.alert_state.notified[-1]
    return office.handle(state).id


async def test_a_line_and_a_threshold_are_reached_once_and_told(office: Office) -> None:
    async with office.working():
        await watched_and_billed(office)
        assert len(await office.catalogue.rows(usage_threshold_crossings)) == 1


async def test_b153_usage_whose_signal_overtakes_that_of_a_new_threshold_crosses_it(office: Office) -> None:
    async with office.working(relay=False):
        _, state = await in_clock(office)
        scope = office.catalogue.scope
        async with begin(office.database, scope, _ME) as tx:
            threshold = {"plan_id": state.plan_id, "amount_cents": 100, "currency": "usd"}
            await threshold_store.create(tx, threshold)
        await use(office, state, 120, START, number=1)
        told = UsageRecorded(watermark=1, period_start=START, totals=())
        await office.handle(state).signal("usage_recorded", told)
        await office.commands.deliver(workflow_id_of(state))
        await eventually(lambda: bills(office, state), until=lambda found: found == [("progressive", "paid", 120)])


async def test_a_look_that_ran_before_its_worker_died_finds_what_it_did(office: Office) -> None:
    """The same look a second time: nothing fires again, and the invoice of its threshold is found, not made anew."""
    _, state = await in_clock(office)
    await watch(office, state, cents=100)
    await use(office, state, 120, START + timedelta(days=1), number=1)
    message, alerts, closing = _evaluation(state), AlertActivities(office.database), ClosingActivities(office.database)
    first = await alerts.evaluate_alerts(message)
    assert (len(first.notified), len(first.crossed), first.spend_minor) == (2, 1, 120)
    made = await closing.close_periods(progressive_close(state, message, first))
    second = await alerts.evaluate_alerts(message)
    assert (second.notified, second.crossed) == ((), first.crossed)
    # More usage came in between, and still the first run's invoice is the answer.
    await use(office, state, 50, START + timedelta(days=1), number=2)
    again = await closing.close_periods(progressive_close(state, message, second))
    assert (again.invoice_id, again.total_minor) == (made.invoice_id, 120)
    assert await levels(office) == [(50, 120), (100, 120)]
    assert len(await office.catalogue.rows(invoices)) == 1
    later = await alerts.evaluate_alerts(message.model_copy(update={"billing_key": "the next look"}))
    assert (later.notified, later.crossed, later.on_every_signal) == ((), (), False)


async def reached(office: Office, *, interval_seconds: float = 3600) -> list[ThresholdHit]:
    """Return the lines that the relay would tell at once, and note their subscriptions as told."""
    async with office.database.transaction(SYSTEM) as connection:
        lines = await threshold_hit_store.hit_thresholds(
            connection, suppression_seconds=0, interval_seconds=interval_seconds, limit=10
        )
        await relay_store.mark_signalled(connection, [(line.mark.subscription_id, line.mark.version) for line in lines])
    return lines


async def test_the_relay_sees_usage_at_the_nearest_line_and_no_other(office: Office) -> None:
    _, state = await in_clock(office)
    await watch(office, state, cents=10_000)
    looks = AlertActivities(office.database)
    await looks.evaluate_alerts(_evaluation(state).model_copy(update={"billable": False}))
    await use(office, state, 49, START + timedelta(days=1), number=1)
    assert await reached(office) == []
    await use(office, state, 1, START + timedelta(days=2), number=2)
    (line,) = await reached(office)
    assert (line.mark.subscription_id, line.quantity) == (state.subscription_id, Decimal(50))
    assert await reached(office) == []
    await looks.evaluate_alerts(_evaluation(state).model_copy(update={"billable": False}))
    await use(office, state, 49, START + timedelta(days=2), number=3)
    assert await reached(office) == []
    # With a threshold open, money is watched: any usage is told, after its interval.
    await looks.evaluate_alerts(_evaluation(state))
    assert await reached(office) == []
    assert [line.mark.subscription_id for line in await reached(office, interval_seconds=0)] == [state.subscription_id]


async def test_a_line_that_was_told_rests_until_its_subscription_has_looked(office: Office) -> None:
    """Else each further event would be told again, and a busy worker would not come to look for all the signals."""
    _, state = await in_clock(office)
    await watch(office, state, cents=10_000)
    looks, look = AlertActivities(office.database), _evaluation(state).model_copy(update={"billable": False})
    await looks.evaluate_alerts(look)

    async def told(number: int, units: int, *, suppression_seconds: float) -> list[int]:
        await use(office, state, units, START + timedelta(days=1), number=number)
        lines = await reached(office)
        async with office.database.transaction(SYSTEM) as connection:
            await threshold_hit_store.suppress(connection, [(line, suppression_seconds) for line in lines])
        return [int(line.quantity) for line in lines]

    assert await told(1, 60, suppression_seconds=0) == [50]
    assert await told(2, 1, suppression_seconds=3600) == [50]
    assert await told(3, 1, suppression_seconds=3600) == []
    await looks.evaluate_alerts(look)
    assert await told(4, 37, suppression_seconds=3600) == []
    assert await told(5, 1, suppression_seconds=3600) == [100]


def test_a_line_that_whole_days_have_and_the_period_has_not_rests_shortly() -> None:
    mark = DueWatermark(project_id=new_id(), subscription_id=new_id(), version=1)
    line = ThresholdHit(mark, metric_id=new_id(), quantity=Decimal(100))
    assert line.suppression_seconds(Decimal(99), 1) == 1
    assert line.suppression_seconds(Decimal(100), 1) > 1


async def test_a_threshold_that_cannot_be_invoiced_waits_for_an_operator(office: Office) -> None:
    async with office.working():
        _, state = await in_clock(office)
        await break_plan(office, broken=True)
        await watch(office, state, cents=100)
        await use(office, state, 120, START + timedelta(days=1), number=1)
        await eventually(lambda: _attention(office, state), until=lambda error: error and "forty-nine" in error)
        await break_plan(office, broken=False)
        await office.commands.retry_parked(ref_of(state), RetryParked(request_id="retry"))
        await eventually(lambda: bills(office, state), until=lambda found: found == [("progressive", "paid", 120)])
        assert await _attention(office, state) is None


async def test_usage_that_cannot_be_priced_keeps_no_other_alert_from_firing(office: Office) -> None:
    async with office.working():
        _, state = await in_clock(office)
        await break_plan(office, broken=True)
        await watch(office, state, cents=100)
        scope = office.catalogue.scope
        async with begin(office.database, scope, _ME) as tx:
            watched = await alert_store.watched(tx.connection, scope.project_id, str(state.subscription_id))
            await alert_store.create(tx, watched, {"kind": "spend", "threshold_value": 10})
        await use(office, state, 60, START + timedelta(days=1), number=1)
        await eventually(lambda: levels(office), until=lambda found: found == [(50, 60)])
        await use(office, state, 60, START + timedelta(days=2), number=2)
        await eventually(lambda: levels(office), until=lambda found: found == [(50, 60), (100, 120)])
        assert "forty-nine" in str(await _attention(office, state))
        log = await office.catalogue.rows(audit_log, audit_log.c.resource_id == state.subscription_id)
        assert [entry.action for entry in log] == ["parked"]


async def test_a_look_that_could_not_be_made_is_made_again_by_itself(office: Office) -> None:
    async with office.working():
        start, now = soon_due(86_400)
        state = office.catalogue.state(await office.catalogue.customer(), start, at=now)
        await office.catalogue.subscribe(state)
        await office.commands.start_subscription(ref_of(state))
        await watch(office, state, cents=100_000)
        await unreadable(office, filter={"matches": "none"})
        await use(office, state, 120, start, number=1)
        await eventually(lambda: _attention(office, state), until=lambda error: error and "ValidationError" in error)
        assert await levels(office) == []
        await unreadable(office, filter=None)
        await eventually(lambda: levels(office), until=lambda found: found == [(50, 120), (100, 120)])
        await eventually(lambda: _attention(office, state), until=lambda error: error is None)
        log = await office.catalogue.rows(audit_log, audit_log.c.resource_id == state.subscription_id)
        assert [entry.action for entry in log] == ["parked", "unparked"]


async def unreadable(office: Office, **columns: Any) -> None:
    """Make the stored alert unreadable, as a bad manual edit of the database would, or mend it; nobody is told."""
    async with office.database.transaction(office.catalogue.scope) as connection:
        await connection.execute(usage_alerts.update().values(columns))


async def looked_again(office: Office) -> str:
    """An evaluation cannot be made, is tried after longer and longer pauses, and is made when its cause is mended."""
    clock_id, state = await in_clock(office)
    await watch(office, state, cents=100_000)
    await eventually(
        lambda: office.live(state), until=lambda live: live.alert_state is not None and live.alert_state.thresholds
    )
    await unreadable(office, filter={"matches": "none"})
    await use(office, state, 60, START + timedelta(days=1), number=1)
    await eventually(lambda: _attention(office, state), until=lambda error: error and "ValidationError" in error)
    await office.advance(clock_id, START + timedelta(hours=1))
    live = await office.live(state)
    assert live.alert_state is not None
    assert 8 < live.alert_state.failures < 13
    await unreadable(office, filter=None)
    await office.advance(clock_id, START + timedelta(hours=2))
    assert await _attention(office, state) is None
    assert await levels(office) == [(50, 60)]
    return office.handle(state).id


async def test_what_lets_a_look_succeed_clears_what_needed_attention(office: Office) -> None:
    async with office.working():
        await looked_again(office)


async def _attention(office: Office, state: SubscriptionState) -> str | None:
    row = await office.catalogue.row(subscriptions, state.subscription_id)
    error: str | None = row.needs_attention
    return error


def _evaluation(state: SubscriptionState) -> EvaluateAlerts:
    return evaluation_of(evaluation_requested(state), at=START + timedelta(days=3), closing=False)
