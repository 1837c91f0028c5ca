"""What an activity raises, as the policies of retries know it."""

from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from activities.policies import CLOSING
from adapters.postgres.database import SYSTEM, Database, driver
from adapters.temporal.interceptor import ActivityEdge


class _Asking(ActivityInboundInterceptor):
    """Stands where the activity is, and asks Postgres for something."""

    def __init__(self, database: Database, statement: bytes) -> None:
        self._database = database
        self._statement = statement

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """Ask on the driver's own connection, as the hot paths do."""
        async with self._database.transaction(SYSTEM) as connection:
            await (await driver(connection)).execute(self._statement)


async def test_a_value_that_no_column_holds_is_not_tried_again(database: Database) -> None:
    """The driver has a class of its own for each error of Postgres, and policies know errors by name."""
    edge = ActivityEdge().intercept_activity(_Asking(database, b"SELECT CAST(1e30 AS numeric(38, 18))"))
    asked = ExecuteActivityInput(fn=print, args=(), executor=None, headers={})
    with pytest.raises(ApplicationError) as refused:
        await ActivityEnvironment().run(edge.execute_activity, asked)
    assert refused.value.type in (CLOSING["retry_policy"].non_retryable_error_types or ())
    assert "overflow" in refused.value.message
