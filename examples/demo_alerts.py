"""The third chapter of the demo: a usage alert, and a spend threshold that invoices in the middle of a period.

One customer in a test clock. At 10,000 calls an alert fires; at 100.00 USD of spend an invoice is made at once; the end
of the period bills the rest and the fee. Both invoices together are one rating of the whole month: 75,000 calls at
0.002 USD are 150.00 USD, and the fee of 20.00 USD makes 170.00 USD.
"""

from datetime import UTC, datetime
from typing import Any, Final

from examples import report
from examples.stage import EACH, Demo, check, plan

MAY: Final = datetime(2026, 5, 1, tzinfo=UTC)
JUNE: Final = datetime(2026, 6, 1, tzinfo=UTC)
MID_CYCLE_MINOR: Final = 12_000
FINAL_MINOR: Final = 3_000 + 2_000


def alerts(demo: Demo) -> dict[str, Any]:
    """Run the chapter; returns the subscription."""
    api = demo.api
    clock = api.post("/v1/test_clocks", {"name": f"Alerts {demo.run}", "frozen_time": MAY.isoformat()})["id"]
    customer = demo.customer("Dynamo", "card_ok", test_clock_id=clock)
    subscription = demo.subscribe(customer, plan("Metered", EACH, "20.00"), MAY)
    metric = next(metric["id"] for metric in api.get("/v1/metrics", limit=1000) if metric["key"] == "api_calls")
    watched = {"subscription_id": subscription["id"], "billable_metric_id": metric, "threshold_value": "10000"}
    alert = api.post("/v1/usage_alerts", {**watched, "name": "Ten thousand calls", "recurring": True})
    threshold = {"amount_cents": "10000", "currency": "USD", "recurring": False}
    api.post(f"/v1/subscriptions/{subscription['id']}/usage_thresholds", threshold)
    _use(demo, clock, customer, day=4, calls=12_000)
    fired = api.until(f"/v1/usage_alerts/{alert['id']}/triggers", lambda found: len(found) == 1)
    check(fired[0]["current_usage"] == "12000", f"the alert fired at {fired[0]['current_usage']}")
    _use(demo, clock, customer, day=11, calls=48_000)
    (mid_cycle,) = api.until("/v1/invoices", lambda found: len(found) == 1, subscription_id=subscription["id"])
    _use(demo, clock, customer, day=20, calls=15_000)
    api.advance(clock, JUNE.isoformat())
    billed = api.until("/v1/invoices", lambda found: len(found) == 2, subscription_id=subscription["id"])
    final = next(invoice for invoice in billed if invoice["id"] != mid_cycle["id"])
    totals = (mid_cycle["total_amount"], final["total_amount"])
    check(totals == (MID_CYCLE_MINOR, FINAL_MINOR), f"the invoices are {totals}")
    demo.console.print(report.trigger_table(alert, fired))
    demo.console.print(report.lines_table(mid_cycle))
    demo.console.print(report.lines_table(final))
    both = report.money(sum(totals), "usd")
    demo.console.print(f"Together {both}: one rating of 75,000 calls at 0.002 USD, and one fee of 20.00 USD.")
    return subscription


def _use(demo: Demo, clock: str, customer: str, *, day: int, calls: int) -> None:
    """Move to a day of May and send calls of that day."""
    at = MAY.replace(day=day)
    demo.api.advance(clock, at.replace(hour=23).isoformat())
    sum(demo.api.send_usage(demo.events(customer, calls, at, 1_000)))
