"""Lives a life over HTTP in a test clock, and reads back what was billed: what a user of the API would see."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import httpx

from tests.lives.lives import Coupon, Life, Prices, Step, instant, minute_of
from tests.lives.oracle import account
from tests.subscriptions.catalogue import get, post, sent
from tests.waiting import eventually

METRICS: Final = ("units", "calls")
_CARDS: Final = {"good": "cus_card", "declines": "cus_decline_2_times"}
_SETTLING_SECONDS: Final = 40


def shown(minute: int) -> str:
    """Give a minute as the API writes it."""
    return instant(minute).isoformat().replace("+00:00", "Z")


async def make_metrics(client: httpx.AsyncClient) -> None:
    """Make the metrics that every life uses."""
    for key in METRICS:
        await post(client, "/v1/metrics", {"key": key, "name": key.capitalize(), "aggregation": "sum"})


class HttpLife:
    """One life under way, in a clock of its own."""

    def __init__(self, client: httpx.AsyncClient, life: Life) -> None:
        self.client = client
        self.life = life
        self.name = f"life-{life.seed}"
        self.clock = ""
        self.subscription = ""
        self.wallet = ""
        self.topped_up = life.wallet
        self.used = 0
        self.forgiven: dict[tuple[int, str], int] = {}

    async def live(self) -> list[str]:
        """Live the whole life; give what is wrong with its invoices in the end."""
        await self._begin()
        for step in self.life.steps:
            await self._advance(step.at)
            await self._take(step)
        await self._advance(self.life.until)
        try:
            await eventually(self._disagreements, seconds=_SETTLING_SECONDS, until=lambda found: not found)
        except AssertionError:
            return await self._disagreements()
        return []

    async def _begin(self) -> None:
        life, client = self.life, self.client
        made = await post(client, "/v1/test_clocks", {"name": self.name, "frozen_time": shown(0)})
        self.clock = made["id"]
        card = {"payment_provider": "sandbox", "payment_provider_customer_id": f"{_CARDS.get(life.card)}_{life.seed}"}
        customer = {"id": self.name, "name": self.name, "test_clock_id": self.clock, "currency": "USD"}
        more = card if life.card != "none" else {}
        await post(client, "/v1/customers", {**customer, "invoice_grace_period": life.grace_days, **more})
        await post(client, "/v1/price-plans", self._plan(life.versions[0]))
        for n, coupon in enumerate(life.coupons):
            code = f"{self.name}-{n}"
            await post(client, "/v1/coupons", _coupon(code, coupon))
            await post(client, "/v1/coupons/apply", {"coupon_code": code, "customer_id": self.name})
        wallet = {"customer_id": self.name, "currency": "USD", "rate_amount": "1"}
        made = await post(client, "/v1/wallets", {**wallet, "initial_granted_credits": str(life.wallet)})
        self.wallet = made["id"]
        body: dict[str, Any] = {"customer_id": self.name, "plan_id": self.name, "start_date": shown(life.start)}
        if life.trial_days:
            body["trial_period_days"] = life.trial_days
        if life.agreed_end is not None:
            body["ending_at"] = shown(life.agreed_end)
        self.subscription = (await post(client, "/v1/subscriptions", body))["id"]
        for minor in life.thresholds:
            await post(client, f"/v1/subscriptions/{self.subscription}/usage_thresholds", {"amount_cents": minor})
        if any(step.act == "migrate" for step in life.steps):
            version = {key: value for key, value in self._plan(life.versions[1]).items() if key != "id"}
            await sent(client, "PUT", f"/v1/price-plans/{self.name}", 200, json=version)

    def _plan(self, prices: Prices) -> dict[str, Any]:
        tiers = [{"up_to": up_to, "unit_price": unit, "flat_fee": flat} for up_to, unit, flat in prices.tiers]
        charges = [
            {"metric_key": "units", "pricing_model": "per_unit", "unit_price": prices.unit},
            {"metric_key": "calls", "pricing_model": "tiered", "tiers": tiers},
            {"metric_key": None, "pricing_model": "flat_fee", "amount": prices.fee, "description": "Fee"},
        ]
        return {
            "id": self.name,
            "name": self.name,
            "currency": "usd",
            "billing_period": "monthly",
            "charges": charges,
        }

    async def _advance(self, minute: int) -> None:
        body = {"frozen_time": shown(minute), "wait": 60}
        arrived = await post(self.client, f"/v1/test_clocks/{self.clock}/advance", body, 200)
        if arrived["status"] != "ready":

            async def status() -> str:
                return str((await get(self.client, f"/v1/test_clocks/{self.clock}"))["status"])

            await eventually(status, seconds=120, until=lambda found: found == "ready")

    async def _take(self, step: Step) -> None:
        path = f"/v1/subscriptions/{self.subscription}"
        match step.act:
            case "use":
                event = {"customer_id": self.name, "metric_key": METRICS[step.n], "value": _quantity(step.m)}
                key = {"idempotency_key": f"{self.name}-{self.used}", "timestamp": shown(step.when)}
                await post(self.client, "/v1/events", {**event, **key}, 202)
                self.used += 1
            case "amend":
                body = {"value": _quantity(step.m), "reason": "measured anew"}
                answer = await self.client.post(f"/v1/events/{self.name}-{step.n}/amend", json=body)
                assert answer.status_code in (200, 409), answer.text
            case "unuse":
                await post(self.client, f"/v1/events/{self.name}-{step.n}/void", {"reason": "an error"}, 200)
            case "draft" | "cut":
                cut = {"subscription_id": self.subscription, "draft": step.act == "draft"}
                answer = await self.client.post("/v1/invoices", json=cut)
                nothing = answer.status_code == 409 and answer.json()["code"] == "nothing_to_bill"
                assert nothing or answer.status_code == 201, answer.text
            case "void" | "pay" | "delete" | "finalize":
                await self._change_invoice(step)
            case "topup":
                await post(self.client, f"/v1/wallets/{self.wallet}/top_up", {"credits": step.m}, 200)
                self.topped_up += step.m
            case "terminate":
                await sent(self.client, "DELETE", path, 204)
            case "migrate":
                await post(
                    self.client, f"{path}/migrate", {"plan_version": step.n + 1, "effective": "next_period"}, 200
                )
            case act:
                await post(self.client, f"{path}/{act}", {}, 200)

    async def _change_invoice(self, step: Step) -> None:
        draft = step.act in ("delete", "finalize")
        wanted = ("draft",) if draft else ("issued", "finalized", "overdue", "failed")
        found = [one for one in await self._invoices() if one["status"] in wanted]
        if not found:
            return
        invoice = found[step.n % len(found)]
        path = f"/v1/invoices/{invoice['id']}"
        if step.act == "delete":
            await sent(self.client, "DELETE", path, 204)
        elif step.act == "void":
            self._note_forgiven(invoice, found, rebill=bool(step.m))
            await post(self.client, f"{path}/void", {"rebill": bool(step.m)}, 200)
        else:
            await post(self.client, f"{path}/{step.act}", {}, 200)

    def _note_forgiven(self, invoice: dict[str, Any], live: Sequence[dict[str, Any]], *, rebill: bool) -> None:
        if rebill:
            return
        billed = _charges(live)
        for key, minor in _charges([invoice]).items():
            self.forgiven[key] = self.forgiven.get(key, 0) + max(0, min(minor, billed[key]))

    async def _invoices(self) -> list[dict[str, Any]]:
        found = await get(self.client, "/v1/invoices", subscription_id=self.subscription, limit=100)
        found.sort(key=lambda one: (one["created_at"], one["id"]))
        return [await get(self.client, f"/v1/invoices/{one['id']}") for one in found]

    async def _disagreements(self) -> list[str]:
        owed = account(self.life, self.forgiven)
        live = [one for one in await self._invoices() if one["status"] != "voided"]
        billed = _charges(live)
        found = [
            f"{charge} of the period from {shown(start)}: owed {owed.charges.get((start, charge), 0)}, "
            f"billed {billed.get((start, charge), 0)}"
            for start, charge in sorted(owed.charges.keys() | billed.keys())
            if owed.charges.get((start, charge), 0) != billed.get((start, charge), 0)
        ]
        net, due = sum(owed.net.values()), sum(_due(one) for one in live)
        if net != due:
            found.append(f"after discounts: owed {net}, billed {due}")
        return found + await self._lost_money(live)

    async def _lost_money(self, live: Sequence[dict[str, Any]]) -> list[str]:
        """Compare the wallets with what went in and out of them, and payments with what is paid."""
        found = []
        wallets = await get(self.client, "/v1/wallets", customer_id=self.name)
        # A wallet for adjustments counts credits in major units.
        held = sum(round(float(one["credits_balance"]) * float(one["rate_amount"])) for one in wallets)
        granted = sum(max(0, -_due(one)) for one in live if one["status"] != "draft")
        drawn = sum(int(one["prepaid_credit_amount_cents"]) for one in live)
        if held != self.topped_up + granted - drawn:
            found.append(f"wallets hold {held}: {self.topped_up} put in, {granted} given back, {drawn} drawn")
        for one in live:
            paid = [row for row in await get(self.client, "/v1/payments", invoice_id=one["id"])]
            got = sum(int(row["amount_cents"]) for row in paid if row["status"] == "succeeded")
            whole = max(0, _due(one)) - int(one["prepaid_credit_amount_cents"])
            if got > whole or (one["status"] == "paid" and paid and got != whole):
                found.append(f"invoice over {whole} was paid {got}")
        return found


def _quantity(quarters: int) -> str:
    return f"{quarters // 4}.{25 * (quarters % 4):02}"


def _coupon(code: str, coupon: Coupon) -> dict[str, Any]:
    off: dict[str, Any] = {"coupon_type": "fixed_amount", "amount_cents": coupon.worth, "amount_currency": "USD"}
    if coupon.is_percentage:
        off = {"coupon_type": "percentage", "percentage_rate": str(coupon.worth)}
    often: dict[str, Any] = {"frequency": "forever" if coupon.periods is None else "once"}
    if coupon.periods is not None and coupon.periods > 1:
        often = {"frequency": "recurring", "frequency_duration": coupon.periods}
    return {"code": code, "name": code, **off, **often}


def _charges(invoices: Sequence[dict[str, Any]]) -> dict[tuple[int, str], int]:
    """Add up the lines of charges, by the beginning of their period."""
    found: dict[tuple[int, str], int] = {}
    for invoice in invoices:
        for line in invoice["line_items"]:
            if line["type"] in ("usage", "fee"):
                key = (minute_of(datetime.fromisoformat(line["period_start"])), line["metric_key"] or "fee")
                found[key] = found.get(key, 0) + line["amount"]
    return found


def _due(invoice: dict[str, Any]) -> int:
    """Give the sum of an invoice before anything of it is carried to a wallet."""
    return sum(line["amount"] for line in invoice["line_items"] if line["type"] != "wallet_credit")
