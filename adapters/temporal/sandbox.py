"""The one place that says what workflow code may import, and how it is kept deterministic."""

from typing import Final

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import SandboxImportNotificationPolicy

#: Never "workflows": passing a workflow's own package through switches the sandbox off for it. Only its parts that
#: define no workflow are named, each by itself.
PASSED_THROUGH: Final = (
    "billing",
    "models",
    "activities",
    "operations",
    "adapters",
    "workflows.alerting",
    "workflows.command_handlers",
    "workflows.payments_in_progress",
)


def runner() -> SandboxedWorkflowRunner:
    """Make the sandbox that runs every workflow of Durabill.

    Pure code and messages are shared with the process, so that classes are the same on both sides and a workflow loads
    fast; an import that is not on the list stops the worker when it starts, instead of loading a second copy.
    """
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH)
    return SandboxedWorkflowRunner(
        restrictions=restrictions.with_import_notification_policy(
            SandboxImportNotificationPolicy.WARN_ON_DYNAMIC_IMPORT
            | SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
        )
    )
