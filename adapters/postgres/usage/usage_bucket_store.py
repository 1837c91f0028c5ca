"""The quantity of charges that count only some of their metric's events, or count them by group (B51).

Charges with filters read the rollups where what they count adds up (rolled_bucket_store.py). All others fold the
indexed events of the period. All filters of one charge, and all of its groups, come out of one statement that gives
each event exactly one bucket and one group.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.events.event_scope import DEFAULT_BUCKET, bucket_expression, group_expressions
from adapters.postgres.usage.fold_bindings import fold_bindings
from adapters.postgres.usage.quantity_store import Measure
from adapters.postgres.usage.rolled_bucket_store import Buckets, quantities
from adapters.postgres.usage.usage_window import BEGINNING
from billing.aggregations import Aggregation
from billing.charges import Charge, ChargeModel
from billing.invoice import TooManyGroups
from billing.period import Period
from billing.pricing import EventSql
from billing.scope import MOST_GROUPS, Combination
from billing.usage import GroupUsage, Usage

_SPLIT: Final = """
    WITH picked AS (
        SELECT id, value, properties, occurred_at, received_at, {bucket} AS bucket{groups}
        FROM events
        WHERE status = 'counted' AND subscription_id = :subscription AND metric_id = :metric
          AND occurred_at >= :from AND occurred_at < :until
    ), costed AS ({costed})
    SELECT bucket, {whole} AS whole, {quantity} AS quantity, {priced} AS priced,
           count(*) FILTER (WHERE occurred_at >= :counted_from) AS events,
           coalesce(sum(part) FILTER (WHERE {charged}), 0) AS charged_value,
           count(*) FILTER (WHERE {charged}) AS charged_events{names}
    FROM costed GROUP BY {sets}
    ORDER BY whole DESC, bucket{order} LIMIT :most
"""
_NOTHING: Final = (Decimal(0), 0)
_CHARGED: Final = "is_charged AND occurred_at >= :counted_from"


def is_split(charge: Charge) -> bool:
    """Return whether a charge's usage is not simply its metric's."""
    return charge.scope is not None or bool(charge.group_by) or charge.model.prices_events


_Family = tuple[UUID, tuple[Combination, ...], tuple[str, ...], ChargeModel | None]


def _family(charge: Charge) -> _Family:
    """Return what charges must share to be counted by one statement: the parts of a charge with filters do."""
    assert charge.metric_id is not None, "a metered charge has a metric"
    buckets = () if charge.scope is None else charge.scope.buckets
    return charge.metric_id, buckets, charge.group_by, charge.model if charge.model.prices_events else None


async def split_usages(
    connection: AsyncConnection,
    subscription_id: UUID,
    charges: Sequence[Charge],
    measures: Mapping[UUID, Measure],
    period: Period,
    *,
    levels_end: datetime | None = None,
) -> dict[UUID, Usage]:
    """Return the usage of charges that `is_split` in the period ``[start, end)``, keyed by charge id.

    Levels (weighted_sum) count until `levels_end`, else until the period's end.
    Raises `TooManyGroups` for a charge with more than `MOST_GROUPS` groups.
    """
    families: dict[_Family, list[Charge]] = {}
    for charge in charges:
        families.setdefault(_family(charge), []).append(charge)
    found: dict[UUID, Usage] = {}
    for family, members in families.items():
        measure = measures[family[0]]
        if _is_rolled_up(family, measure.folding):
            wanted = Buckets(subscription_id, family[0], family[1], measure.folding)
            parts = await quantities(connection, wanted, period)
            found |= {charge.id: measure.usage(*parts.get(_bucket(charge), _NOTHING)) for charge in members}
            continue
        rows = await _rows(connection, subscription_id, family, measure.folding, period, levels_end=levels_end)
        for charge in members:
            found[charge.id] = _usage(measure, charge, [row for row in rows if row.bucket == _bucket(charge)])
    return found


def _is_rolled_up(family: _Family, folding: Aggregation) -> bool:
    """Return whether rollups hold the parts of a charge: they add up, are no groups, and price no single events."""
    _, buckets, group_by, eventwise = family
    return bool(buckets) and not group_by and eventwise is None and folding.from_rollup is not None


def _bucket(charge: Charge) -> int:
    bucket = None if charge.scope is None else charge.scope.bucket
    return DEFAULT_BUCKET if bucket is None else bucket


def _usage(measure: Measure, charge: Charge, rows: Sequence[Row[Any]]) -> Usage:
    whole = [row for row in rows if row.whole]
    if not whole:
        return measure.usage(Decimal(0), 0)
    keys = sorted(set(charge.group_by))
    groups = [row for row in rows if not row.whole]
    if len(groups) > MOST_GROUPS:
        raise TooManyGroups(keys, MOST_GROUPS)
    return measure.usage(
        whole[0].quantity,
        whole[0].events,
        priced=Decimal(whole[0].priced),
        charged=(Decimal(whole[0].charged_value), whole[0].charged_events),
        groups=[
            GroupUsage(
                group=tuple((key, getattr(row, f"group_{index}")) for index, key in enumerate(keys)),
                usage=measure.usage(
                    row.quantity,
                    row.events,
                    priced=Decimal(row.priced),
                    charged=(Decimal(row.charged_value), row.charged_events),
                ),
            )
            for row in groups
        ],
    )


async def _rows(
    connection: AsyncConnection,
    subscription_id: UUID,
    family: _Family,
    folding: Aggregation,
    period: Period,
    *,
    levels_end: datetime | None,
) -> Sequence[Row[Any]]:
    metric_id, buckets, group_by, eventwise = family
    bucket, binds = bucket_expression(buckets)
    groups, group_binds = group_expressions(group_by)
    names = [f"group_{index}" for index in range(len(groups))]
    events = EventSql() if eventwise is None else eventwise.events_sql(folding.worth_sql, names)
    listed = "".join(f", {name}" for name in names)
    statement = _SPLIT.format(
        bucket=bucket,
        groups="".join(f", {expression} AS {name}" for expression, name in zip(groups, names, strict=True)),
        whole=f"grouping({names[0]}) = 1" if names else "true",
        quantity=folding.from_events,
        priced=events.priced,
        costed=events.query,
        charged=_CHARGED,
        names=listed,
        sets=f"GROUPING SETS ((bucket), (bucket{listed}))" if names else "bucket",
        order="".join(f', {name} COLLATE "C" NULLS LAST' for name in names),
    )
    parameters = {
        "subscription": subscription_id,
        "metric": metric_id,
        "from": BEGINNING if folding.carries else period.start,
        "until": period.end,
        "counted_from": period.start,
        # Were all of these rows there, some bucket would have more than MOST_GROUPS groups.
        "most": (len(buckets) + 1) * (MOST_GROUPS + 1) + 1,
        **await fold_bindings(connection, subscription_id, folding, period, levels_end),
    }
    return (await connection.execute(text(statement), parameters | {**binds, **group_binds, **events.binds})).all()
