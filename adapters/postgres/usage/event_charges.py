"""The SQL of percentage charges that price single events: allowances and limits (R7).

It says for stored events what `billing.charges.percentage.Percentage.with_event` says for one after the other; a test
holds the two together.
"""

from collections.abc import Sequence
from typing import Any, Final

from billing.aggregations import Aggregation
from billing.charges import Percentage

NOT_PRICED: Final = "SELECT *, 0 AS part, false AS is_charged, 0 AS cost FROM picked"
"""The rows of charges that do not price single events."""

_RUNNING: Final = """
    SELECT *, sum(own) OVER w AS after, row_number() OVER w AS number
    FROM (SELECT *, {own} AS own FROM picked) valued
    WINDOW w AS (PARTITION BY bucket, occurred_at >= :counted_from{groups}
                 ORDER BY occurred_at, id ROWS UNBOUNDED PRECEDING)
"""
_PARTS: Final = """
    SELECT *, {part} AS part, {is_charged} AS is_charged FROM ({running}) running
"""
_COSTS: Final = """
    SELECT *, least(greatest(part * CAST(:share AS numeric) + CAST(:fixed_fee AS numeric),
                             CAST(:transaction_min AS numeric)), CAST(:transaction_max AS numeric)) AS cost
    FROM ({parts}) parts
"""


def priced_events(model: Percentage, folding: Aggregation, groups: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Give a query over `picked` that adds part, is_charged and cost to each of its rows, and its bind values.

    `folding` is the metric's aggregation, which says what an event is worth; `groups` are the columns
    within which a charge with group_by is priced. Postgres passes over NULL in greatest and least: no limit.
    """
    part, is_charged = "own", "true"
    if model.free_amount is not None:
        free = "CAST(:free_amount AS numeric)"
        part = f"(greatest(after, {free}) - greatest(after - own, {free}))"
        is_charged = f"(after > {free} OR {part} < 0)"
    elif model.free_events is not None:
        is_charged = "number > CAST(:free_events AS bigint)"
    running = _RUNNING.format(own=folding.worth_sql, groups="".join(f", {name}" for name in groups))
    query = _COSTS.format(parts=_PARTS.format(part=part, is_charged=is_charged, running=running))
    binds: dict[str, Any] = {
        "share": model.share,
        "fixed_fee": model.fixed_fee,
        "transaction_min": model.transaction_min,
        "transaction_max": model.transaction_max,
    }
    if model.free_amount is not None:
        binds["free_amount"] = model.free_amount
    elif model.free_events is not None:
        binds["free_events"] = model.free_events
    return query, binds
