"""What is reserved of each metric of a subscription, as one running figure for however many reservations.

`usage_reserved` holds the sum of the reservations whose row says ``open``; every statement that opens or closes one
changes it in the same statement. A reservation counts for nothing from its expiry on, though its row says ``open``
until it is swept: readers subtract those few. So a check costs the same with ten open reservations as with ten
thousand.
"""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import SYSTEM, Database, driver

_SWEPT_TOGETHER: Final = 500

#: Adds to the figures what an earlier part of the statement, called ``changed``, gives: project, subscription, metric,
#: quantity. Rows are taken in one order everywhere and after all other locks, so that nobody waits in a circle.
ADD_CHANGED: Final = """
    INSERT INTO usage_reserved AS t (project_id, subscription_id, metric_id, quantity)
    SELECT c.project_id, c.subscription_id, c.metric_id, sum(c.quantity) FROM changed c
    GROUP BY c.project_id, c.subscription_id, c.metric_id ORDER BY c.subscription_id, c.metric_id
    ON CONFLICT (subscription_id, metric_id) DO UPDATE SET quantity = t.quantity + excluded.quantity
"""

#: What is reserved now of ``q.subscription_id`` and ``q.metric_id``, as a value of a statement that follows the locks.
RESERVED: Final = """
    coalesce((SELECT t.quantity FROM usage_reserved t
              WHERE t.subscription_id = q.subscription_id AND t.metric_id = q.metric_id), 0)
    - coalesce((SELECT sum(r.quantity) FROM usage_reservations r
                WHERE r.subscription_id = q.subscription_id AND r.metric_id = q.metric_id AND r.status = 'open'
                  AND r.expires_at <= statement_timestamp()), 0)
"""

# Whoever is settling one has locked it; it is left to the next sweep.
_SWEEP: Final = f"""
    WITH due AS (
        SELECT r.id FROM usage_reservations r
        WHERE r.status = 'open' AND r.expires_at <= statement_timestamp()
        ORDER BY r.expires_at LIMIT {_SWEPT_TOGETHER} FOR UPDATE SKIP LOCKED
    ), changed AS (
        UPDATE usage_reservations r SET status = 'expired' FROM due WHERE r.id = due.id
        RETURNING r.project_id, r.subscription_id, r.metric_id, -r.quantity AS quantity
    ), counted AS ({ADD_CHANGED})
    SELECT count(*) FROM changed
"""  # noqa: S608 - put together from constants


async def sweep(database: Database) -> int:
    """Mark every reservation that expired, of all tenants, and take it out of the figures; returns how many.

    Safe to run anywhere, any number of times: nothing that it changes is seen from outside.
    """
    swept = 0
    while True:
        async with database.transaction(SYSTEM) as connection:
            found = await _sweep_some(connection)
        swept += found
        if found < _SWEPT_TOGETHER:
            return swept


async def _sweep_some(connection: AsyncConnection) -> int:
    raw = await driver(connection)
    # Losing a sweep with a crash loses nothing: the next one does it again.
    await raw.execute("SET LOCAL synchronous_commit = off")
    row = await (await raw.execute(_SWEEP.encode(), prepare=True)).fetchone()
    assert row is not None, "count(*) gives a row"
    return int(row[0])
