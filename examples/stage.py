"""What every chapter of the demo stands on: the API, the console, the ids of this run, and steps they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.client import Billing, UnexpectedAnswer

Tiers = Sequence[Mapping[str, Any]]
EACH: Tiers = [{"up_to": None, "unit_price": "0.002"}]


def plan(name: str, tiers: Tiers, fee: str | None = None) -> dict[str, Any]:
    """Describe a monthly plan in dollars: a price for API calls, and perhaps a base fee."""
    charges: list[dict[str, Any]] = [{"metric_key": "api_calls", "pricing_model": "tiered", "tiers": list(tiers)}]
    if fee is not None:
        charges.append(
            {"metric_key": None, "pricing_model": "flat_fee", "amount": fee, "description": f"{name} base fee"}
        )
    return {"name": name, "currency": "usd", "billing_period": "monthly", "charges": charges}


@dataclass(frozen=True)
class Demo:
    """One run: the API, the console, and the suffix of this run's ids."""

    api: Billing
    console: Console
    run: str

    def bars(self) -> Progress:
        """Make progress bars, to be used as a context."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        return Progress(*columns, console=self.console)

    def metric(self) -> None:
        """Make the metric, unless an earlier run did."""
        if not any(metric["key"] == "api_calls" for metric in self.api.get("/v1/metrics", limit=1000)):
            self.api.post("/v1/metrics", {"key": "api_calls", "name": "API Calls", "aggregation": "sum"})

    def customer(self, name: str, card: str, **more: Any) -> str:
        """Make a customer that pays with a test card of the sandbox."""
        body = {
            "id": f"cust_{name.lower()}_{self.run}",
            "name": name,
            "payment_provider": "sandbox",
            "payment_provider_customer_id": f"cus_{card}_{name.lower()}_{self.run}",
            **more,
        }
        return str(self.api.post("/v1/customers", body)["id"])

    def subscribe(self, customer: str, described: dict[str, Any], start: datetime) -> dict[str, Any]:
        """Make the plan and subscribe the customer to it."""
        code = f"plan_{described['name'].lower().replace(' ', '_')}_{customer}"
        self.api.post("/v1/price-plans", {"id": code, **described})
        body = {"customer_id": customer, "plan_id": code, "start_date": start.isoformat()}
        subscription: dict[str, Any] = self.api.post("/v1/subscriptions", body)
        return subscription

    def use(self, title: str, events: list[dict[str, Any]]) -> None:
        """Send usage in batches, with a progress bar."""
        with self.bars() as progress:
            task = progress.add_task(title, total=len(events))
            for sent in self.api.send_usage(events):
                progress.advance(task, sent)

    def events(self, customer: str, calls: int, at: datetime, each: int) -> list[dict[str, Any]]:
        """Cut a number of calls into events of `each`, spread over a day."""
        whole, rest = divmod(calls, each)
        values = [each] * whole + ([rest] if rest else [])
        return [
            {
                "customer_id": customer,
                "metric_key": "api_calls",
                "value": value,
                "timestamp": (at + timedelta(seconds=number % 80_000)).isoformat(),
                "idempotency_key": f"{customer}:{at:%Y-%m-%d}:{number}",
            }
            for number, value in enumerate(values)
        ]


def check(holds: bool, what: str) -> None:
    """Stop the demo when something it is about to show is not so."""
    if not holds:
        raise UnexpectedAnswer(what)
