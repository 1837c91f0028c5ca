"""One project with a metric, a plan, and a customer with a subscription, all on a test clock, made over HTTP."""

import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx

from tests.subscriptions.catalogue import get, post, sent

APRIL = "2025-04-01T00:00:00Z"
JANUARY = "2025-01-01T00:00:00Z"
UNIT: dict[str, Any] = {"metric_key": "u", "pricing_model": "per_unit", "unit_price": "1.00"}
CARD = {"payment_provider": "sandbox", "payment_provider_customer_id": "cus_card"}
ACME = "cust_acme"
LIVE = ("draft", "issued", "finalized", "paid", "overdue", "failed")


def unit(price: str) -> dict[str, Any]:
    """Price each unit of `u` so much, in major units."""
    return {**UNIT, "unit_price": price}


def fee(amount: str) -> dict[str, Any]:
    """Charge a flat fee a period, in major units."""
    return {"metric_key": None, "pricing_model": "flat_fee", "amount": amount, "description": "Fee"}


def off(code: str = "OFF", frequency: str = "forever", duration: int | None = None, **worth: Any) -> dict[str, Any]:
    """Describe a coupon: `percent="50"` off, or `cents="5000"`."""
    if "percent" in worth:
        kind = {"coupon_type": "percentage", "percentage_rate": worth["percent"]}
    else:
        kind = {"coupon_type": "fixed_amount", "amount_cents": worth["cents"], "amount_currency": "USD"}
    body = {"code": code, "name": code, "frequency": frequency, **kind}
    return body if duration is None else {**body, "frequency_duration": duration}


@dataclass
class CoreWorld:
    """What a test about money needs: the caller, the clock, and the subscription."""

    client: httpx.AsyncClient
    clock: str
    subscription: str

    @property
    def path(self) -> str:
        """Give the subscription's path."""
        return f"/v1/subscriptions/{self.subscription}"

    async def to(self, *instants: str) -> None:
        """Advance the clock to each instant in turn, and insist that it is ready each time."""
        for instant in instants:
            body = {"frozen_time": instant, "wait": 60}
            arrived = await post(self.client, f"/v1/test_clocks/{self.clock}/advance", body, 200)
            assert (arrived["status"], arrived["failure"]) == ("ready", None), arrived

    async def use(self, value: Any, at: str, *, metric: str = "u", **more: Any) -> str:
        """Send one event that happened at `at`; gives its key."""
        key = uuid.uuid4().hex
        event = {"customer_id": ACME, "metric_key": metric, "value": value, "timestamp": at, "idempotency_key": key}
        await post(self.client, "/v1/events", {**event, **more}, 202)
        return key

    async def void_event(self, key: str) -> None:
        """Void an event."""
        await post(self.client, f"/v1/events/{key}/void", {"reason": "a mistake"}, 200)

    async def amend(self, key: str, value: Any) -> None:
        """Give an event another value."""
        await post(self.client, f"/v1/events/{key}/amend", {"value": value, "reason": "a mistake"}, 200)

    async def coupon(self, body: dict[str, Any]) -> None:
        """Make a coupon and give it to the customer."""
        await post(self.client, "/v1/coupons", body)
        await post(self.client, "/v1/coupons/apply", {"coupon_code": body["code"], "customer_id": ACME})

    async def tell(self, command: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Pause, resume or cancel the subscription."""
        document: dict[str, Any] = await post(self.client, f"{self.path}/{command}", body or {}, 200)
        return document

    async def end(self) -> None:
        """Terminate the subscription now."""
        await sent(self.client, "DELETE", self.path, 204)

    async def shown(self) -> dict[str, Any]:
        """Read the subscription."""
        document: dict[str, Any] = await get(self.client, self.path)
        return document

    async def new_version(self, **change: Any) -> None:
        """Make the plan's next version."""
        await sent(self.client, "PATCH", "/v1/price-plans/plan_core", 200, json=change)

    async def invoices(self) -> list[dict[str, Any]]:
        """Read the subscription's invoices, the oldest first."""
        found: list[dict[str, Any]] = await get(self.client, "/v1/invoices", subscription_id=self.subscription)
        for invoice in found:
            assert max(sum(line["amount"] for line in invoice["line_items"]), 0) == invoice["total_amount"], invoice
        return found[::-1]

    async def totals(self) -> list[int]:
        """Give the totals of the invoices that stand (voided ones do not), the oldest first, in minor units."""
        return [invoice["total_amount"] for invoice in await self.invoices() if invoice["status"] in LIVE]

    async def bill_now(self, **more: Any) -> httpx.Response:
        """Ask for an invoice of everything unbilled; gives the raw answer."""
        return await self.client.post("/v1/invoices", json={"subscription_id": self.subscription, **more})

    async def credits(self) -> int:
        """Give what the customer's wallets are worth together, in minor units; they are whole."""
        cents = [Decimal(wallet["balance_cents"]) for wallet in await get(self.client, "/v1/wallets")]
        assert all(value == int(value) for value in cents), cents
        return int(sum(cents))


async def core_world(
    client: httpx.AsyncClient,
    *charges: dict[str, Any],
    at: str = APRIL,
    metric: dict[str, Any] | None = None,
    customer: dict[str, Any] | None = None,
    coupon: dict[str, Any] | None = None,
    **subscription: Any,
) -> CoreWorld:
    """Make a project's world: a sum metric `u`, a monthly USD plan of these charges, a customer on a clock at `at`.

    The subscription starts at `at`; the customer has no payment provider unless `customer` names one.
    """
    await post(client, "/v1/metrics", {"key": "u", "name": "Units", "aggregation": "sum", **(metric or {})})
    plan = {"id": "plan_core", "name": "Core", "currency": "USD", "billing_period": "monthly", "charges": charges}
    await post(client, "/v1/price-plans", plan)
    clock = (await post(client, "/v1/test_clocks", {"frozen_time": at}))["id"]
    await post(client, "/v1/customers", {"id": ACME, "name": "Acme", "test_clock_id": clock, **(customer or {})})
    world = CoreWorld(client, clock, "")
    if coupon is not None:
        await world.coupon(coupon)
    body = {"customer_id": ACME, "plan_id": "plan_core", "start_date": at, **subscription}
    world.subscription = (await post(client, "/v1/subscriptions", body))["id"]
    return world
