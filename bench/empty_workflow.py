"""The least that a close could be: a workflow that stays in its run, one timer, one local activity, one INSERT."""

from datetime import datetime, timedelta

from pydantic import BaseModel
from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from sqlalchemy import text

    from adapters.postgres.database import SYSTEM, Database

CREATE = "CREATE TABLE bench_closes (id bigint GENERATED ALWAYS AS IDENTITY, workflow text, at timestamptz NOT NULL)"
GRANT = "GRANT SELECT, INSERT ON bench_closes TO durabill_system"


class Due(BaseModel):
    """When the workflow has something to do."""

    at: datetime


class OneInsert:
    """The only step."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn
    async def insert(self, workflow_id: str) -> int:
        """Insert one row in one transaction."""
        async with self._database.transaction(SYSTEM) as connection:
            statement = text("INSERT INTO bench_closes (workflow, at) VALUES (:id, clock_timestamp()) RETURNING id")
            return int((await connection.execute(statement, {"id": workflow_id})).scalar_one())


@workflow.defn
class EmptyWorkflow:
    """Waits, inserts once, and stays."""

    def __init__(self) -> None:
        self._over = False

    @workflow.run
    async def run(self, due: Due) -> None:
        """Wait for the instant, insert, wait for the end."""
        await workflow.sleep(max(due.at - workflow.now(), timedelta(milliseconds=1)))
        await workflow.execute_local_activity_method(
            OneInsert.insert, workflow.info().workflow_id, start_to_close_timeout=timedelta(seconds=30)
        )
        try:
            await workflow.wait_condition(lambda: self._over, timeout=timedelta(days=30))
        except TimeoutError:
            return
