"""What a process does in the background goes on, whatever failed once."""

import asyncio

from adapters.postgres.database import Database
from app import repeatedly
from models.problems import unavailable


async def test_work_that_failed_is_tried_again(database: Database) -> None:
    done = asyncio.Event()
    failures: list[Exception] = [ValueError("broken"), unavailable("database_busy", "Try again.")]

    async def work(_: Database) -> None:
        if failures:
            raise failures.pop()
        done.set()

    task = asyncio.create_task(repeatedly(0, work, database))
    try:
        await asyncio.wait_for(done.wait(), timeout=10)
    finally:
        task.cancel()
    assert not failures
