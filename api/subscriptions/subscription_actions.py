"""Commands to subscriptions: activate, pause, resume, suspend, reinstate, cancel, terminate, migrate.

Each is an update of the subscription's workflow, answered when the record has it (B38, B86, C23). What the status
forbids is refused here at once (409), and by the workflow, which decides.
"""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, get_args
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from adapters.postgres import resolver
from adapters.postgres.catalogue import plan_store
from adapters.postgres.customers import clock_store
from adapters.postgres.database import Database
from adapters.postgres.rows import AsyncConnection, Row
from adapters.postgres.subscriptions import subscription_store
from adapters.postgres.subscriptions.subscription_store import Subscription
from api.http.commands import Commands
from api.http.deps import Caller, CallerDep, CommandsDep, DatabaseDep
from api.http.responses import no_content, reply
from api.http.routing import resource_router
from api.subscriptions.subscription_shapes import (
    Reference,
    SubscriptionChange,
    SubscriptionDocument,
    TerminationAction,
    shown_status,
)
from billing.subscriptions import subscription as rules
from billing.subscriptions.pauses import PauseBehavior
from billing.subscriptions.subscription import IllegalTransition
from models.messages.base import SubscriptionRef
from models.messages.subscription import Activate, Cancel, MigratePlan, Pause, Reinstate, Resume, Suspend
from models.problems import conflict, invalid, not_found

router = resource_router("subscriptions")

Command = Literal["activate", "pause", "resume", "suspend", "reinstate", "cancel", "terminate"]
_COMMANDS: Final[tuple[Command, ...]] = get_args(Command)
#: What makes a subscription active that is in this status; any other one is resumed.
_ACTIVATING: Final[dict[str, Command]] = {"pending": "activate", "suspended": "reinstate"}
#: The command that leads to a status.
_LEADING_TO: Final[dict[str, Command]] = {
    "paused": "pause",
    "suspended": "suspend",
    "canceled": "cancel",
    "cancelled": "cancel",
    "terminated": "terminate",
}

#: How long a subscription that nothing was used or billed of counts as just made: another version mends the order.
_MENDED_WITHIN: Final = timedelta(days=1)

TerminationQuery = Annotated[TerminationAction | None, Query(description="What the end does; else as the row says.")]


@dataclass(frozen=True)
class SubscriptionCommandContext:
    """What handling a command takes: who asks, the record, the way to the workflows, and the request's name."""

    caller: Caller
    database: Database
    commands: Commands
    request_id: str

    def subscription(self, subscription_id: UUID) -> SubscriptionRef:
        """Name a subscription of the caller's project to its workflow."""
        return SubscriptionRef(
            organization_id=self.caller.organization_id,
            project_id=self.caller.project_id,
            subscription_id=subscription_id,
        )

    async def find(self, ref: str | UUID) -> Subscription:
        """Read a subscription by any of its names, or by its uuid. Raises `Problem` 404."""
        async with self.database.transaction(self.caller.scope) as connection:
            if isinstance(ref, UUID):
                return await subscription_store.view_by_id(connection, ref)
            return await subscription_store.view(connection, self.caller.project_id, ref)

    def show(self, row: Subscription) -> SubscriptionDocument:
        """Show a subscription."""
        return SubscriptionDocument.of(row, self.caller.organization_id)


def _desk(
    request: Request, caller: CallerDep, database: DatabaseDep, commands: CommandsDep
) -> SubscriptionCommandContext:
    # The client's idempotency key makes a repeated POST find the first one; other methods have no such key.
    key = request.headers.get("idempotency-key") if request.method == "POST" else None
    return SubscriptionCommandContext(caller, database, commands, key or uuid.uuid4().hex)


DeskDep = Annotated[SubscriptionCommandContext, Depends(_desk)]


class Migration(BaseModel):
    """Which version to move to; the plan's newest if none is named."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"plan_version": 2}]})

    plan_version: int | None = Field(default=None, ge=1, le=1_000_000)
    plan_id: Reference | None = Field(default=None, description="The plan; the subscription's own if not given.")
    effective: Literal["now", "next_period"] | None = Field(
        default=None,
        description="With the next period, or `now`: before the first billing period, at the very start of a period, "
        "or on the first day of a subscription of which nothing was used or billed. Without it: now if possible.",
    )
    effective_at: Any = Field(default=None, exclude=True, description="Refused: a change waits for the next period.")

    @field_validator("effective_at")
    @classmethod
    def _no_instant(cls, value: Any) -> None:
        if value is not None:
            raise ValueError("a version change applies from the next period; leave effective_at out")


class PauseBody(BaseModel):
    """What becomes of the paused time."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"behavior": "skip"}]})

    behavior: PauseBehavior = Field(
        default="skip",
        description="`skip`: no fees, usage is kept unbilled; `void`: no fees, usage is refused; `keep_billing`: both "
        "are billed.",
    )


class SuspensionBody(BaseModel):
    """Why the service is withheld."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"reason": "Chargeback under review"}]})

    reason: Annotated[str, StringConstraints(max_length=500, strip_whitespace=True)] | None = Field(
        default=None, description="Told in the audit log, the webhook and the Temporal UI."
    )


def command_of(change: SubscriptionChange, row: Subscription) -> Command | None:
    """Return the command that a PATCH means, by `action` or by the wanted `status`; in any case (C22, C23).

    Raises `Problem` 422 for a word that means none.
    """
    if change.action is not None:
        return _known("action", change.action)
    if change.status is None:
        return None
    wanted = change.status.lower()
    if wanted == "active":
        return _ACTIVATING.get(row.status, "resume")
    command = _LEADING_TO.get(wanted)
    if command is None:
        raise invalid("status", "can be set to active, paused, suspended, canceled or terminated")
    return command


def _known(field: str, text: str) -> Command:
    for command in _COMMANDS:
        if text.lower() == command:
            return command
    raise invalid(field, f"must be one of {', '.join(_COMMANDS)}")


def check(command: Command, row: Subscription) -> None:
    """Refuse what the subscription's status does not allow, without asking its workflow. Raises `Problem` 409."""
    status = shown_status(row)
    again = command == "cancel" and row.canceled_at is not None
    try:
        rules.transition(row.status, command)
    except IllegalTransition as error:
        raise conflict(
            "illegal_transition", str(error)[:1].upper() + str(error)[1:] + ".", subscription_status=status
        ) from None
    if again:
        raise conflict("illegal_transition", "The subscription is canceled already.", subscription_status=status)


async def carry_out(
    command: Command,
    row: Subscription,
    desk: SubscriptionCommandContext,
    *,
    on_termination: str,
    reason: str | None = None,
    behavior: PauseBehavior = "skip",
) -> None:
    """Send one command and wait until the record has it. Raises `Problem` 409 or 503 `commands_unavailable`."""
    check(command, row)
    # A workflow remembers requests by their names alone, so one key may serve two different commands.
    ref, request_id, commands = desk.subscription(row.id), f"{command}:{desk.request_id}", desk.commands
    match command:
        case "activate":
            await commands.activate(ref, Activate(request_id=request_id))
        case "pause":
            await commands.pause(ref, Pause(request_id=request_id, behavior=behavior))
        case "resume":
            await commands.resume(ref, Resume(request_id=request_id))
        case "suspend":
            await commands.suspend(ref, Suspend(request_id=request_id, reason=reason))
        case "reinstate":
            await commands.reinstate(ref, Reinstate(request_id=request_id))
        case "cancel" | "terminate":
            cancel = Cancel(request_id=request_id, immediately=command == "terminate", on_termination=on_termination)
            await commands.cancel(ref, cancel)


async def act(
    command: Command,
    ref: str,
    desk: SubscriptionCommandContext,
    *,
    on_termination: str | None = None,
    reason: str | None = None,
    behavior: PauseBehavior = "skip",
) -> SubscriptionDocument:
    """Find a subscription, send it a command, and show what it is then. Raises `Problem` 404, 409, 503."""
    row = await desk.find(ref)
    ends = on_termination or row.on_termination_action
    await carry_out(command, row, desk, on_termination=ends, reason=reason, behavior=behavior)
    return desk.show(await desk.find(row.id))


@router.post(
    "/subscriptions/{subscription_id}/activate",
    response_model=SubscriptionDocument,
    operation_id="activate_subscription",
    summary="Start a pending subscription now",
)
async def activate(subscription_id: str, desk: DeskDep) -> Response:
    """Start a pending subscription: its periods run from now."""
    return reply(await act("activate", subscription_id, desk))


@router.post(
    "/subscriptions/{subscription_id}/pause",
    response_model=SubscriptionDocument,
    operation_id="pause_subscription",
    summary="Pause a subscription",
)
async def pause(subscription_id: str, desk: DeskDep, body: PauseBody | None = None) -> Response:
    """Pause: what was used before is billed at the period's end, fees stop for the paused time (B85, R21)."""
    return reply(await act("pause", subscription_id, desk, behavior=body.behavior if body else "skip"))


@router.post(
    "/subscriptions/{subscription_id}/resume",
    response_model=SubscriptionDocument,
    operation_id="resume_subscription",
    summary="Resume a paused subscription",
)
async def resume(subscription_id: str, desk: DeskDep) -> Response:
    """Resume a paused subscription: fees run again, and the period's end bills its active time."""
    return reply(await act("resume", subscription_id, desk))


@router.post(
    "/subscriptions/{subscription_id}/suspend",
    response_model=SubscriptionDocument,
    operation_id="suspend_subscription",
    summary="Suspend an active subscription",
)
async def suspend(subscription_id: str, desk: DeskDep, body: SuspensionBody | None = None) -> Response:
    """Withhold the service until it is reinstated: nothing can be reserved; usage is still taken and billed (C23)."""
    return reply(await act("suspend", subscription_id, desk, reason=body.reason or None if body else None))


@router.post(
    "/subscriptions/{subscription_id}/reinstate",
    response_model=SubscriptionDocument,
    operation_id="reinstate_subscription",
    summary="Reinstate a suspended subscription",
)
async def reinstate(subscription_id: str, desk: DeskDep) -> Response:
    """Give the service back, also to one that was suspended by itself for unpaid invoices, which stay open."""
    return reply(await act("reinstate", subscription_id, desk))


@router.post(
    "/subscriptions/{subscription_id}/cancel",
    response_model=SubscriptionDocument,
    operation_id="cancel_subscription",
    summary="Cancel a subscription at its period's end",
)
async def cancel(subscription_id: str, desk: DeskDep, on_termination_action: TerminationQuery = None) -> Response:
    """End the subscription with its current period, which is billed; it shows as canceled from now on (C23)."""
    return reply(await act("cancel", subscription_id, desk, on_termination=on_termination_action))


@router.delete(
    "/subscriptions/{subscription_id}",
    status_code=204,
    response_class=Response,
    operation_id="terminate_subscription",
    summary="Terminate a subscription now",
)
async def terminate(subscription_id: str, desk: DeskDep, on_termination_action: TerminationQuery = None) -> Response:
    """End the subscription at once, with a final invoice unless `on_termination_action` is `skip` (C23)."""
    await act("terminate", subscription_id, desk, on_termination=on_termination_action)
    return no_content()


@router.post(
    "/subscriptions/{subscription_id}/migrate",
    response_model=SubscriptionDocument,
    operation_id="migrate_subscription",
    summary="Move a subscription to another plan version",
)
async def migrate(subscription_id: str, body: Migration, desk: DeskDep) -> Response:
    """Move a subscription, which stays pinned to its version otherwise, to another one (B37, B38)."""
    row = await desk.find(subscription_id)
    await migrate_to(row, desk, plan=body.plan_id, plan_version=body.plan_version, effective=body.effective)
    return reply(desk.show(await desk.find(row.id)))


async def migrate_to(
    row: Subscription,
    desk: SubscriptionCommandContext,
    *,
    plan: str | None,
    plan_version: int | None,
    effective: Literal["now", "next_period"] | None = None,
) -> None:
    """Ask the workflow to move to a version of a plan, the newest by default; to the present one takes a change back.

    What was used in the running period keeps its price: the change waits for the next period unless nothing of this one
    can be re-rated (R15, R25). Raises `Problem` 404 `plan_not_found`, `plan_version_not_found`, 409 for another plan
    than the subscription's, a version in another currency or with another interval, or an ended subscription, 422 for
    `effective` now in the middle of a period, 503.
    """
    async with desk.database.transaction(desk.caller.scope) as connection:
        plan_id = row.plan_id
        if plan is not None:
            plan_id = (await resolver.required(connection, desk.caller.project_id, resolver.PLAN, plan)).id
        wanted = (
            await plan_store.current_version(connection, plan_id)
            if plan_version is None
            else await plan_store.version_numbered(connection, plan_id, plan_version)
        )
        at_once = await _may_change_at_once(connection, row)
    if wanted is None:
        raise not_found("plan_version", plan_version)
    _must_be_compatible(wanted, row, plan_id=plan_id)
    if effective == "now" and not at_once and wanted.version_id != row.plan_version_id:
        raise invalid("effective", "in the middle of a period a change waits for the next one; send next_period")
    message = MigratePlan(
        request_id=f"migrate:{desk.request_id}",
        plan_version_id=wanted.version_id,
        plan_version=wanted.version,
        at_period_end=effective == "next_period" or not at_once,
    )
    await desk.commands.migrate(desk.subscription(row.id), message)


def _must_be_compatible(wanted: Row[Any], row: Subscription, *, plan_id: UUID) -> None:
    """Refuse a version that the subscription's cycle and invoices cannot take. Raises `Problem` 409."""
    if plan_id != row.plan_id:
        raise conflict("other_plan", "A subscription moves between versions of its plan; subscribe to the other plan.")
    if row.ended_at is not None:
        raise conflict("illegal_transition", f"A subscription that is {row.status} cannot migrate.")
    if wanted.currency.upper() != row.plan_currency.upper():
        raise conflict(
            "other_currency",
            f"The subscription is billed in {row.plan_currency.upper()}, version {wanted.version} is priced in "
            f"{wanted.currency.upper()}, and an invoice has one currency; subscribe to the plan anew.",
        )
    if wanted.interval != row.interval:
        raise conflict(
            "other_interval",
            f"The subscription is billed {row.interval}, version {wanted.version} is {wanted.interval}: cancel the "
            "subscription and subscribe to the plan anew.",
        )


async def _may_change_at_once(connection: AsyncConnection, row: Subscription) -> bool:
    """Return whether nothing that was used or billed of the running period would get another price."""
    if row.status in ("pending", "trialing"):
        return True
    now = await clock_store.now(connection, row.test_clock_id)
    if row.current_period_start is not None and now <= row.current_period_start:
        return True
    is_new = row.test_clock_id is None and now - row.created_at < _MENDED_WITHIN
    return is_new and await subscription_store.is_untouched(connection, row.id)
