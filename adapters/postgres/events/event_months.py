"""The months that events are kept in: one partition of `events` for each month of event time, made when needed.

There is no default partition: what lay in it would have to be moved out, under a lock that stops ingestion, before its
month could get a partition of its own. Instead the months to come are made ahead (`create_partitions_ahead`), and a
transaction that meets another legal month makes it first. Far times share partitions, so that no tenant's backfill or
test clock makes thousands: one for all before 2020, one for all from 2050, one for each year from three years ahead.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import SYSTEM, Database

_MONTHS_AHEAD: Final = 3
_Month = tuple[int, int]

_ENSURE: Final = text("SELECT ensure_event_month(at) FROM unnest(CAST(:instants AS timestamptz[])) AS at ORDER BY at")

# What each database is known to have. A month is remembered once it was there before, so never one that may roll back.
_known: Final[WeakKeyDictionary[Engine, set[_Month]]] = WeakKeyDictionary()


async def ensure(connection: AsyncConnection, times: Sequence[datetime]) -> None:
    """Make the partitions that events of these times need; asks Postgres only about months that are not known yet."""
    first, last = _month(min(times)), _month(max(times))
    needed = {first} if first == last else {_month(at) for at in times}
    known = _known.setdefault(connection.engine.sync_engine, set())
    missing = sorted(needed - known)
    if missing:
        rows = await connection.execute(_ENSURE, {"instants": [datetime(*month, 1, tzinfo=UTC) for month in missing]})
        known.update(month for month, (made,) in zip(missing, rows, strict=True) if not made)


async def create_partitions_ahead(database: Database, now: datetime) -> None:
    """Make the partitions of this month and of those to come, so that ingestion finds them."""
    instants = list(_ahead(now))
    async with database.transaction(SYSTEM) as connection:
        await connection.execute(_ENSURE, {"instants": instants})


def forget(connection: AsyncConnection) -> None:
    """Look again at what there is, after Postgres found no partition for an event."""
    _known.pop(connection.engine.sync_engine, None)


def _month(at: datetime) -> _Month:
    at = at.astimezone(UTC)
    return at.year, at.month


def _ahead(now: datetime) -> Iterable[datetime]:
    at = now
    for _ in range(_MONTHS_AHEAD + 1):
        yield at
        at = at.replace(day=1) + timedelta(days=32)
