"""Item 30: an amount in minor units is whole, wherever it is given."""

from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import post
from tests.support.core_world import ACME, core_world, fee, off

pytestmark = pytest.mark.stack

ADD_ON = {"code": "setup", "name": "Set-up", "amount_cents": "2500", "amount_currency": "USD"}
_APPLIED = {"coupon_code": "OFF", "customer_id": ACME}
_LINE = {"description": "Consulting", "amount": "0.5"}


async def _issued(client: httpx.AsyncClient, amount: str = "5000") -> dict[str, Any]:
    body = {"customer_id": ACME, "currency": "USD", "line_items": [{"description": "Work", "amount": amount}]}
    draft = await client.post("/v1/invoices/one_off", json=body)
    assert draft.is_success, draft.text
    document: dict[str, Any] = await post(client, f"/v1/invoices/{draft.json()['id']}/finalize", {}, 200)
    return document


@pytest.mark.parametrize("amount", ["0.5", "0.4", "100.001"])
@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/v1/coupons", off("HALF", cents="?"), "amount_cents"),
        ("POST", "/v1/coupons/apply", {**_APPLIED, "amount_cents": "?"}, "amount_cents"),
        ("POST", "/v1/add_ons", {**ADD_ON, "code": "half", "amount_cents": "?"}, "amount_cents"),
        ("PATCH", "/v1/add_ons/setup", {"amount_cents": "?"}, "amount_cents"),
        ("PUT", "/v1/add_ons/setup", {"amount_cents": "?"}, "amount_cents"),
        ("POST", "/v1/add_ons/apply", {"add_on_code": "setup", "customer_id": ACME, "amount_cents": "?"}, "amount"),
        ("POST", "/v1/plans/plan_core/usage_thresholds", {"amount_cents": "?"}, "amount_cents"),
        ("POST", "SUBSCRIPTION/usage_thresholds", {"amount_cents": "?"}, "amount_cents"),
        ("POST", "/v1/invoices/one_off", {"customer_id": ACME, "line_items": [_LINE]}, "amount"),
        ("POST", "/v1/payments/record", {"invoice_id": "ONE_OFF", "amount_cents": "?"}, "amount_cents"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith(("/v1", "SUB")) else "",
)
async def test_item_30_a_fraction_of_a_minor_unit_is_refused(
    client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any], field: str, amount: str
) -> None:
    """USD has two digits: half a cent is no amount, at creation, at a change, and where it is applied."""
    world = await core_world(client, fee("10.00"))
    await post(client, "/v1/coupons", off(cents="5000"))
    await post(client, "/v1/add_ons", ADD_ON)
    invoice = await _issued(client)
    sent_body = {name: amount if value == "?" else value for name, value in body.items()}
    if "line_items" in body:
        sent_body["line_items"] = [{**_LINE, "amount": amount}]
    if body.get("invoice_id"):
        sent_body["invoice_id"] = invoice["id"]
    answer = await client.request(method, path.replace("SUBSCRIPTION", world.path), json=sent_body)
    assert answer.status_code == 422, f"{answer.status_code} {answer.text}"
    assert field in answer.json()["errors"][0]["field"]


async def test_item_30_other_currencies_have_their_own_digits(client: httpx.AsyncClient) -> None:
    """Minor units are whole in each: 100 yen, 1235 thousandths of a dinar; not 100.5 or 1235.5."""
    await core_world(client, fee("10.00"))
    for number, (currency, good, bad) in enumerate([("JPY", "100", "100.5"), ("KWD", "1235", "1235.5")]):
        body = {**off(f"C{number}", cents=good), "amount_currency": currency}
        await post(client, "/v1/coupons", body)
        await post(client, "/v1/coupons", {**body, "code": f"D{number}", "amount_cents": bad}, 422)
