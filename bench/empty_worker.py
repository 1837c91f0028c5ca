"""The worker of bench/empty_workflow.py, with the limits of the real one.

Run as ``python -m bench.empty_worker ADDRESS QUEUE DATABASE_URL``.
"""

import asyncio
import signal
import sys

import uvloop
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from adapters.postgres.database import Database
from adapters.temporal.sandbox import runner
from bench.empty_workflow import EmptyWorkflow, OneInsert


async def main(address: str, queue: str, database_url: str) -> None:
    """Work until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    database = Database(database_url, pool_size=20)
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    async with Worker(
        client,
        task_queue=queue,
        workflows=[EmptyWorkflow],
        activities=[OneInsert(database).insert],
        workflow_runner=runner(),
        max_cached_workflows=2000,
        max_concurrent_local_activities=17,
    ):
        await stopping.wait()
    await database.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:4]))
