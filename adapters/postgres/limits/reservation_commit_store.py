"""What becomes of reservations: committed with the real quantity, released, read, forgotten.

A commit stores the usage event through the ordinary ingestion and closes the reservation in one transaction, so that a
check sees the quantity either as reserved or as used, never as both or as neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import psycopg
from sqlalchemy import ColumnElement, Select, case, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.arrays import uuids
from adapters.postgres.database import Database, ProjectScope, with_commit
from adapters.postgres.events.ingest_events import IngestEvent, Outcome, PresentedKey, Submission
from adapters.postgres.events.ingest_lookup import looked_up
from adapters.postgres.events.ingest_store import ingest_within
from adapters.postgres.limits.reservation_expiry_store import ADD_CHANGED
from adapters.postgres.limits.reservation_store import KeyChanged
from adapters.postgres.paging import Page, paged
from adapters.postgres.rows import record, records
from billing.numbers import plain
from models.identifiers import parse_id, shown_id
from models.problems import Problem, conflict, not_found
from models.tables import metrics, usage_reservations

KEPT: Final = timedelta(days=30)
"""How long a settled or expired reservation can be read; its event stays for ever."""

_SOURCE: Final = "reservation"
_table = usage_reservations.c

# Shared with its like; whoever reserves waits, so that none of these expires before the end of the transaction.
_SHARE: Final = """
    SELECT l.id FROM usage_limits l
    WHERE l.subscription_id IN (SELECT r.subscription_id FROM usage_reservations r WHERE r.id = ANY(%(ids)s))
    ORDER BY l.id FOR SHARE OF l
"""
_LOCK: Final = """
    SELECT r.id, r.subscription_id, m.key, r.quantity, r.properties,
           CASE r.status WHEN 'expired' THEN 'open' ELSE r.status END, r.committed_quantity, r.event_id, r.expires_at,
           r.created_at, r.expires_at <= clock_timestamp(), CASE r.status WHEN 'open' THEN r.quantity ELSE 0 END
    FROM usage_reservations r JOIN metrics m ON m.id = r.metric_id
    WHERE r.id = ANY(%(ids)s) ORDER BY r.id FOR UPDATE OF r
"""
_SETTLE: Final = f"""
    WITH changed AS (
        UPDATE usage_reservations r SET status = s.status, committed_quantity = s.quantity, event_id = s.event_id,
               settled_at = clock_timestamp()
        FROM unnest(%(ids)s::uuid[], %(statuses)s::text[], %(quantities)s::numeric[], %(events)s::uuid[],
                    %(freed)s::numeric[]) AS s (id, status, quantity, event_id, freed)
        WHERE r.id = s.id
        RETURNING r.project_id, r.subscription_id, r.metric_id, -s.freed AS quantity
    ) {ADD_CHANGED}
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True)
class ReservationCommit:
    """One request to commit a reservation, or to release it when ``commit`` is False.

    ``quantity`` None commits all that was reserved. ``key`` is the event's idempotency key, by default the
    reservation's id; ``properties`` replace those of the reservation.
    """

    ref: str
    commit: bool
    quantity: Decimal | None = None
    key: str | None = None
    properties: dict[str, Any] | None = None
    presented: PresentedKey | None = None


@dataclass(slots=True)
class Reservation:
    """A quantity that was reserved, and what became of it."""

    id: UUID
    subscription_id: UUID
    metric_key: str
    quantity: Decimal
    properties: dict[str, Any] | None
    status: str
    committed_quantity: Decimal | None
    event_id: UUID | None
    expires_at: datetime
    created_at: datetime


@dataclass(slots=True)
class _Locked(Reservation):
    """A reservation that is being settled; a swept one is taken for the open, expired one that it was.

    `freed` is what of the running figure it makes up.
    """

    is_expired: bool
    freed: Decimal


@dataclass(frozen=True)
class FinishedReservation:
    """A reservation after it was settled; ``skip_reason`` says why its event does not count, if it does not."""

    reservation: Reservation
    skip_reason: str | None = None


Answer = FinishedReservation | Problem | KeyChanged


async def commit_or_release(database: Database, scope: ProjectScope, asks: Sequence[ReservationCommit]) -> list[Answer]:
    """Commit or release reservations, several requests in one transaction; one answer each, after its commit.

    Doing the same again gives the same answer. Refused are: 404 an unknown one, 409 ``reservation_expired``,
    ``reservation_committed`` (with another quantity, or when it is released), ``reservation_released``, 422
    ``quantity_too_large``, 409 ``event_conflict`` when the event's key belongs to other usage.
    """
    answers: dict[int, Answer] = {}
    named = [Submission((), _SOURCE, ask.presented) for ask in asks]
    names = {"ids": uuids(sorted({row for ask in asks if (row := parse_id(ask.ref))}))}
    async with looked_up(database, scope, named, (_SHARE, names), (_LOCK, names)) as (connection, found, (_, locked)):
        rows = {row[0]: _Locked(*row) for row in locked}
        changed: list[_Locked] = []
        good: list[int] = []
        for place, ask in enumerate(asks):
            if found.accepts(ask.presented, scope):
                good.append(place)
            else:
                answers[place] = KeyChanged()
        while good:
            # Of several requests for one reservation the later ones are judged by what the first one left.
            first = {parse_id(asks[place].ref) or place: place for place in reversed(good)}
            now = {place: asks[place] for place in sorted(first.values())}
            answers |= await _settle_each(connection, scope, now, rows, changed)
            good = [place for place in good if place not in answers]
        if changed:
            async with with_commit(connection) as raw:
                await _write(raw, changed)
    return [answers[place] for place in range(len(asks))]


async def _settle_each(
    connection: AsyncConnection,
    scope: ProjectScope,
    asks: Mapping[int, ReservationCommit],
    rows: Mapping[UUID, _Locked],
    changed: list[_Locked],
) -> dict[int, Answer]:
    """Settle reservations, each asked for once: changes their ``rows`` and adds these to ``changed``."""
    answers: dict[int, Answer] = {}
    commits: dict[int, tuple[ReservationCommit, _Locked]] = {}
    for place, ask in asks.items():
        row = rows.get(parse_id(ask.ref) or scope.project_id)
        judged = _judged(ask, row)
        if judged is not None:
            answers[place] = judged
        elif row is not None and ask.commit:
            commits[place] = ask, row
        elif row is not None:
            row.status = "released"
            changed.append(row)
            answers[place] = FinishedReservation(row)
    if commits:
        outcomes = await ingest_within(connection, scope, [_submission(*each) for each in commits.values()])
        for (place, (ask, row)), outcome in zip(commits.items(), outcomes, strict=True):
            answer = answers[place] = _committed(ask, row, outcome)
            if isinstance(answer, FinishedReservation):
                changed.append(row)
    return answers


def _judged(ask: ReservationCommit, row: _Locked | None) -> Answer | None:
    """Return what needs no change: refusals, and what was done before; None for an open reservation."""
    if row is None:
        return not_found("reservation", ask.ref)
    shown = shown_id("reservation", row.id)
    if row.status != "open":
        return _judged_again(ask, row, shown)
    if row.is_expired and ask.commit:
        detail = f"The reservation {shown} expired, and its quantity was freed; send the usage as a plain event."
        return conflict("reservation_expired", detail)
    if ask.quantity is not None and ask.quantity > row.quantity:
        detail = f"Only {plain(row.quantity)} are reserved; commit at most that, and send the rest as a plain event."
        return Problem(422, "quantity_too_large", detail)
    return None


def _judged_again(ask: ReservationCommit, row: _Locked, shown: str) -> Answer:
    """Answer for a reservation that was settled before: the same again, or a refusal of something else."""
    was_committed = row.status == "committed"
    if was_committed == ask.commit and (not was_committed or ask.quantity in (None, row.committed_quantity)):
        return FinishedReservation(row)
    if was_committed:
        done = plain(row.committed_quantity or Decimal(0))
        return conflict("reservation_committed", f"The reservation {shown} was committed with {done}.")
    return conflict("reservation_released", f"The reservation {shown} was released; make another one.")


def _submission(ask: ReservationCommit, row: _Locked) -> Submission:
    quantity = row.quantity if ask.quantity is None else ask.quantity
    event = IngestEvent(
        row.metric_key,
        subscription_ref=shown_id("subscription", row.subscription_id),
        key=ask.key or shown_id("reservation", row.id),
        value=plain(quantity),
        properties=row.properties if ask.properties is None else ask.properties,
    )
    return Submission([event], _SOURCE)


def _committed(ask: ReservationCommit, row: _Locked, outcome: Outcome) -> Answer:
    """Close a reservation whose event was stored, or was there before with the same content."""
    if outcome.problem is not None:
        return outcome.problem
    if outcome.conflicts:
        detail = f"Another event has the idempotency key {outcome.key_at(0)!r}; the reservation stays open."
        return conflict("event_conflict", detail)
    row.status = "committed"
    row.committed_quantity = row.quantity if ask.quantity is None else ask.quantity
    row.event_id = outcome.id_at(0)
    return FinishedReservation(row, outcome.skipped.get(0))


async def _write(raw: "psycopg.AsyncConnection[Any]", rows: Sequence[_Locked]) -> None:
    parameters = {
        "ids": [row.id for row in rows],
        "statuses": [row.status for row in rows],
        "quantities": [row.committed_quantity for row in rows],
        "events": [row.event_id for row in rows],
        "freed": [row.freed for row in rows],
    }
    await raw.execute(_SETTLE.encode(), parameters, prepare=True)


_STATUS: Final[ColumnElement[Any]] = case(
    (_table.status != "open", _table.status), (_table.expires_at <= func.clock_timestamp(), "expired"), else_="open"
)


def _viewed() -> Select[Any]:
    """Read a reservation with its metric's key, and ``expired`` as the status of an open one past its expiry."""
    columns = [column for column in usage_reservations.c if column.name != "status"]
    statement = select(*columns, _STATUS.label("status"), metrics.c.key.label("metric_key"))
    return statement.join(metrics, metrics.c.id == _table.metric_id)


async def view(connection: AsyncConnection, project_id: UUID, ref: str) -> Reservation:
    """Read a reservation by ``resv_...`` or uuid. Raises ``Problem`` 404 ``reservation_not_found``."""
    statement = _viewed().where(_table.project_id == project_id, _table.id == parse_id(ref))
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("reservation", ref)
    return record(Reservation, row)


async def listed(
    connection: AsyncConnection, subscription_id: UUID, page: Page, status: str | None
) -> tuple[Sequence[Reservation], int]:
    """List a subscription's reservations, newest first, and count all that the filter matches."""
    conditions: list[ColumnElement[bool]] = [_table.subscription_id == subscription_id]
    if status is not None:
        conditions.append(_STATUS.in_([status]))
    total = await connection.scalar(select(func.count()).select_from(usage_reservations).where(*conditions))
    rows = await connection.execute(paged(_viewed().where(*conditions), page, _table.id))
    return records(Reservation, rows), int(total or 0)


async def forget_old(connection: AsyncConnection) -> None:
    """Delete reservations that were settled or expired long ago; the transaction is a SYSTEM one."""
    long_ago = func.clock_timestamp() - KEPT
    ended = or_(_table.settled_at < long_ago, (_table.status == "expired") & (_table.expires_at < long_ago))
    await connection.execute(delete(usage_reservations).where(ended))
