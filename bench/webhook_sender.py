"""The process that delivers webhooks, alone: ``python -m bench.webhook_sender``, told what to do by the environment."""

import asyncio

import uvloop

from adapters.postgres.database import Database
from adapters.webhooks.deliver import Webhooks
from settings import settings


async def main() -> None:
    """Deliver until the process is ended."""
    configuration = settings()
    database = Database.configured(configuration)
    await Webhooks(database, configuration).run()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
