"""Two workflows that a test clock cannot advance: one that fails again and again, one that only waits."""

from temporalio import workflow


@workflow.defn(name="BrokenSubscription")
class Broken:
    """Fails each of its tasks, as a history does that this build does not know."""

    @workflow.run
    async def run(self) -> None:
        raise RuntimeError("a step that this build does not know")


@workflow.defn(name="IdleSubscription")
class Idle:
    """Waits for something that never comes."""

    def __init__(self) -> None:
        self._over = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self._over)
