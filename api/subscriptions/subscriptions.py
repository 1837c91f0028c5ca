"""Subscriptions: create, list, read and change them; ABAXUS's, UsageBox's and BoxBilling's bodies (conflicts C21)."""

from typing import Annotated, Final, cast

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

from adapters.postgres import resolver
from adapters.postgres.alerts import alert_store
from adapters.postgres.journal import audit_store
from adapters.postgres.subscriptions import lifecycle_store, subscription_store
from adapters.postgres.subscriptions.subscription_store import Subscription, SubscriptionFilter, TermsChange
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import created, reply
from api.http.routing import resource_router
from api.subscriptions.subscription_actions import (
    DeskDep,
    SubscriptionCommandContext,
    carry_out,
    command_of,
    migrate_to,
)
from api.subscriptions.subscription_shapes import (
    RESERVED_IDS,
    CollectionChange,
    NewSubscription,
    Reference,
    SubscriptionChange,
    SubscriptionDocument,
    refuse_fixed_terms,
)
from api.subscriptions.subscription_terms import first_state, recorded_terms
from billing.subscriptions import alert_state
from models.identifiers import new_id
from models.problems import conflict, invalid
from models.tables.customers import SUBSCRIPTION_STATUSES

router = resource_router("subscriptions")

_EDITABLE: Final = TermsChange.__optional_keys__
#: What may be changed after the end, too: the caller's own notes.
_NOTES: Final = {"external_reference", "metadata"}
_MAY_BE_EMPTY: Final = ("external_reference", "contract")


class ListQuery(BaseModel):
    """Which subscriptions are listed; what is not given is any."""

    customer_id: Reference | None = Field(default=None, description="Any name of a customer.")
    plan_id: Reference | None = Field(default=None, description="Any name of a plan.")
    status: str | None = Field(default=None, max_length=32, description="One status, in any case.")
    external_reference: Reference | None = None
    external_id: Reference | None = None


@router.post(
    "/subscriptions",
    status_code=201,
    response_model=SubscriptionDocument,
    operation_id="create_subscription",
    summary="Create a subscription",
)
async def create_subscription(body: NewSubscription, desk: DeskDep) -> Response:
    """Subscribe a customer to the newest version of a plan, and start the subscription's workflow.

    A start in the past, or none, begins now (`active`, or `trialing`); one ahead waits (`pending`). A BoxBilling body
    without a start waits for `/activate`. Periods that ended before now are billed on demand only, unless
    `backdate_billing` is `automatic`.
    """
    return created(await subscribe(body, desk))


async def subscribe(body: NewSubscription, desk: SubscriptionCommandContext) -> SubscriptionDocument:
    """Create a subscription and answer with its document; the workflow starts now, or when Temporal is back.

    Raises `Problem` 404 for an unknown customer or plan, 409 `subscription_exists`, `plan_archived`,
    `test_clock_advancing`, 422 `end_before_start` (B82-B84, C25).
    """
    if body.external_id in RESERVED_IDS:
        raise invalid("external_id", "is a word of the API; choose another id", "reserved_id")
    async with desk.caller.begin(desk.database) as begun:
        found = await subscription_store.resolve_references(
            begun.connection, begun.scope, customer=body.customer_id, plan=body.plan_id
        )
        state = first_state(body, found, new_id())
        await subscription_store.create(begun.connection, state, recorded_terms(body, found))
        tx = begun.at(found.now)
        await tx.audit(
            resource_type="subscription",
            resource_id=state.subscription_id,
            action="created",
            title="Subscription created",
            data={"status": state.status, "plan": state.plan_code, "plan_version": state.plan_version},
        )
        await lifecycle_store.announce_started(tx, state, at=found.now)
        state = (
            alert_state.evaluation_requested(state)
            if await alert_store.is_watched(tx.connection, state.plan_id)
            else state
        )
        await tx.enqueue_subscription_start(state)
        row = await subscription_store.view_by_id(tx.connection, state.subscription_id)
    await desk.commands.start_subscription(desk.subscription(row.id))
    return desk.show(row)


@router.get(
    "/subscriptions",
    response_model=list[SubscriptionDocument],
    responses=LISTED,
    operation_id="list_subscriptions",
    summary="List subscriptions",
)
async def list_subscriptions(
    request: Request, desk: DeskDep, page: PageDep, wanted: Annotated[ListQuery, Query()]
) -> Response:
    """List the project's subscriptions, newest first. An unknown customer or plan gives an empty list."""
    caller = desk.caller
    async with desk.database.transaction(caller.scope) as connection:
        customer = await subscription_store.wanted_id(
            connection, caller.project_id, resolver.CUSTOMER, wanted.customer_id
        )
        plan = await subscription_store.wanted_id(connection, caller.project_id, resolver.PLAN, wanted.plan_id)
        chosen = SubscriptionFilter(
            customer_id=customer,
            plan_id=plan,
            status=_status(wanted.status),
            external_reference=wanted.external_reference,
            external_id=wanted.external_id,
        )
        rows, total = await subscription_store.listed(connection, caller.project_id, chosen, page)
    return listed_as(desk.show, page, rows, total, request)


def _status(text: str | None) -> str | None:
    if text is None or text.lower() in SUBSCRIPTION_STATUSES:
        return text.lower() if text else None
    raise invalid("status", f"must be one of {', '.join(SUBSCRIPTION_STATUSES)}")


@router.get(
    "/subscriptions/{subscription_id}",
    response_model=SubscriptionDocument,
    operation_id="get_subscription",
    summary="Read a subscription",
)
async def get_subscription(subscription_id: str, desk: DeskDep) -> Response:
    """Read one subscription by its id, uuid, external id, external reference or ingest key."""
    return reply(desk.show(await desk.find(subscription_id)))


@router.patch(
    "/subscriptions",
    response_model=SubscriptionDocument,
    operation_id="change_subscription_of_the_collection",
    summary="Change the subscription named in the body or in ?id=",
)
async def patch_collection(
    body: CollectionChange,
    desk: DeskDep,
    id: Annotated[Reference | None, Query(description="The subscription, if the body does not name it.")] = None,
) -> Response:
    """Change a subscription; UsageBox's form without an id in the path (conflicts C18)."""
    ref = body.id or id
    if ref is None:
        raise invalid("id", "is required: in the body or as ?id=", "missing")
    return reply(await _change(ref, body, desk))


@router.patch(
    "/subscriptions/{subscription_id}",
    response_model=SubscriptionDocument,
    operation_id="change_subscription",
    summary="Change a subscription",
)
async def patch_subscription(subscription_id: str, body: SubscriptionChange, desk: DeskDep) -> Response:
    """Pause, resume or cancel by status, edit terms, move to another plan; what is not given stays."""
    return reply(await _change(subscription_id, body, desk))


@router.put(
    "/subscriptions/{subscription_id}",
    response_model=SubscriptionDocument,
    operation_id="update_subscription",
    summary="Change a subscription (BoxBilling)",
)
async def put_subscription(subscription_id: str, body: SubscriptionChange, desk: DeskDep) -> Response:
    """Do the same as PATCH: what is not given stays (conflicts C18)."""
    return reply(await _change(subscription_id, body, desk))


async def _change(ref: str, body: SubscriptionChange, desk: SubscriptionCommandContext) -> SubscriptionDocument:
    """Carry out the commands that a change means, then edit the terms; historical usage is never touched (B85)."""
    row = await desk.find(ref)
    command = command_of(body, row)
    refuse_fixed_terms(body, row)
    if body.plan_id is not None:
        await migrate_to(row, desk, plan=body.plan_id, plan_version=None)
    if command is not None:
        await carry_out(command, row, desk, on_termination=body.on_termination_action or row.on_termination_action)
    await _edit(row, body, desk)
    return desk.show(await desk.find(row.id))


async def _edit(row: Subscription, body: SubscriptionChange, desk: SubscriptionCommandContext) -> None:
    """Write the terms that changed, with their audit entry."""
    before = {name: getattr(row, name) for name in _EDITABLE}
    values = {
        name: value
        for name in before.keys() & body.model_fields_set
        if (value := getattr(body, name)) != before[name] and (value is not None or name in _MAY_BE_EMPTY)
    }
    if not values:
        return
    terms = sorted(values.keys() - _NOTES)
    if row.ended_at is not None and terms:
        raise conflict(
            "subscription_ended",
            f"The subscription is {row.status}: its {', '.join(terms)} cannot be changed any more, only its metadata "
            "and external_reference.",
        )
    async with desk.caller.begin(desk.database) as tx:
        await subscription_store.edit(tx.connection, row.id, cast(TermsChange, values))
        await tx.audit(
            resource_type="subscription",
            resource_id=row.id,
            action="updated",
            title="Terms changed",
            changes=audit_store.changes_between(before, values),
        )
