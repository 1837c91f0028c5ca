"""Histories that were recorded once must replay under today's code, and today's code must command the same."""

import json
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from adapters.temporal.sandbox import runner
from tests.replay.fingerprint import fingerprint
from tests.replay.record import HISTORIES
from tests.replay.scenarios import SCENARIOS
from tests.workflows.conftest import Office, office
from worker import WORKFLOWS

__all__ = ["office"]

RECORDED = sorted(HISTORIES.glob("*.json"))


def read(path: Path) -> WorkflowHistory:
    """Read a committed history."""
    document = json.loads(path.read_text())
    return WorkflowHistory.from_json(document.pop("workflow_id"), document)


def test_every_scenario_has_a_committed_history() -> None:
    assert {path.stem for path in RECORDED} >= set(SCENARIOS)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_a_committed_history_replays(path: Path) -> None:
    replayer = Replayer(workflows=WORKFLOWS, workflow_runner=runner(), data_converter=pydantic_data_converter)
    await replayer.replay_workflow(read(path))


@pytest.mark.parametrize("name", SCENARIOS)
async def test_today_s_code_commands_what_the_fingerprint_says(office: Office, name: str) -> None:
    """A difference means: changed on purpose, then `make record`, with `workflow.patched` if old runs are about."""
    async with office.working():
        workflow_id = await SCENARIOS[name](office)
        history = await office.client.get_workflow_handle(workflow_id).fetch_history()
    assert fingerprint(history) == (HISTORIES / f"{name}.txt").read_text().splitlines()
