"""Writing down how attempts ended: what ends while a transaction is under way is written together in the next one."""

import asyncio
from datetime import timedelta
from typing import Final

from adapters.postgres.database import SYSTEM, Database
from adapters.postgres.webhooks import webhook_delivery_store as store
from adapters.postgres.webhooks.webhook_delivery_store import FinishedAttempt
from adapters.telemetry.counters import WEBHOOKS

_TOGETHER: Final = 200


class Recorder:
    """One writer for all lanes of a process; it uses one connection at a time."""

    def __init__(self, database: Database, *, disable_after: timedelta) -> None:
        self._database = database
        self._disable_after = disable_after
        self._waiting: asyncio.Queue[tuple[FinishedAttempt, asyncio.Future[None]]] = asyncio.Queue()

    def write(self, ended: FinishedAttempt) -> "asyncio.Future[None]":
        """Return what is done when the outcome is committed, or raises why it could not be."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((ended, written))
        return written

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < _TOGETHER and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            await self._write(batch)

    async def _write(self, batch: "list[tuple[FinishedAttempt, asyncio.Future[None]]]") -> None:
        error: Exception | None = None
        try:
            async with self._database.transaction(SYSTEM) as connection:
                await store.record_first(connection, [ended for ended, _ in batch], disable_after=self._disable_after)
        except Exception as failure:  # whoever waits for the outcome decides
            error = failure
        for ended, written in batch:
            if error is None:
                WEBHOOKS.labels("succeeded" if ended.attempt.success else "failed").inc()
            if written.cancelled():
                continue
            if error is None:
                written.set_result(None)
            else:
                written.set_exception(error)
