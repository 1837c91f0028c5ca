"""Detaching old months of events, as the owner of the database: their keys stay, their rows leave `events`.

A detached month is an ordinary table in the schema ``event_archive``, to be dumped, moved or dropped. Nothing that it
held can be billed again, so a month is refused while anything of it is open: a period that is not billed, a level that
is carried over into later ones, a draft, a project that still accepts events of that time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg import sql

from adapters.postgres.metric_aggregation import kinds_sql

_MONTHS: Final = """
    SELECT c.relname, c.reltuples::bigint, pg_total_relation_size(c.oid)
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'public.events'::regclass AND c.relname <> 'future'
    ORDER BY c.relname <> 'past', c.relname
"""

# Usage of a charged metric that no final invoice line covers. A day is covered by the lines that touch it; the version
# that served it says what was charged. Nothing is billed for the days of a trial.
_UNBILLED: Final = """
    SELECT p.name, count(DISTINCT r.subscription_id), min(r.day)
    FROM usage_rollups r
    JOIN subscriptions s ON s.id = r.subscription_id JOIN projects p ON p.id = s.project_id
    WHERE r.day < %(before)s::date AND r.event_count > 0
      AND (s.trial_ends_at IS NULL OR s.trial_ends_at < (r.day + 1)::timestamp AT TIME ZONE 'UTC')
      AND EXISTS (
        SELECT FROM plan_charges c WHERE c.metric_id = r.metric_id AND c.plan_version_id = coalesce((
            SELECT v.plan_version_id FROM served_versions v
            WHERE v.subscription_id = s.id AND v.until > r.day::timestamp AT TIME ZONE 'UTC'
            ORDER BY v.until LIMIT 1), s.plan_version_id)
    ) AND NOT EXISTS (
        SELECT FROM invoice_lines l JOIN invoices i ON i.id = l.invoice_id
        WHERE l.subscription_id = r.subscription_id AND l.metric_id = r.metric_id
          AND i.status NOT IN ('draft', 'voided')
          AND l.period_start < (r.day + 1)::timestamp AT TIME ZONE 'UTC'
          AND l.period_end > r.day::timestamp AT TIME ZONE 'UTC'
    )
    GROUP BY p.id, p.name ORDER BY p.name
"""

# What carries over is folded from the first event on, by each close of a live subscription; only counts and maxima of
# a whole metric are read from rollups, which stay.
_CARRIED: Final = f"""
    SELECT p.name, m.key, count(DISTINCT r.subscription_id)
    FROM usage_rollups r JOIN metrics m ON m.id = r.metric_id
    JOIN subscriptions s ON s.id = r.subscription_id JOIN projects p ON p.id = s.project_id
    WHERE r.day < %(before)s::date AND r.event_count > 0 AND m.recurring
      AND s.status NOT IN ('canceled', 'terminated')
      AND (m.aggregation NOT IN ({kinds_sql(lambda model: model.from_rollup is not None)})
           OR EXISTS (SELECT FROM plan_charges c WHERE c.plan_version_id = s.plan_version_id AND c.metric_id = m.id
                      AND (c.filters <> '[]' OR c.group_by <> '{{}}')))
    GROUP BY p.id, p.name, m.key ORDER BY p.name, m.key
"""  # noqa: S608 - put together from constants

_OPEN_PERIODS: Final = """
    SELECT p.name, count(*), min(s.current_period_start)
    FROM subscriptions s JOIN projects p ON p.id = s.project_id
    WHERE s.current_period_start < %(before)s AND s.status NOT IN ('canceled', 'terminated')
    GROUP BY p.id, p.name ORDER BY p.name
"""

_DRAFTS: Final = """
    SELECT p.name, count(*) FROM invoices i JOIN projects p ON p.id = i.project_id
    WHERE i.status = 'draft' AND i.period_start < %(before)s GROUP BY p.id, p.name ORDER BY p.name
"""

_WINDOWS: Final = """
    SELECT p.name, p.settings ->> 'event_past_seconds' FROM projects p
    WHERE p.settings ->> 'event_past_seconds' IS NULL
       OR %(now)s - make_interval(secs => (p.settings ->> 'event_past_seconds')::numeric::float8) < %(closed_until)s
    ORDER BY p.name
"""

# Of a billed period that straddles the cut only a part is left, so nothing may be added to any of it.
_CLOSED_UNTIL: Final = """
    SELECT greatest(%(before)s, max(l.period_end)) FROM invoice_lines l WHERE l.period_start < %(before)s
"""

_MOST_NAMED: Final = 20


class StillOpen(Exception):
    """Raised when a month must stay; ``reasons`` says why, one line each."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True)
class Month:
    """One partition ``[start, end)``: ``y2026m04``, ``y2031`` for a year of test clocks, ``past`` up to 2019."""

    name: str
    start: datetime
    end: datetime
    rows: int
    size_bytes: int


def detach(admin_url: str, before: datetime, *, now: datetime, close_acceptance: bool = False) -> list[Month]:
    """Detach every month that ends at or before an instant, which begins a month in UTC; gives them, oldest first.

    ``close_acceptance`` agrees that projects without a limit on the age of events refuse what is older from now on.
    Raises `StillOpen` while a month is still open for billing or acceptance; then nothing was changed.
    """
    with psycopg.connect(admin_url, autocommit=True, connect_timeout=10) as connection:
        months = [month for month in _months(connection) if month.end <= before]
        closed_until = _closed_until(connection, before)
        reasons = _reasons(connection, before, closed_until, now=now, close_acceptance=close_acceptance)
        if reasons:
            raise StillOpen(reasons)
        for month in months:
            _detach(connection, month, closed_until)
    return months


def _months(connection: "psycopg.Connection[Any]") -> list[Month]:
    return [_month(*row) for row in connection.execute(_MONTHS).fetchall()]


def _month(name: str, rows: int, size_bytes: int) -> Month:
    if name == "past":
        return Month(name, datetime(1970, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC), max(rows, 0), size_bytes)
    year, _, month = name[1:].partition("m")
    if not month:
        return Month(
            name, datetime(int(year), 1, 1, tzinfo=UTC), datetime(int(year) + 1, 1, 1, tzinfo=UTC), rows, size_bytes
        )
    start = datetime(int(year), int(month), 1, tzinfo=UTC)
    end = datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)
    return Month(name, start, end, max(rows, 0), size_bytes)


def _closed_until(connection: "psycopg.Connection[Any]", before: datetime) -> datetime:
    row = connection.execute(_CLOSED_UNTIL, {"before": before}).fetchone()
    assert row is not None, "an aggregate without GROUP BY gives one row"
    found: datetime = row[0]
    return found


def _reasons(
    connection: "psycopg.Connection[Any]",
    before: datetime,
    closed_until: datetime,
    *,
    now: datetime,
    close_acceptance: bool,
) -> list[str]:
    """Return what is still open, one line for each project and cause."""
    if before > now:
        return [f"{before:%Y-%m} has not begun"]
    cut = {"before": before, "now": now, "closed_until": closed_until}
    reasons = [
        f"project {name!r}: {count} subscriptions are in a period that began {start:%Y-%m-%d}"
        for name, count, start in connection.execute(_OPEN_PERIODS, cut).fetchall()
    ]
    reasons += [
        f"project {name!r}: {count} subscriptions have usage since {day} that no final invoice holds"
        for name, count, day in connection.execute(_UNBILLED, cut).fetchall()
    ]
    reasons += [
        f"project {name!r}: the metric {key!r} carries over what came before; {count} live subscriptions need it"
        for name, key, count in connection.execute(_CARRIED, cut).fetchall()
    ]
    reasons += [
        f"project {name!r}: {count} drafts of that time are not finalized"
        for name, count in connection.execute(_DRAFTS, cut).fetchall()
    ]
    for name, seconds in connection.execute(_WINDOWS, cut).fetchall():
        if seconds is not None:
            reasons.append(
                f"project {name!r} accepts events up to {seconds} seconds old, from before {closed_until:%Y-%m-%d}"
            )
        elif not close_acceptance:
            reasons.append(
                f"project {name!r} accepts events of any age (set event_past_seconds, or --close-acceptance)"
            )
    left = len(reasons) - _MOST_NAMED
    return [*reasons[:_MOST_NAMED], f"and {left} more"] if left > 0 else reasons


def _detach(connection: "psycopg.Connection[Any]", month: Month, closed_until: datetime) -> None:
    """Close the month for new events first, then take it out; both may be done again after an interruption."""
    connection.execute(
        "INSERT INTO event_archive.months (name, range_start, range_end, closed_until) VALUES (%s, %s, %s, %s) "
        "ON CONFLICT (name) DO NOTHING",
        (month.name, month.start, month.end, closed_until),
    )
    table = sql.Identifier("event_months", month.name)
    # CONCURRENTLY waits for running transactions instead of stopping new ones.
    connection.execute(sql.SQL("ALTER TABLE public.events DETACH PARTITION {} CONCURRENTLY").format(table))
    connection.execute(sql.SQL("ALTER TABLE {} SET SCHEMA event_archive").format(table))
