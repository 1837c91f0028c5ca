"""The rules are pure enough to run un-passed in the workflow sandbox, which refuses clocks, randomness and I/O."""

from uuid import uuid4

from temporalio.client import Client
from temporalio.worker import Worker

from devstack.temporal_server import TemporalServer
from tests.support.core_workflow import RateAMonth


async def test_a_month_is_rated_inside_the_sandbox(temporal_server: TemporalServer) -> None:
    client = await Client.connect(temporal_server.address)
    name = f"core-{uuid4()}"
    # The default runner passes nothing of ours through: billing/ is imported and run under every restriction.
    async with Worker(client, task_queue=name, workflows=[RateAMonth]):
        total = await client.execute_workflow(RateAMonth.run, id=name, task_queue=name)
    # 2,000 calls above the included 1,000 at 0.01 are 2000 cents. From 10 March 00:00Z, 01:00 in Berlin, to the end of
    # the month are 526 of its 743 hours: 4900 x 526/743 = 3468.9 cents.
    assert total == 2000 + 3469
