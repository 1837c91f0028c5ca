"""SIGTERM ends a worker, also when everything it works with has gone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.postgres.migrate import create_database, upgrade
from devstack.embedded_postgres import EmbeddedPostgres
from devstack.temporal_server import TemporalServer
from tests.support.stack import Stack
from tests.waiting import eventually

LIMIT_SECONDS = 60


@pytest.fixture
def servers(tmp_path: Path) -> tuple[EmbeddedPostgres, TemporalServer]:
    """Servers that the test may take away."""
    return EmbeddedPostgres(tmp_path / "postgres", durable=False), TemporalServer(None, log=tmp_path / "temporal.log")


async def test_a_worker_stops_when_postgres_and_temporal_are_gone(
    servers: tuple[EmbeddedPostgres, TemporalServer], tmp_path: Path
) -> None:
    postgres, temporal = servers
    stopping: list[Callable[[], None]] = [postgres.stop, temporal.stop]
    try:
        postgres.start()
        temporal.start()
        create_database(postgres.url(), "durabill")
        upgrade(postgres.url("durabill"))
        stack = Stack(
            database_url=postgres.url("durabill", user="durabill"),
            admin_url=postgres.url("durabill"),
            temporal_address=temporal.address,
            directory=tmp_path,
        )
        stack.start_worker()
        stopping.insert(0, stack.stop)

        async def leads() -> bool:
            return "relay_leads" in stack.tail("worker")

        await eventually(leads, seconds=LIMIT_SECONDS)
        while len(stopping) > 1:
            stopping.pop()()
        worker = stack.worker
        assert worker is not None
        worker.terminate()

        async def code() -> int | None:
            return worker.poll()

        assert await eventually(code, seconds=LIMIT_SECONDS, until=lambda found: found is not None) == 0
        assert "worker_stopped" in stack.tail("worker")
    finally:
        for stop in stopping:
            stop()
