"""The main job, through the public API of the running stack (`make demo`).

First the ABAXUS quickstart: 1,200,000 API calls in April, an invoice of 14900 minor units that explains itself, one
charge. Then a year of three customers on a test clock, with usage every month and one card that is declined once and
recovers. Then an alert and a threshold (demo_alerts.py). Everything that is printed was also checked. Safe to run
again: each run has ids of its own.
"""

import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
from rich.console import Console

from examples import demo_alerts, report
from examples.client import Billing, UnexpectedAnswer
from examples.stage import EACH, Demo, Tiers, check, plan
from settings import settings

CALLS = 1_200_000
CALLS_PER_EVENT = 100
FIRSTS = [datetime(2026, month, 1, tzinfo=UTC) for month in range(1, 13)] + [datetime(2027, 1, 1, tzinfo=UTC)]
GRADUATED: Tiers = [
    {"up_to": 100000, "unit_price": 0},
    {"up_to": 1000000, "unit_price": "0.0001"},
    {"up_to": None, "unit_price": "0.00005"},
]
INCLUDED: Tiers = [{"up_to": 10000, "unit_price": 0}, {"up_to": None, "unit_price": "0.01"}]


def growth_total(calls: int) -> int:
    """Price seed 001's plan in cents: 0.01 for each call above 100,000, half of it above 1,000,000, and 4900."""
    return (min(max(calls - 100_000, 0), 900_000) // 100) + (max(calls - 1_000_000, 0) // 200) + 4900


def pro_total(calls: int) -> int:
    """Price seed 003's plan in cents: 10000, and a cent for each call above 10,000 (12,000 calls: 12000)."""
    return 10_000 + max(calls - 10_000, 0)


def payg_total(calls: int) -> int:
    """Price pay-as-you-go in cents: a fifth of a cent a call."""
    return calls // 5


@dataclass(frozen=True)
class Part:
    """A customer of the simulated year: its plan, its test card, its calls in month 1 to 12, and its price by hand."""

    name: str
    plan: dict[str, Any]
    card: str
    calls: Sequence[int]
    total: Callable[[int], int]


PARTS = (
    Part("Acme", plan("Growth", GRADUATED, "49.00"), "card_ok", [100_000 * n for n in range(1, 13)], growth_total),
    Part("Borealis", plan("Pro", INCLUDED, "100.00"), "card_ok", [8_000 + 1_000 * n for n in range(12)], pro_total),
    Part("Cumulus", plan("Pay as you go", EACH), "decline_once", [5_000 * n for n in range(1, 13)], payg_total),
)


def quickstart(demo: Demo) -> dict[str, Any]:
    """Run the ABAXUS page: metric, plan, customer, subscription, 1,200,000 calls, invoice, charge, event log."""
    api = demo.api
    april = datetime(2026, 4, 1, tzinfo=UTC)
    demo.metric()
    customer = demo.customer("Quickstart", "card_ok")
    subscription = demo.subscribe(customer, plan("Growth", GRADUATED, "49.00"), april)
    demo.use(f"{CALLS:,} API calls", demo.events(customer, CALLS, april + timedelta(days=2), CALLS_PER_EVENT))
    invoice = api.post("/v1/invoices", {"customer_id": customer, "cutoff_date": "2026-04-30T23:59:59Z"})
    check(invoice["total_amount"] == 14900, f"the total is {invoice['total_amount']}, not 14900")
    check(sorted(line["amount"] for line in invoice["line_items"]) == [4900, 10000], "the lines are not 10000 and 4900")
    charged = api.post(f"/v1/invoices/{invoice['id']}/charge", {}, 200)
    check(charged["status"] == "paid", f"the charge answered {charged}")
    api.post(f"/v1/invoices/{invoice['id']}/charge", {}, 409)
    usage = next(line for line in invoice["line_items"] if line["amount"] == 10000)
    demo.console.print(report.lines_table(invoice))
    demo.console.print(report.steps_table(usage))
    log = api.get(f"/v1/invoices/{invoice['id']}/events")
    demo.console.print(report.events_table(f"Charged once, by {charged['payment_intent_id']}", log))
    return subscription


def year(demo: Demo) -> dict[str, dict[str, Any]]:
    """Bill three customers for a year on a test clock: usage every month, twelve invoices each, one declined card."""
    api = demo.api
    clock = api.post("/v1/test_clocks", {"name": f"Demo {demo.run}", "frozen_time": FIRSTS[0].isoformat()})["id"]
    customers = [demo.customer(part.name, part.card, test_clock_id=clock) for part in PARTS]
    made = [demo.subscribe(customer, part.plan, FIRSTS[0]) for customer, part in zip(customers, PARTS, strict=True)]
    seconds = 0.0
    with demo.bars() as progress:
        task = progress.add_task("twelve months", total=12)
        for month, (first, following) in enumerate(pairwise(FIRSTS)):
            seconds += api.advance(clock, (first + timedelta(days=14)).isoformat())
            for customer, part in zip(customers, PARTS, strict=True):
                usage = demo.events(customer, part.calls[month], first + timedelta(days=9), 5_000)
                sum(api.send_usage(usage))
            seconds += api.advance(clock, following.isoformat())
            progress.advance(task)
    # The last month's invoices are due on 1 January; a retry of them would be due within the week.
    seconds += api.advance(clock, (FIRSTS[-1] + timedelta(days=7)).isoformat())
    _show_year(demo, made, seconds)
    return dict(zip((part.name for part in PARTS), made, strict=True))


def _show_year(demo: Demo, made: Sequence[dict[str, Any]], seconds: float) -> None:
    billed = [demo.api.invoices_of(subscription["id"]) for subscription in made]
    for part, invoices in zip(PARTS, billed, strict=True):
        expected = [part.total(calls) for calls in part.calls]
        check([invoice["total_amount"] for invoice in invoices] == expected, f"{part.name} should pay {expected}")
        check({invoice["status"] for invoice in invoices} == {"paid"}, f"{part.name} has not paid everything")
    retried = [invoice for invoices in billed for invoice in invoices if invoice["attempt_count"] > 1]
    check([invoice["customer_id"] for invoice in retried] == [f"cust_cumulus_{demo.run}"], "one decline was expected")
    names = [part.name for part in PARTS]
    demo.console.print(report.year_table(list(zip(names, billed, strict=True))))
    log = demo.api.get(f"/v1/invoices/{retried[0]['id']}/events")
    demo.console.print(report.events_table("The declined card, and how it recovered", log))
    demo.console.print(f"36 invoices were closed and collected on the real engine in {seconds:.1f} s of waiting.")


def main() -> int:
    """Run the demo against the stack of this environment and print what happened; 0 if everything held."""
    config, console = settings(), report.wide(Console(highlight=False))
    try:
        demo = Demo(Billing(config), console, secrets.token_hex(3))
        console.rule("1. The quickstart: 1,200,000 calls, one invoice that explains itself")
        first = quickstart(demo)
        console.rule("2. A year of three customers, simulated on the real engine")
        subscriptions = {"Quickstart": first, **year(demo)}
        console.rule("3. A usage alert, and a threshold that invoices in the middle of the month")
        subscriptions["Dynamo"] = demo_alerts.alerts(demo)
    except (UnexpectedAnswer, httpx.HTTPError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    console.rule("Look on")
    for line in report.links(config, demo.api.url, subscriptions):
        console.print(line, soft_wrap=True, markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
