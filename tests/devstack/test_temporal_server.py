"""The embedded Temporal server: knows our search attributes, loses nothing when it is killed."""

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client, WorkflowExecutionStatus

from devstack import temporal_binary
from devstack.processes import StackError
from devstack.temporal_server import TemporalServer
from models.identifiers import SEARCH_ATTRIBUTES


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TemporalServer]:
    """A server with a database file."""
    made = TemporalServer(tmp_path / "temporal")
    try:
        yield made
    finally:
        made.stop()


async def test_search_attributes_are_registered_with_their_types(server: TemporalServer) -> None:
    server.start()
    client = await Client.connect(server.address)
    known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    for key in SEARCH_ATTRIBUTES:
        assert known.custom_attributes[key.name] == key.indexed_value_type.value


async def test_started_workflows_survive_a_kill_of_the_server(server: TemporalServer) -> None:
    server.start()
    client = await Client.connect(server.address)
    ids = [f"subscription/{uuid.uuid4()}" for _ in range(20)]
    for workflow_id in ids:
        await client.start_workflow("Anything", id=workflow_id, task_queue="nobody-listens")
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(timeout=10)

    server.start()

    again = await Client.connect(server.address)
    for workflow_id in ids:
        description = await again.get_workflow_handle(workflow_id).describe()
        assert description.status == WorkflowExecutionStatus.RUNNING


def test_without_a_directory_nothing_is_left(tmp_path: Path) -> None:
    server = TemporalServer(None)
    server.start()
    log = server.log
    server.stop()
    assert not log.exists()


def test_a_configured_binary_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="DURABILL_TEMPORAL_BIN"):
        temporal_binary.find(str(tmp_path / "nothing"), say=print)
