"""The loop that makes first attempts, in batches by endpoint; what fails is handed to a workflow (C9).

Every endpoint has a lane of its own: what one endpoint does (hangs, refuses, answers slowly) delays its own messages
only. Within a lane, messages about one resource go one after the other, different ones at the same time.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from typing import Final
from uuid import UUID

import structlog

from adapters.postgres.database import SYSTEM, Database
from adapters.postgres.rows import AsyncConnection
from adapters.postgres.webhooks import webhook_delivery_store as store
from adapters.postgres.webhooks import webhook_fanout_store
from adapters.postgres.webhooks.webhook_delivery_store import DueDelivery, FinishedAttempt
from adapters.webhooks.recorder import Recorder
from adapters.webhooks.retries import pause_after, pauses
from adapters.webhooks.send import Sender
from settings import Settings

_LOG = structlog.get_logger(__name__)
_ROWS: Final = 500
#: Lanes at the same time; endpoints that fail at present, and may hang, take none of the others'.
_LANES: Final = 128
_FAILING_LANES: Final = 32
_OF_A_LANE: Final = 64
#: No attempt begins with what was read longer ago: by then the endpoint may be deleted, or at another address.
_FRESH_SECONDS: Final = 1.0
_PAUSE_IN_TROUBLE_SECONDS: Final = 5.0
#: How often deliveries are looked for that this loop does not know of: sent again by the API, left by another leader.
_LOOK_SECONDS: Final = 1.0
_RESCUE_SECONDS: Final = 600.0


class Webhooks:
    """The loop of the process that leads the relay: fans out, and sends what has not been tried."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._schedule = pauses(settings.webhook_first_retry_seconds)
        self._poll_seconds = settings.relay_poll_ms / 1000
        #: The endpoints that have a lane, and whether they failed when it was opened.
        self._busy: dict[UUID, bool] = {}
        self._look_again = asyncio.Event()
        self._next_look = 0.0
        self._next_rescue = 0.0

    async def run(self) -> None:
        """Deliver until cancelled. What is then being sent stays due, and the next leader sends it again."""
        self._busy.clear()
        self._next_look = 0.0
        disable_after = timedelta(hours=self._settings.webhook_disable_after_hours)
        recorder = Recorder(self._database, disable_after=disable_after)
        async with Sender(self._settings) as sender, asyncio.TaskGroup() as lanes:
            lanes.create_task(recorder.run())
            while True:
                try:
                    await self._round(sender, recorder, lanes)
                    pause_seconds = self._poll_seconds
                except Exception as error:  # whatever it is, the rows stay due
                    _LOG.warning("webhooks_wait", exc_info=error)
                    pause_seconds = _PAUSE_IN_TROUBLE_SECONDS
                await self._wait(pause_seconds)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._look_again.wait()
        except TimeoutError:
            return

    async def _round(self, sender: Sender, recorder: Recorder, lanes: asyncio.TaskGroup) -> None:
        """Fan out what waits, and open a lane for every idle endpoint with something due."""
        ended = self._look_again.is_set()
        self._look_again.clear()
        async with self._database.transaction(SYSTEM) as connection:
            fanned = await webhook_fanout_store.fan_out(connection, limit=_ROWS)
            now = time.monotonic()
            if now >= self._next_rescue:
                self._next_rescue = now + _RESCUE_SECONDS
                await store.requeue_lost(connection)
            due: list[DueDelivery] = []
            if fanned.deliveries or ended or now >= self._next_look:
                self._next_look = now + _LOOK_SECONDS
                due = await self._due(connection)
        for endpoint_id, group in groupby(due, key=lambda delivery: delivery.endpoint_id):
            deliveries = list(group)
            self._busy[endpoint_id] = deliveries[0].failing
            lanes.create_task(self._lane(sender, recorder, endpoint_id, deliveries))
        if fanned.rows == _ROWS:
            self._look_again.set()

    async def _due(self, connection: AsyncConnection) -> list[DueDelivery]:
        failing = sum(self._busy.values())
        return await store.due(
            connection,
            busy=list(self._busy),
            endpoints=_LANES - (len(self._busy) - failing),
            failing=_FAILING_LANES - failing,
            each=_OF_A_LANE,
        )

    async def _lane(
        self, sender: Sender, recorder: Recorder, endpoint_id: UUID, deliveries: Sequence[DueDelivery]
    ) -> None:
        slots = asyncio.Semaphore(self._settings.webhook_concurrency)
        stale_at = time.monotonic() + _FRESH_SECONDS
        in_order = sorted(deliveries, key=lambda delivery: (delivery.ordering_key, delivery.payload["sequence"]))
        groups = [list(group) for _, group in groupby(in_order, key=lambda delivery: delivery.ordering_key)]
        try:
            sending = (self._deliver_group(sender, recorder, slots, group, stale_at) for group in groups)
            written = [future for futures in await asyncio.gather(*sending) for future in futures]
            await asyncio.gather(*written)
        except Exception as error:  # one endpoint's trouble ends no other's lane
            _LOG.warning("webhook_outcome_not_written", endpoint=str(endpoint_id), exc_info=error)
            await asyncio.sleep(_PAUSE_IN_TROUBLE_SECONDS)
        finally:
            self._busy.pop(endpoint_id, None)
            self._look_again.set()

    async def _deliver_group(
        self,
        sender: Sender,
        recorder: Recorder,
        slots: asyncio.Semaphore,
        group: Sequence[DueDelivery],
        stale_at: float,
    ) -> list[asyncio.Future[None]]:
        """Send messages about one resource in their order; returns what ends when their outcomes are written down.

        What has not begun at ``stale_at`` stays due, and the next lane sends it as the endpoint is by then.
        """
        written = []
        async with slots:
            for delivery in group:
                if time.monotonic() >= stale_at:
                    break
                attempt = await sender.attempt(delivery)
                pause = pause_after(delivery.scheduled_attempts + 1, self._schedule, attempt.retry_after)
                written.append(recorder.write(FinishedAttempt(delivery, attempt, pause)))
        return written
