"""The fingerprint of a history: what the workflow commanded, in order, without times, ids and what it was told."""

import re
from typing import Any, Final

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

#: What makes a name of the test's catalogue unique.
_CHANCE: Final = re.compile(r"_[0-9a-f]{32}")

#: What a workflow's own code decides; the other events are facts from outside, or bookkeeping of the server.
_COMMANDS = (
    "TIMER_STARTED",
    "TIMER_CANCELED",
    "MARKER_RECORDED",
    "ACTIVITY_TASK_SCHEDULED",
    "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES",
    "WORKFLOW_EXECUTION_UPDATE_ACCEPTED",
    "WORKFLOW_EXECUTION_UPDATE_COMPLETED",
    "WORKFLOW_EXECUTION_COMPLETED",
    "WORKFLOW_EXECUTION_CONTINUED_AS_NEW",
    "WORKFLOW_EXECUTION_FAILED",
)


def fingerprint(history: WorkflowHistory) -> list[str]:
    """Return one line for each thing the workflow commanded."""
    named = ((EventType.Name(event.event_type).removeprefix("EVENT_TYPE_"), event) for event in history.events)
    return [_line(name, event) for name, event in named if name in _COMMANDS]


def _line(name: str, event: HistoryEvent) -> str:
    summary: Any = event.user_metadata.summary.data
    told = _CHANCE.sub("", summary.decode()) if summary else ""
    match name:
        case "ACTIVITY_TASK_SCHEDULED":
            return f"{name} {event.activity_task_scheduled_event_attributes.activity_type.name}"
        case "WORKFLOW_EXECUTION_UPDATE_ACCEPTED":
            accepted = event.workflow_execution_update_accepted_event_attributes
            return f"{name} {accepted.accepted_request.input.name}"
    return f"{name} {told}".rstrip()
