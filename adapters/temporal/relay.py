"""The relay: carries the outbox and new usage from Postgres to Temporal, at least once, from one worker at a time.

It is the safety net, not the latency: the API delivers right after each commit. Whatever breaks (Temporal away,
Postgres away, this process killed), the rows stay where they are, and the next leader goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from adapters.postgres.alerts import threshold_hit_store
from adapters.postgres.alerts.threshold_hit_store import ThresholdHit
from adapters.postgres.database import SYSTEM, Database
from adapters.postgres.events import event_months
from adapters.postgres.journal import idempotency_store, prune_store, relay_store
from adapters.postgres.journal.relay_store import DueWatermark
from adapters.postgres.rows import AsyncConnection, SQLAlchemyError
from adapters.postgres.subscriptions import ended_subscription_store
from adapters.postgres.subscriptions.ended_subscription_store import EndedSubscription
from adapters.postgres.usage import current_totals_store
from adapters.postgres.webhooks import webhook_prune_store
from adapters.telemetry.counters import SET_ASIDE
from adapters.temporal import clock_watch
from adapters.temporal.after_end import bill_late_usage
from adapters.temporal.delivery import Delivery, NotDelivered
from adapters.webhooks.deliver import Webhooks
from models.identifiers import subscription_workflow_id
from models.messages.after_end import AfterEnd, LateUsage
from models.messages.subscription import UsageRecorded, UsageTotal
from models.problems import Problem
from settings import Settings

_LOG = structlog.get_logger(__name__)
_BATCH: Final = 500
_FLUSH: Final = 200
_REACHED_SECONDS: Final = 0.1
_REST: Final = 3
_MAX_SUPPRESSION_SECONDS: Final = 1.0
_FLUSH_AT_ONCE: Final = 20
_STAND_BY_SECONDS: Final = 2.0
_PRUNE_SECONDS: Final = 3600.0
_PRUNED_AT_ONCE: Final = 10_000
_LONGEST_PAUSE_SECONDS: Final = 5.0
#: What a server that is away raises; whatever else a flush raises is the fault of one of its subscriptions.
_OUTAGES: Final = (RPCError, RuntimeError, OSError, Problem)
_SET_ASIDE_SECONDS: Final = 300.0


class Relay:
    """Runs inside the worker process as one asyncio task."""

    def __init__(self, client: Client, database: Database, settings: Settings) -> None:
        self._client = client
        self._database = database
        self._settings = settings
        self._delivery = Delivery(client, database, settings)
        self._webhooks = Webhooks(database, settings)
        self._clocks = clock_watch.ClockWatch(client, database)
        self._poll_seconds = settings.relay_poll_ms / 1000

    async def run(self) -> None:
        """Wait to become the leader, then deliver until cancelled; starts again after every trouble."""
        while True:
            try:
                async with relay_store.leadership(self._database) as connection:
                    if connection is not None:
                        _LOG.info("relay_leads")
                        await self._lead(connection)
            except Exception as error:  # whatever it is, a process without a relay is the greater trouble
                if _is_to_stop():
                    raise asyncio.CancelledError from error
                _LOG.warning("relay_starts_again", exc_info=error)
            await asyncio.sleep(_STAND_BY_SECONDS)

    async def _lead(self, connection: AsyncConnection) -> None:
        async with self._database.transaction(SYSTEM) as transaction:
            # Whatever kept rows waiting may have been this worker's absence.
            await relay_store.retry_all_now(transaction)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(connection))
            tasks.create_task(self._repeat("delivery", self._poll_seconds, self.deliver_due))
            tasks.create_task(self._repeat("usage", self._settings.usage_signal_quiet_ms / 1000, self._flush_in_turn))
            tasks.create_task(self._repeat("alert lines", _REACHED_SECONDS, self.flush_threshold_hits))
            tasks.create_task(self._webhooks.run())
            tasks.create_task(self._repeat("pruning", _PRUNE_SECONDS, self._prune))
            tasks.create_task(self._repeat("clocks", clock_watch.EVERY_SECONDS, self._clocks.look))
            tasks.create_task(self._repeat("arrivals", clock_watch.SETTLED_EVERY_SECONDS, self._clocks.settle))

    async def _watch(self, connection: AsyncConnection) -> None:
        """End the leadership when the connection that holds the lock is lost."""
        while True:
            await relay_store.still_leads(connection)
            await asyncio.sleep(_STAND_BY_SECONDS)

    async def _repeat(self, what: str, every_seconds: float, step: Callable[[], Awaitable[bool]]) -> None:
        """Run a step again and again: at once while there is more to do, later and later while it fails."""
        failures = 0
        while True:
            try:
                more = await step()
                failures = 0
            except Exception as error:  # one step's trouble ends no other's
                if _is_to_stop():
                    raise
                failures += 1
                more = False
                _LOG.warning("relay_step_failed", step=what, error=str(error), exc_info=_unforeseen(error))
            if not more:
                await asyncio.sleep(
                    min(every_seconds * 2 ** min(failures, 8), max(every_seconds, _LONGEST_PAUSE_SECONDS))
                )

    async def deliver_due(self) -> bool:
        """Deliver one batch of due outbox rows; returns whether there may be more."""
        async with self._database.transaction(SYSTEM) as connection:
            rows = await relay_store.due_rows(connection, limit=_BATCH)
        if not rows:
            return False
        return await self._delivery.deliver(rows) > 0

    async def _flush_in_turn(self) -> bool:
        """Flush, then rest the longer the longer it took: on a busy machine what is urgent must not queue behind it."""
        began = asyncio.get_running_loop().time()
        more = await self.flush_usage()
        took_seconds = asyncio.get_running_loop().time() - began
        await asyncio.sleep(min(_REST * took_seconds, _MAX_SUPPRESSION_SECONDS))
        return more

    async def flush_usage(self) -> bool:
        """Tell subscriptions their cumulative usage in turn, one signal each, at a pace that leaves room for others."""
        settings = self._settings
        in_a_flush = settings.usage_signals_per_second * settings.usage_signal_quiet_ms // 1000
        async with self._database.transaction(SYSTEM) as connection:
            marks = await relay_store.due_watermarks(
                connection,
                quiet_ms=settings.usage_signal_quiet_ms,
                busy_ms=settings.usage_signal_busy_ms,
                limit=max(1, in_a_flush),
            )
        await self._flush(marks)
        return False

    async def flush_threshold_hits(self) -> bool:
        """Tell at once the subscriptions whose usage has got to an alert's line; answers whether there are more."""
        async with self._database.transaction(SYSTEM) as connection:
            lines = await threshold_hit_store.hit_thresholds(
                connection,
                suppression_seconds=_REACHED_SECONDS,
                interval_seconds=self._settings.usage_signal_busy_ms / 1000,
                limit=_FLUSH,
            )
        await self._flush(list(dict.fromkeys(line.mark for line in lines)), lines)
        return len(lines) == _FLUSH

    async def _flush(self, marks: list[DueWatermark], hits: Sequence[ThresholdHit] = ()) -> None:
        """Signal their usage to subscriptions, together; after a fault, each by itself, so that only its owner waits.

        The thresholds whose subscriptions were signalled are suppressed from then on.
        """
        try:
            await self._flush_together(marks, hits)
        except Exception as error:
            if _is_outage(error) or _is_to_stop():
                raise
            if len(marks) == 1:
                await self._set_aside(marks[0], hits, error)
                return
            for mark in marks:
                await self._flush([mark], [hit for hit in hits if hit.mark == mark])

    async def _set_aside(self, mark: DueWatermark, hits: Sequence[ThresholdHit], error: Exception) -> None:
        """Let a subscription wait whose usage cannot be signalled; it is tried again after a pause."""
        SET_ASIDE.labels("usage").inc()
        _LOG.error(
            "usage_set_aside", project=str(mark.project_id), subscription=str(mark.subscription_id), exc_info=error
        )
        async with self._database.transaction(SYSTEM) as connection:
            await relay_store.defer_watermarks(connection, [mark.subscription_id], seconds=_SET_ASIDE_SECONDS)
            await threshold_hit_store.suppress(connection, [(hit, _SET_ASIDE_SECONDS) for hit in hits])

    async def _flush_together(self, marks: list[DueWatermark], hits: Sequence[ThresholdHit]) -> None:
        if not marks:
            return
        async with self._database.transaction(SYSTEM) as connection:
            ended = await ended_subscription_store.ended_among(connection, [mark.subscription_id for mark in marks])
            running = [mark for mark in marks if mark.subscription_id not in ended]
            messages = await self._messages(connection, running)
        notified = await self._notify(running, messages) | await self._bill_ended(marks, ended)
        waiting = [mark.subscription_id for mark in marks if mark.subscription_id not in notified]
        async with self._database.transaction(SYSTEM) as connection:
            await relay_store.mark_signalled(connection, list(notified.items()))
            await relay_store.defer_watermarks(connection, waiting)
            await threshold_hit_store.suppress(connection, self._suppressed(hits, messages, notified))

    def _suppressed(
        self, lines: Sequence[ThresholdHit], messages: dict[UUID, UsageRecorded], told: dict[UUID, int]
    ) -> list[tuple[ThresholdHit, float]]:
        """Return the lines whose subscriptions were told, and for how many seconds each is to rest."""
        quantities = {
            (subscription, total.metric_id): total.quantity
            for subscription, message in messages.items()
            if subscription in told
            for total in message.totals
        }
        interval_seconds = self._settings.usage_signal_busy_ms / 1000
        return [
            (line, line.suppression_seconds(quantity, interval_seconds))
            for line in lines
            if (quantity := quantities.get((line.mark.subscription_id, line.metric_id))) is not None
        ]

    async def _messages(self, connection: AsyncConnection, marks: list[DueWatermark]) -> dict[UUID, UsageRecorded]:
        totals = await current_totals_store.current_totals(connection, [mark.subscription_id for mark in marks])
        return {
            current.subscription_id: UsageRecorded(
                watermark=current.version,
                period_start=current.period_start,
                totals=tuple(
                    UsageTotal(metric_id=t.metric_id, metric_key=t.metric_key, quantity=t.quantity, events=t.events)
                    for t in current.totals
                ),
            )
            for current in totals
        }

    async def _notify(self, marks: list[DueWatermark], messages: dict[UUID, UsageRecorded]) -> dict[UUID, int]:
        """Send the signals; gives, by subscription, the version that needs no further signal."""
        slots = asyncio.Semaphore(_FLUSH_AT_ONCE)

        async def tell(mark: DueWatermark) -> int | None:
            message = messages.get(mark.subscription_id)
            if message is None:
                return mark.version
            workflow_id = subscription_workflow_id(mark.project_id, mark.subscription_id)
            async with slots:
                try:
                    await self._delivery.signal(workflow_id, "usage_recorded", message)
                except NotDelivered as error:
                    _LOG.info("usage_waits", workflow=workflow_id, error=str(error))
                    return None
            return message.watermark

        told = await asyncio.gather(*(tell(mark) for mark in marks))
        pairs = zip(marks, told, strict=True)
        return {mark.subscription_id: version for mark, version in pairs if version is not None}

    async def _bill_ended(self, marks: list[DueWatermark], ended: dict[UUID, EndedSubscription]) -> dict[UUID, int]:
        """Have late usage of ended subscriptions billed; gives, by subscription, the version that needs no more."""
        for mark in marks:
            own = ended.get(mark.subscription_id)
            if own is not None and own.late:
                # A test clock's time passes while nobody waits.
                wait = 0 if own.in_test_clock else self._settings.late_usage_wait_seconds
                if own.in_test_clock:
                    async with self._database.transaction(SYSTEM) as connection:
                        await ended_subscription_store.mark_late(connection, mark.subscription_id)
                start = AfterEnd(subscription=own.ref, wait_seconds=wait)
                late = LateUsage(version=mark.version)
                await bill_late_usage(self._client, self._settings.temporal_task_queue, start, late)
        return {mark.subscription_id: mark.version for mark in marks if mark.subscription_id in ended}

    async def _prune(self) -> bool:
        """Delete what is kept no longer, a bounded part at a time; returns whether there may be more."""
        async with self._database.transaction(SYSTEM) as connection:
            pruned = await relay_store.prune(connection, most=_PRUNED_AT_ONCE)
        async with self._database.transaction(SYSTEM) as connection:
            kept = timedelta(days=self._settings.webhook_kept_days)
            webhooks = await webhook_prune_store.prune(connection, kept=kept)
        await event_months.create_partitions_ahead(self._database, datetime.now(UTC))
        journal = await self._prune_journal()
        if pruned or webhooks or any(journal.values()):
            _LOG.info("pruned", outbox_rows=pruned, webhook_rows=webhooks, **journal)
        more = pruned == _PRUNED_AT_ONCE or webhooks >= webhook_prune_store.MOST
        return more or any(deleted == prune_store.MOST for deleted in journal.values())

    async def _prune_journal(self) -> dict[str, int]:
        """Delete stored answers, notifications, audit entries and keys of events that are kept no longer."""
        steps = {
            "answers": (prune_store.prune_answers, idempotency_store.KEPT.days),
            "notifications": (prune_store.prune_notifications, self._settings.notifications_kept_days),
            "audit_entries": (prune_store.prune_audit, self._settings.audit_log_kept_days),
            "event_keys": (prune_store.prune_event_keys, self._settings.event_keys_kept_days),
        }
        deleted = {}
        for what, (prune, days) in steps.items():
            if days is not None:
                async with self._database.transaction(SYSTEM) as connection:
                    deleted[what] = await prune(connection, kept=timedelta(days=days))
        return deleted


def _is_outage(error: Exception) -> bool:
    """Tell a server that is away from a fault of what was read or sent."""
    if isinstance(error, RPCError):
        return error.status != RPCStatusCode.INVALID_ARGUMENT
    return isinstance(error, _OUTAGES)


def _unforeseen(error: Exception) -> Exception | None:
    return None if isinstance(error, (*_OUTAGES, SQLAlchemyError, NotDelivered)) else error


def _is_to_stop() -> bool:
    """Return whether this task was cancelled: a failure on the way out may have taken the cancellation's place."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
