"""Which closed periods have usage that no invoice has: it came, or was corrected, after they were closed (C5, B108)."""

from typing import Final

#: The starts of the periods of `:subscription` before `:start` that were billed to their end and have other events now,
#: or events that were corrected since: a correction that no close has looked at yet is pending (correction_store.py).
#: What was never billed, or only up to a cutoff, is not late: nobody has asked for it yet (C23, C25). One line of an
#: invoice that reaches the end of its period says that the whole period was billed to it: a charge whose usage was all
#: invoiced in the middle of the period has no line at its end. If the invoice in the middle is voided, its usage is
#: late, too. Counts events as closes do quantities: from the rollups for whole UTC days, from the events at the edges.
#: The parts of a charge with filters, and the groups of one with group_by, together count every event of their metric.
#: A metric that carries over gives its periods every time, as late events change all that follow; their difference may
#: then be nothing. What a voided invoice forgave counts as billed. Periods whose months of
#: events were detached (`event_floor`) cannot be counted again.
LATE_PERIODS: Final = """
    WITH lines AS (
        SELECT coalesce(p.supplied ->> 'part_of', CAST(p.id AS text)) AS charge, l.metric_id, l.period_start,
               l.period_end, p.plan_version_id,
               CASE WHEN b.bills THEN l.events_count ELSE 0 END AS events_count,
               b.bills AND i.period_end >= l.period_end AS reaches_the_end
        FROM invoice_lines l JOIN invoices i ON i.id = l.invoice_id JOIN plan_charges p ON p.id = l.charge_id
        CROSS JOIN LATERAL (SELECT i.status <> 'voided' OR l.forgiven_minor IS NOT NULL AS bills) b
        WHERE l.subscription_id = :subscription AND l.period_start < :start AND l.period_start >= event_floor()
    ), billed AS (
        SELECT charge, metric_id, period_start, max(period_end) AS period_end, sum(events_count) AS events
        FROM lines
        WHERE metric_id IS NOT NULL AND (period_start, plan_version_id) IN (
            SELECT period_start, plan_version_id FROM lines WHERE reaches_the_end
        )
        GROUP BY 1, 2, 3
    ), cut AS (
        SELECT b.*, date_trunc('day', period_end, 'UTC') AS tail,
               date_trunc('day', period_start + interval '1 day' - interval '1 microsecond', 'UTC') AS head
        FROM billed b
    )
    SELECT c.period_start FROM cut c
    WHERE c.events <> (
        SELECT coalesce(sum(r.event_count), 0) FROM usage_rollups r
        WHERE r.subscription_id = :subscription AND r.metric_id = c.metric_id
          AND r.day >= (c.head AT TIME ZONE 'UTC')::date AND r.day < (c.tail AT TIME ZONE 'UTC')::date
    ) + (
        SELECT count(*) FROM events e
        WHERE e.status = 'counted' AND e.subscription_id = :subscription AND e.metric_id = c.metric_id
          AND e.occurred_at >= c.period_start AND e.occurred_at < least(c.head, c.period_end)
    ) + (
        SELECT count(*) FROM events e
        WHERE e.status = 'counted' AND e.subscription_id = :subscription AND e.metric_id = c.metric_id
          AND e.occurred_at >= greatest(c.tail, least(c.head, c.period_end)) AND e.occurred_at < c.period_end
    )
    OR EXISTS (SELECT FROM metrics m WHERE m.id = c.metric_id AND m.recurring)
    OR EXISTS (
        SELECT FROM usage_corrections k
        WHERE k.subscription_id = :subscription AND k.settled_at IS NULL AND k.metric_id = c.metric_id
          AND k.occurred_at >= c.period_start AND k.occurred_at < c.period_end
    )
"""

#: Whether `:subscription` has periods before `:start` that are to be rated again (R20). Those whose
#: events were detached cannot be.
HAS_REOPENED: Final = """
    EXISTS (
        SELECT FROM reopened_periods o
        WHERE o.subscription_id = :subscription AND o.period_start < :start AND o.period_start >= event_floor()
    )
"""
