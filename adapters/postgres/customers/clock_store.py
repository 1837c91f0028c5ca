"""Test clocks: frozen time that customers and their subscriptions live in (design section 6, C11).

A clock is `ready` at its frozen time, `advancing` to its target until every live subscription of it has processed what
is due by then, or `failed` while one of them has work that could not be done or a workflow that does not go on. A
subscription that is created, and a second advance, wait for `ready`: nothing may appear in the middle of time travel.
Locks are taken in the order subscriptions, then clock.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.outbox_store import enqueue_subscription_signal
from adapters.postgres.paging import Page, page_of
from adapters.postgres.rows import record, records
from models.identifiers import new_id, parse_id, shown_id
from models.messages.subscription import ClockAdvanced, ClockDeleted
from models.problems import conflict, invalid, not_found
from models.tables import customers, invoices, payment_attempts, subscriptions, test_clocks, usage_watermarks

FURTHEST_ADVANCE: Final = timedelta(days=3660)
"""How far one advance may go: ten years."""

#: How long a clock waits for what is due of a subscription whose workflow is over: longer, and it is stuck.
_LATE_WORK_WAITS: Final = timedelta(minutes=2)
_MOST: Final = 100

CLOCK_ADVANCED: Final = "clock_advanced"
CLOCK_DELETED: Final = "clock_deleted"

ClockStatus = Literal["ready", "advancing", "failed"]


@dataclass(frozen=True, slots=True)
class Clock:
    """A test clock; while it advances, `frozen_time` is the time it left and `target_time` where it goes."""

    id: UUID
    name: str | None
    frozen_time: datetime
    target_time: datetime | None
    status: ClockStatus
    failure: str | None
    deleted_at: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class Progress:
    """How many live subscriptions a clock has, and how many of them have reached its target (or its frozen time)."""

    subscriptions: int
    reached: int


async def create(connection: AsyncConnection, *, project_id: UUID, name: str | None, frozen_time: datetime) -> Clock:
    """Make a clock that stands still at an instant; `ready` at once."""
    statement = insert(test_clocks).values(id=new_id(), project_id=project_id, name=name, frozen_time=frozen_time)
    return record(Clock, (await connection.execute(statement.returning(test_clocks))).one())


async def find(connection: AsyncConnection, project_id: UUID, ref: str, *, lock: bool = False) -> Clock:
    """Find a clock that is not deleted by its shown id or uuid; raises `Problem` 404 `test_clock_not_found`.

    `lock` keeps it from advancing, and from being deleted, until the transaction ends.
    """
    found = parse_id(ref)
    if found is None:
        raise not_found("test_clock", ref)
    statement = select(test_clocks).where(
        test_clocks.c.id == found, test_clocks.c.project_id == project_id, test_clocks.c.deleted_at.is_(None)
    )
    row = (await connection.execute(statement.with_for_update() if lock else statement)).one_or_none()
    if row is None:
        raise not_found("test_clock", ref)
    return record(Clock, row)


async def listed(connection: AsyncConnection, project_id: UUID, page: Page) -> tuple[Sequence[Clock], int]:
    """List the clocks that are not deleted, newest first, and count them all."""
    condition = and_(test_clocks.c.project_id == project_id, test_clocks.c.deleted_at.is_(None))
    orderable: Mapping[str, ColumnElement[Any]] = {"frozen_time": test_clocks.c.frozen_time, "name": test_clocks.c.name}
    rows, total = await page_of(connection, test_clocks, page, condition, orderable=orderable)
    return records(Clock, rows), total


async def now(connection: AsyncConnection, test_clock_id: UUID | None) -> datetime:
    """Return the time that a customer or subscription lives in: its clock's frozen time, or the wall clock's (C11).

    While the clock advances this is the time it left: what is due in between has not all happened yet.
    """
    if test_clock_id is not None:
        frozen = await connection.scalar(select(test_clocks.c.frozen_time).where(test_clocks.c.id == test_clock_id))
        if isinstance(frozen, datetime):
            return frozen.astimezone(UTC)
    return datetime.now(UTC)


async def locked_now(connection: AsyncConnection, test_clock_id: UUID | None) -> datetime:
    """Return the time as `now` does, and keep the clock from advancing until the transaction ends.

    Raises `Problem` 409 `test_clock_advancing`, or `test_clock_deleted` if the clock is gone.
    """
    if test_clock_id is None:
        return datetime.now(UTC)
    statement = select(test_clocks).where(test_clocks.c.id == test_clock_id).with_for_update(read=True)
    clock = record(Clock, (await connection.execute(statement)).one())
    if clock.deleted_at is not None:
        raise conflict("test_clock_deleted", "The customer's test clock was deleted, and its time ended with it.")
    _must_be_ready(clock)
    return clock.frozen_time.astimezone(UTC)


async def advance(
    connection: AsyncConnection, project_id: UUID, ref: str, target: datetime
) -> tuple[Clock, list[UUID]]:
    """Send every live subscription of a clock forward to an instant; without any, the clock is there at once.

    Answers the clock and the subscriptions that are signalled.

    The signals are outbox rows of the same transaction. To the present instant changes nothing. Raises `Problem` 404,
    422 `clock_backwards` or `clock_too_far` (more than ten years), 409 `test_clock_advancing`.
    """
    clock = await find(connection, project_id, ref, lock=True)
    _must_be_ready(clock)
    _must_be_ahead(clock.frozen_time, target)
    called = await _with_work(connection, clock.id)
    await connection.execute(
        update(test_clocks)
        .where(test_clocks.c.id == clock.id)
        .values(status="advancing", target_time=target, failure=None, updated_at=func.clock_timestamp())
    )
    for subscription_id in called:
        await enqueue_subscription_signal(
            connection,
            project_id=project_id,
            subscription_id=subscription_id,
            signal=CLOCK_ADVANCED,
            message=ClockAdvanced(frozen_time=target),
        )
    await mark_ready_if_idle(connection, clock.id)
    return await find(connection, project_id, ref), called


async def reached(
    connection: AsyncConnection, subscription_id: UUID, frozen_time: datetime, *, finished: bool = False
) -> bool:
    """Note that a subscription has processed everything due by `frozen_time`; returns whether its clock is now ready.

    One that is `finished` takes part no more. The workflow's activity calls it after each `clock_advanced` signal;
    again, late or twice is harmless. Safe for a subscription without a clock.
    """
    columns = subscriptions.c
    noted = await connection.execute(
        update(subscriptions)
        .where(columns.id == subscription_id)
        .values(
            clock_reached_at=func.greatest(columns.clock_reached_at, frozen_time),
            **({"left_clock_at": func.clock_timestamp()} if finished else {}),
        )
        .returning(columns.test_clock_id)
    )
    clock_id = noted.scalar_one_or_none()
    return False if clock_id is None else await mark_ready_if_idle(connection, clock_id)


async def mark_ready_if_idle(connection: AsyncConnection, clock_id: UUID) -> bool:
    """Make a clock ready if nothing holds it back any more; returns whether it is ready.

    To be called, too, when a subscription of the clock ends while others are still on their way.
    """
    clock = (
        await connection.execute(select(test_clocks).where(test_clocks.c.id == clock_id).with_for_update())
    ).one_or_none()
    if clock is None or clock.status == "ready":
        return clock is not None
    # Statements of their own after the lock: they see what the transaction before us committed.
    parked = await _parked(connection, clock_id)
    if clock.target_time is not None and await _anyone_behind(connection, clock_id, clock.target_time):
        if parked is None and clock.status == "failed":
            await _set(connection, clock_id, status="advancing", failure=None)
        return False
    frozen_time = clock.target_time or clock.frozen_time
    status = "ready" if parked is None else "failed"
    await _set(connection, clock_id, status=status, frozen_time=frozen_time, target_time=None, failure=parked)
    return parked is None


async def _anyone_behind(connection: AsyncConnection, clock_id: UUID, target: datetime) -> bool:
    """Return whether something of a participant is due: its workflow is on its way, or late usage is not billed yet."""
    columns = subscriptions.c
    is_dirty = exists().where(
        usage_watermarks.c.subscription_id == columns.id,
        usage_watermarks.c.version > usage_watermarks.c.signalled_version,
    )
    recently = func.clock_timestamp() - _LATE_WORK_WAITS
    is_collecting = exists().where(
        invoices.c.subscription_id == columns.id,
        invoices.c.status == "issued",
        invoices.c.auto_collect,
        invoices.c.created_at > recently,
        ~exists().where(payment_attempts.c.invoice_id == invoices.c.id),
    )
    late = and_(columns.ended_at.is_not(None), or_(is_dirty, columns.late_usage_at > recently))
    left = and_(columns.left_clock_at.is_not(None), is_collecting)
    behind = and_(columns.left_clock_at.is_(None), _is_behind(target))
    statement = select(columns.id).where(columns.test_clock_id == clock_id, or_(behind, late, left)).limit(1)
    return (await connection.execute(statement)).first() is not None


async def settle_advancing(connection: AsyncConnection) -> None:
    """Look once more at the clocks that go somewhere: what they waited for may have happened (system scope)."""
    going = and_(test_clocks.c.target_time.is_not(None), test_clocks.c.deleted_at.is_(None))
    found = await connection.execute(select(test_clocks.c.id).where(going).order_by(test_clocks.c.id).limit(_MOST))
    for clock_id in found.scalars().all():
        await mark_ready_if_idle(connection, clock_id)


async def _parked(connection: AsyncConnection, clock_id: UUID) -> str | None:
    """Return which subscription of a clock has work that could not be done, and why."""
    columns = subscriptions.c
    statement = (
        select(columns.id, columns.needs_attention)
        .where(columns.test_clock_id == clock_id, columns.needs_attention.is_not(None))
        .order_by(columns.id)
        .limit(1)
    )
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _reason(row.id, row.needs_attention)


def _reason(subscription_id: UUID, reason: str) -> str:
    return f"{shown_id('subscription', subscription_id)}: {reason}"[:1000]


async def _set(connection: AsyncConnection, clock_id: UUID, **values: Any) -> None:
    statement = update(test_clocks).where(test_clocks.c.id == clock_id)
    await connection.execute(statement.values(**values, updated_at=func.clock_timestamp()))


async def failed(connection: AsyncConnection, subscription_id: UUID, reason: str) -> None:
    """Note that a subscription of an advancing clock cannot go on: the clock stands `failed` with the reason.

    It goes back to `ready` when everything has reached the target after all and nothing is parked any more, and to
    `advancing` when it is sent on.
    """
    clock_of = select(subscriptions.c.test_clock_id).where(subscriptions.c.id == subscription_id).scalar_subquery()
    await connection.execute(
        update(test_clocks)
        .where(test_clocks.c.id == clock_of, test_clocks.c.status == "advancing")
        .values(status="failed", failure=_reason(subscription_id, reason), updated_at=func.clock_timestamp())
    )


@dataclass(frozen=True)
class LaggingSubscription:
    """A subscription that has not reached where its clock goes, long after the clock last moved."""

    clock_id: UUID
    project_id: UUID
    subscription_id: UUID
    target_time: datetime


async def lagging(connection: AsyncConnection, *, quiet: timedelta, most: int) -> list[LaggingSubscription]:
    """List subscriptions that hold back a clock which did nothing for so long (system scope), the oldest first."""
    columns = (test_clocks.c.id, test_clocks.c.project_id, subscriptions.c.id, test_clocks.c.target_time)
    behind = and_(subscriptions.c.left_clock_at.is_(None), _is_behind(test_clocks.c.target_time))
    statement = (
        select(*columns)
        .select_from(test_clocks.join(subscriptions, subscriptions.c.test_clock_id == test_clocks.c.id))
        .where(
            test_clocks.c.target_time.is_not(None),
            test_clocks.c.deleted_at.is_(None),
            test_clocks.c.updated_at < func.clock_timestamp() - quiet,
            behind,
        )
        .order_by(subscriptions.c.id)
        .limit(most)
    )
    return [LaggingSubscription(*row) for row in await connection.execute(statement)]


async def resend_clock(connection: AsyncConnection, late: LaggingSubscription) -> None:
    """Tell a subscription once more where its clock goes; one that knows it does nothing."""
    await enqueue_subscription_signal(
        connection,
        project_id=late.project_id,
        subscription_id=late.subscription_id,
        signal=CLOCK_ADVANCED,
        message=ClockAdvanced(frozen_time=late.target_time),
    )
    await _set(connection, late.clock_id)


async def progress(connection: AsyncConnection, clock_ids: Collection[UUID]) -> dict[UUID, Progress]:
    """Count the live subscriptions of clocks, and those that have reached where their clock goes (or stands)."""
    columns = subscriptions.c
    behind = and_(test_clocks.c.target_time.is_not(None), _is_behind(test_clocks.c.target_time))
    counted = (
        select(columns.test_clock_id, func.count(), func.count().filter(behind))
        .select_from(subscriptions.join(test_clocks, test_clocks.c.id == columns.test_clock_id))
        .where(columns.test_clock_id.in_(clock_ids), columns.ended_at.is_(None))
        .group_by(columns.test_clock_id)
    )
    found = {row[0]: Progress(row[1], row[1] - row[2]) for row in (await connection.execute(counted)).all()}
    return {clock_id: found.get(clock_id, Progress(0, 0)) for clock_id in clock_ids}


async def delete(connection: AsyncConnection, project_id: UUID, ref: str) -> tuple[Clock, list[UUID]]:
    """Delete a clock: its subscriptions end in its time without another invoice, and its customers go with it.

    Their invoices stay. Answers the clock and the subscriptions that are signalled. Raises `Problem` 404, or 409
    `test_clock_advancing`.
    """
    clock = await find(connection, project_id, ref)
    called = await _with_work(connection, clock.id)
    live = await _live_locked(connection, clock.id)
    clock = await find(connection, project_id, ref, lock=True)
    _must_be_ready(clock)
    for subscription_id in called:
        await enqueue_subscription_signal(
            connection,
            project_id=project_id,
            subscription_id=subscription_id,
            signal=CLOCK_DELETED,
            message=ClockDeleted(),
        )
    gone = func.clock_timestamp()
    await connection.execute(
        update(subscriptions)
        .where(subscriptions.c.id.in_(live))
        .values(status="terminated", ended_at=clock.frozen_time, updated_at=gone)
    )
    await connection.execute(
        update(customers)
        .where(customers.c.test_clock_id == clock.id, customers.c.deleted_at.is_(None))
        .values(deleted_at=gone, updated_at=gone)
    )
    await connection.execute(
        update(test_clocks).where(test_clocks.c.id == clock.id).values(deleted_at=gone, updated_at=gone)
    )
    return clock, called


def _must_be_ready(clock: Clock) -> None:
    if clock.status == "advancing":
        raise conflict(
            "test_clock_advancing", "The test clock is advancing; wait until its status is ready.", retryable=True
        )


def _must_be_ahead(frozen: datetime, target: datetime) -> None:
    if target < frozen:
        raise invalid("frozen_time", f"is before the clock's {frozen.isoformat()}: forward only", "clock_backwards")
    if target - frozen > FURTHEST_ADVANCE:
        raise invalid("frozen_time", "is more than ten years ahead; advance in parts", "clock_too_far")


def _is_live(clock_id: UUID) -> ColumnElement[bool]:
    """A subscription that has not ended; one that is canceled lives until its period's end."""
    return and_(subscriptions.c.test_clock_id == clock_id, subscriptions.c.ended_at.is_(None))


def _is_behind(target: datetime | ColumnElement[Any]) -> ColumnElement[bool]:
    at = subscriptions.c.clock_reached_at
    return or_(at.is_(None), at < target)


async def _live_locked(connection: AsyncConnection, clock_id: UUID) -> list[UUID]:
    statement = select(subscriptions.c.id).where(_is_live(clock_id)).order_by(subscriptions.c.id).with_for_update()
    return list((await connection.execute(statement)).scalars())


async def _with_work(connection: AsyncConnection, clock_id: UUID) -> list[UUID]:
    """List the subscriptions whose workflows must hear of the clock: participants, and ended ones with open invoices.

    A subscription takes part until it has ended and everything of it is billed and settled.
    """
    unsettled = exists().where(
        invoices.c.subscription_id == subscriptions.c.id, invoices.c.status.in_(("issued", "overdue", "failed"))
    )
    condition = and_(subscriptions.c.test_clock_id == clock_id, or_(subscriptions.c.left_clock_at.is_(None), unsettled))
    statement = select(subscriptions.c.id).where(condition).order_by(subscriptions.c.id)
    return list((await connection.execute(statement)).scalars())
