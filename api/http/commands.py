"""Commands to subscriptions: updates to their workflows, answered when the record in Postgres has them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog
from temporalio.client import (
    Client,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.service import RPCError, RPCStatusCode

from adapters.postgres.database import Database
from adapters.temporal import after_end
from adapters.temporal.client import connect
from adapters.temporal.delivery import Delivery
from models.identifiers import invoice_workflow_id, shown_id, subscription_workflow_id
from models.messages.base import Message, SubscriptionRef
from models.messages.closing import InvoiceClosed
from models.messages.collecting import CollectInvoiceUntilSettled, InvoiceCollected
from models.messages.subscription import (
    Activate,
    Cancel,
    ChargeInvoice,
    CommandAccepted,
    InvoiceNow,
    MigratePlan,
    Pause,
    Reinstate,
    Resume,
    RetryParked,
    SkipParked,
    Suspend,
)
from models.problems import Problem, conflict, unavailable
from settings import Settings

_LOG = structlog.get_logger(__name__)
_Answer = TypeVar("_Answer", bound=Message)

#: Errors of the workflow by their type: the HTTP status and code of the problem.
_REFUSALS: Final = {
    "IllegalTransition": (409, "illegal_transition"),
    "NothingToBill": (409, "nothing_to_bill"),
    "InvoiceNotFound": (404, "invoice_not_found"),
    "CutoffBeforeOpenPeriod": (422, "cutoff_before_open_period"),
    "AbsurdInvoice": (422, "absurd_invoice"),
    "UnreadablePlan": (422, "unreadable_plan"),
}
_UNREACHABLE: Final = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.UNKNOWN,
    RPCStatusCode.INTERNAL,
)
_HEALTH_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.05


class Commands:
    """The way from the API to subscriptions' workflows."""

    def __init__(self, client: Client, database: Database, settings: Settings) -> None:
        self._client = client
        self._queue = settings.temporal_task_queue
        self._timeout_seconds = settings.command_timeout_seconds
        self._delivery = Delivery(client, database, settings)

    @classmethod
    async def connect(cls, database: Database, settings: Settings) -> "Commands":
        """Make the commands; the connection is opened by the first one, so this works while Temporal is down."""
        return cls(await connect(settings, lazy=True), database, settings)

    async def check_reachability(self) -> bool:
        """Return whether the Temporal server answers."""
        try:
            return await asyncio.wait_for(self._client.service_client.check_health(), _HEALTH_SECONDS)
        except (RPCError, TimeoutError, RuntimeError):
            return False

    async def worker_polling(self) -> bool:
        """Return whether a worker has asked for work of our task queue lately."""
        try:
            return await asyncio.wait_for(self._delivery.worker_polling(), _HEALTH_SECONDS)
        except (RPCError, TimeoutError, RuntimeError):
            return False

    async def healthy(self) -> bool:
        """Return whether commands would be answered: Temporal is reachable and a worker is polling."""
        return await self.check_reachability() and await self.worker_polling()

    async def start_subscription(self, ref: SubscriptionRef) -> None:
        """Deliver a new subscription's start at once, after the commit of its rows.

        Never fails: what cannot be delivered now is delivered by the relay.
        """
        await self._deliver(subscription_workflow_id(ref.project_id, ref.subscription_id))

    async def deliver(self, workflow_id: str) -> None:
        """Deliver what waits in the outbox for one workflow, at once, after the commit. Never fails."""
        await self._deliver(workflow_id)

    async def pause(self, ref: SubscriptionRef, command: Pause) -> CommandAccepted:
        """Pause billing. Raises ``Problem`` 409 ``illegal_transition``, 503 ``commands_unavailable``."""
        return await self._update(ref, "pause", command, CommandAccepted)

    async def resume(self, ref: SubscriptionRef, command: Resume) -> CommandAccepted:
        """Resume billing. Raises ``Problem`` 409 ``illegal_transition``, 503 ``commands_unavailable``."""
        return await self._update(ref, "resume", command, CommandAccepted)

    async def suspend(self, ref: SubscriptionRef, command: Suspend) -> CommandAccepted:
        """Withhold the service. Raises ``Problem`` 409 ``illegal_transition``, 503 ``commands_unavailable``."""
        return await self._update(ref, "suspend", command, CommandAccepted)

    async def reinstate(self, ref: SubscriptionRef, command: Reinstate) -> CommandAccepted:
        """Give the service back. Raises ``Problem`` 409 ``illegal_transition``, 503 ``commands_unavailable``."""
        return await self._update(ref, "reinstate", command, CommandAccepted)

    async def activate(self, ref: SubscriptionRef, command: Activate) -> CommandAccepted:
        """Start a pending subscription now. Raises ``Problem`` 409 ``illegal_transition``, 503."""
        return await self._update(ref, "activate", command, CommandAccepted)

    async def cancel(self, ref: SubscriptionRef, command: Cancel) -> CommandAccepted:
        """End at the period's end, or now with a final invoice. Raises ``Problem`` 409 ``illegal_transition``, 503."""
        return await self._update(ref, "cancel", command, CommandAccepted)

    async def migrate(self, ref: SubscriptionRef, command: MigratePlan) -> CommandAccepted:
        """Move to another plan version with the next period (B38). Raises ``Problem`` 409, 503."""
        return await self._update(ref, "migrate_plan", command, CommandAccepted)

    async def retry_parked(self, ref: SubscriptionRef, command: RetryParked) -> CommandAccepted:
        """Take up again what was set aside with an error. Raises ``Problem`` 503 ``commands_unavailable``."""
        return await self._update(ref, "retry_parked", command, CommandAccepted)

    async def skip_parked(self, ref: SubscriptionRef, command: SkipParked) -> CommandAccepted:
        """Forget what was set aside with an error. Raises ``Problem`` 503 ``commands_unavailable``."""
        return await self._update(ref, "skip_parked", command, CommandAccepted)

    async def invoice_now(self, ref: SubscriptionRef, command: InvoiceNow) -> InvoiceClosed:
        """Bill what is unbilled up to the cutoff; the answer's ``invoice_id`` is never None.

        Raises ``Problem`` 409 ``nothing_to_bill`` (with ``existing_invoice_id`` in ``extra``, as shown, or None),
        422 ``cutoff_before_open_period``, 422 ``absurd_invoice``, 503 ``commands_unavailable``.
        """
        try:
            closed = await self._update(ref, "invoice_now", command, InvoiceClosed)
        except Problem as problem:
            if problem.code != "subscription_ended":
                raise
            closed = await self._await_response(lambda: after_end.invoice_now(self._client, self._queue, ref, command))
            if closed.invoice_id is not None:
                await self._deliver(invoice_workflow_id(closed.invoice_id))
        if closed.invoice_id is None:
            existing = shown_id("invoice", closed.existing_invoice_id) if closed.existing_invoice_id else None
            raise conflict("nothing_to_bill", "Everything up to the cutoff is billed.", existing_invoice_id=existing)
        return closed

    async def charge(
        self, ref: SubscriptionRef, command: ChargeInvoice, *, otherwise: CollectInvoiceUntilSettled | None = None
    ) -> InvoiceCollected:
        """Collect an invoice now; the answer may be a decline. Raises ``Problem`` 404 ``invoice_not_found``, 503.

        When the subscription's workflow is over, the invoice is collected by one of its own, begun with ``otherwise``.
        """
        try:
            return await self._update(ref, "charge_invoice", command, InvoiceCollected)
        except Problem as problem:
            if problem.code != "subscription_ended" or otherwise is None:
                raise
        start = otherwise
        return await self._await_response(lambda: after_end.charge_invoice(self._client, self._queue, start, command))

    async def charge_one_off(self, command: ChargeInvoice) -> InvoiceCollected:
        """Collect an invoice without a subscription now. Raises ``Problem`` 409 if it is settled, 503."""
        return await self._send(invoice_workflow_id(command.invoice_id), "charge_invoice", command, InvoiceCollected)

    async def _update(self, ref: SubscriptionRef, name: str, command: Message, answers: type[_Answer]) -> _Answer:
        workflow_id = subscription_workflow_id(ref.project_id, ref.subscription_id)
        return await self._send(workflow_id, name, command, answers)

    async def _send(self, workflow_id: str, name: str, command: Message, answers: type[_Answer]) -> _Answer:
        """Send one update and wait for its answer; its id is the request's, so that a repetition finds the first."""
        request_id = str(command.model_dump(include={"request_id"})["request_id"])

        async def send() -> _Answer:
            handle = self._client.get_workflow_handle(workflow_id)
            answer = await handle.execute_update(name, command, id=f"{name}:{request_id}", result_type=answers)
            assert isinstance(answer, answers)
            return answer

        return await self._await_response(lambda: self._started_if_needed(workflow_id, send))

    async def _await_response(self, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Wait for an answer as long as the settings allow, and say in the API's words why there is none."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await _retry_until_accepted(ask)
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
            raise _no_response("No worker answered in time.") from error
        except WorkflowUpdateFailedError as error:
            raise _refusal(error) from error
        except RPCError as error:
            if error.status in _UNREACHABLE:
                raise _no_response("Temporal cannot be reached.") from error
            raise
        except RuntimeError as error:
            # What a lazy client raises while it cannot connect.
            raise _no_response("Temporal cannot be reached.") from error

    async def _started_if_needed(self, workflow_id: str, send: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Send a command; if its workflow is not there yet, deliver its start first and send again."""
        try:
            return await send()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
        await self._delivery.deliver_now(workflow_id)
        try:
            return await send()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            raise conflict("subscription_ended", "The subscription has ended and nothing of it is open.") from error

    async def _deliver(self, workflow_id: str) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._delivery.deliver_now(workflow_id)
        except (RPCError, TimeoutError, RuntimeError, Problem) as error:
            _LOG.warning("left_to_the_relay", workflow=workflow_id, error=str(error))


async def _retry_until_accepted(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Ask, and ask again when the server drops the question with the workflow task that was to answer it.

    It does so when the task would end the workflow while something else has come for it. A command's request id makes
    asking again safe.
    """
    while True:
        try:
            return await ask()
        except RPCError as error:
            if error.status != RPCStatusCode.FAILED_PRECONDITION:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)


def _no_response(why: str) -> Problem:
    return unavailable(
        "commands_unavailable",
        f"{why} The command may still happen. Repeat the request with the same Idempotency-Key to get its answer; "
        "without a key, read the subscription before you send it again.",
    )


def _refusal(error: WorkflowUpdateFailedError) -> Problem:
    """Translate the workflow's refusal by the type of its innermost application error."""
    cause: BaseException | None = error.cause
    while isinstance(cause, FailureError) and not isinstance(cause, ApplicationError) and cause.cause is not None:
        cause = cause.cause
    if isinstance(cause, ApplicationError) and cause.type in _REFUSALS:
        status, code = _REFUSALS[cause.type]
        return Problem(status, code, cause.message)
    _LOG.error("command_failed", exc_info=error)
    return Problem(500, "command_failed", "The subscription's workflow could not carry out the command; see its log.")
