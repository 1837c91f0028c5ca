"""The payments of one workflow that are under way beside everything else it does."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any
from uuid import UUID


class PaymentsInProgress:
    """One task for each invoice that is being collected; `lock` lets the provider be asked for one at a time.

    `in` tells whether an invoice is being collected.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._tasks: dict[UUID, asyncio.Task[None]] = {}

    def __contains__(self, invoice_id: object) -> bool:
        return invoice_id in self._tasks

    def __iter__(self) -> Iterator[UUID]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, invoice_id: UUID, collection: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin to collect an invoice; the caller has looked that it is not being collected."""
        task = self._tasks[invoice_id] = asyncio.create_task(collection)
        return task

    @property
    def any_finished(self) -> bool:
        """Return whether one of them is over."""
        return any(task.done() for task in self._tasks.values())

    @property
    def all_finished(self) -> bool:
        """Return whether every one of them is over."""
        return all(task.done() for task in self._tasks.values())

    def discard_finished(self) -> bool:
        """Forget what is over; returns whether there was any. Raises what one of them raised."""
        over = [invoice_id for invoice_id, task in self._tasks.items() if task.done()]
        for invoice_id in over:
            self._tasks.pop(invoice_id).result()
        return bool(over)
