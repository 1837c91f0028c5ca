"""The commands that change how a subscription lives; each is an update whose validator refuses what is not allowed."""

from abc import ABC, abstractmethod

from temporalio import workflow

from models.messages.subscription import (
    Activate,
    Cancel,
    CommandAccepted,
    MigratePlan,
    Pause,
    Reinstate,
    Resume,
    RetryParked,
    SkipParked,
    Suspend,
)
from models.messages.subscription_steps import LifecycleCommand


class CommandHandlers(ABC):
    """What a subscription can be told; the workflow says how a command is carried out."""

    @abstractmethod
    async def carry_out(self, command: LifecycleCommand) -> CommandAccepted:
        """Carry out a command once."""

    @abstractmethod
    def must_allow(self, command: LifecycleCommand) -> None:
        """Refuse a command before it reaches the history; raises `IllegalTransition`."""

    @workflow.update
    async def pause(self, command: Pause) -> CommandAccepted:
        """Pause billing; usage is kept."""
        return await self.carry_out(command)

    @pause.validator
    def _may_pause(self, command: Pause) -> None:
        self.must_allow(command)

    @workflow.update
    async def resume(self, command: Resume) -> CommandAccepted:
        """Go on with billing, from the current period."""
        return await self.carry_out(command)

    @resume.validator
    def _may_resume(self, command: Resume) -> None:
        self.must_allow(command)

    @workflow.update
    async def suspend(self, command: Suspend) -> CommandAccepted:
        """Withhold the service; usage is kept and billed."""
        return await self.carry_out(command)

    @suspend.validator
    def _may_suspend(self, command: Suspend) -> None:
        self.must_allow(command)

    @workflow.update
    async def reinstate(self, command: Reinstate) -> CommandAccepted:
        """Give the service back."""
        return await self.carry_out(command)

    @reinstate.validator
    def _may_reinstate(self, command: Reinstate) -> None:
        self.must_allow(command)

    @workflow.update
    async def activate(self, command: Activate) -> CommandAccepted:
        """Start a pending subscription now."""
        return await self.carry_out(command)

    @activate.validator
    def _may_activate(self, command: Activate) -> None:
        self.must_allow(command)

    @workflow.update
    async def cancel(self, command: Cancel) -> CommandAccepted:
        """End at the period's end, or now, then with a final invoice unless the command says to skip it."""
        return await self.carry_out(command)

    @cancel.validator
    def _may_cancel(self, command: Cancel) -> None:
        self.must_allow(command)

    @workflow.update
    async def migrate_plan(self, command: MigratePlan) -> CommandAccepted:
        """Move to another plan version, now or with the next period (B38)."""
        return await self.carry_out(command)

    @migrate_plan.validator
    def _may_migrate_plan(self, command: MigratePlan) -> None:
        self.must_allow(command)

    @workflow.update
    async def retry_parked(self, command: RetryParked) -> CommandAccepted:
        """Take up again what was set aside with an error."""
        return await self.carry_out(command)

    @workflow.update
    async def skip_parked(self, command: SkipParked) -> CommandAccepted:
        """Forget what was set aside with an error."""
        return await self.carry_out(command)
