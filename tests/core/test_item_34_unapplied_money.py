"""Item 34, B128: money that came in is always recorded, whatever became of its invoice meanwhile."""

import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import get, post, sent
from tests.support import quickstart
from tests.support.stack import Stack
from tests.waiting import eventually

pytestmark = pytest.mark.stack

PAGES = {"success_url": "https://example.org/ok", "cancel_url": "https://example.org/no", "provider": "manual"}


async def _issued(client: httpx.AsyncClient, amount: str = "5000") -> dict[str, Any]:
    """Issue a one-off invoice of 50.00 to a customer who pays outside Durabill."""
    await post(client, "/v1/customers", {"id": "c", "name": "c"})
    body = {"customer_id": "c", "currency": "USD", "line_items": [{"description": "Work", "amount": amount}]}
    draft = await client.post("/v1/invoices/one_off", json=body)
    assert draft.is_success, draft.text
    document: dict[str, Any] = await post(client, f"/v1/invoices/{draft.json()['id']}/finalize", {}, 200)
    return document


async def _checkout(client: httpx.AsyncClient, invoice: dict[str, Any]) -> str:
    """Open a checkout over what is due; returns the payment's id."""
    made = await sent(client, "POST", "/v1/payments/checkout", 200, json={"invoice_id": invoice["id"], **PAGES})
    return str(made["payment_id"])


@pytest.mark.parametrize(
    ("settled", "unapplied"),
    [
        pytest.param(("record", 5000), "5000", id="recorded: all of the 50.00 is left over"),
        pytest.param(("record", 2000), "2000", id="20.00 recorded: 30.00 pays, 20.00 is left over"),
        pytest.param(("pay", 0), "5000", id="marked paid: all is left over"),
        pytest.param(("void", 0), "5000", id="voided: all is left over"),
        pytest.param(("checkout", 0), "5000", id="another checkout came first"),
    ],
)
async def test_item_34_money_that_came_twice_is_recorded(
    client: httpx.AsyncClient, settled: tuple[str, int], unapplied: str
) -> None:
    """A one-off of 50.00 with an open checkout is settled otherwise; the checkout's money is kept, and refundable."""
    invoice = await _issued(client)
    path = f"/v1/invoices/{invoice['id']}"
    waiting = await _checkout(client, invoice)
    way, amount = settled
    if way == "record":
        await post(client, "/v1/payments/record", {"invoice_id": invoice["id"], "amount_cents": amount})
    elif way == "checkout":
        await post(client, f"/v1/payments/{await _checkout(client, invoice)}/mark-paid", {}, 200)
    else:
        await sent(client, "POST", f"{path}/{way}", 200)
    await post(client, f"/v1/payments/{waiting}/mark-paid", {}, 200)
    payment = await get(client, f"/v1/payments/{waiting}")
    assert (payment["status"], payment["unapplied_amount_cents"]) == ("succeeded", unapplied)
    assert (await get(client, path))["status"] == ("voided" if way == "void" else "paid")
    # What pays the invoice is never more than it: 20.00 + 30.00, or 50.00 and nothing.
    sums = [int(row["amount_cents"]) for row in await get(client, f"{path}/settlements")]
    assert sum(sums) == (0 if way == "void" else 5000)
    back = await post(client, f"/v1/payments/{payment['id']}/refund", {"amount_cents": int(unapplied)}, 200)
    assert back["unapplied_amount_cents"] == "0"
    newest = (await get(client, "/v1/notifications"))[0]
    assert waiting in newest["title"]


async def test_item_34_the_rest_of_a_partly_applied_payment_is_refunded_too(client: httpx.AsyncClient) -> None:
    """Of 50.00, 20.00 were left over; refunding 50.00 gives the 20.00 back and leaves the invoice paid as it was."""
    invoice = await _issued(client)
    waiting = await _checkout(client, invoice)
    await post(client, "/v1/payments/record", {"invoice_id": invoice["id"], "amount_cents": 2000})
    await post(client, f"/v1/payments/{waiting}/mark-paid", {}, 200)
    back = await post(client, f"/v1/payments/{waiting}/refund", {}, 200)
    assert (back["refunded_amount_cents"], back["unapplied_amount_cents"]) == ("5000", "0")


async def test_item_34_a_signed_notice_of_a_settled_invoice_is_recorded(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    """The provider tells of the money after somebody marked the invoice paid; first it had told of a failure."""
    invoice = await _issued(client)
    waiting = await _checkout(client, invoice)
    assert await _notice(stack, waiting, "failed") == {"received": True, "changed": True}
    await sent(client, "POST", f"/v1/invoices/{invoice['id']}/pay", 200)
    assert await _notice(stack, waiting, "succeeded") == {"received": True, "changed": True}
    assert await _notice(stack, waiting, "succeeded") == {"received": True, "changed": False}
    payment = await get(client, f"/v1/payments/{waiting}")
    shown = (payment["status"], payment["unapplied_amount_cents"], payment["failure_reason"])
    assert shown == ("succeeded", "5000", None)


async def _notice(stack: Stack, payment_id: str, status: str) -> Any:
    content = json.dumps({"status": status, "metadata": {"payment_id": payment_id}}).encode()
    signature = hmac.new(stack.bootstrap_key.encode(), content, hashlib.sha256).hexdigest()
    headers = {"X-Webhook-Signature": signature, "Content-Type": "application/json"}
    async with stack.caller() as provider:
        answer = await provider.post("/v1/payments/webhook/manual", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_item_34_a_charge_under_way_does_not_refuse_money_that_came(client: httpx.AsyncClient) -> None:
    """The card's payment waits for its owner when the checkout's money comes: it pays, and the card's is given up."""
    await quickstart.acme(client, payment_provider_customer_id="cus_requires_action")
    invoice = await quickstart.invoice(client)
    waiting = await _checkout(client, invoice)
    charged = await client.post(f"/v1/invoices/{invoice['id']}/charge")
    assert (charged.status_code, charged.json()["code"]) == (402, "payment_requires_action")
    paid = await post(client, f"/v1/payments/{waiting}/mark-paid", {}, 200)
    assert (paid["status"], paid["unapplied_amount_cents"]) == ("succeeded", "0")
    assert (await get(client, f"/v1/invoices/{invoice['id']}"))["status"] == "paid"

    async def given_up() -> bool:
        listed = await get(client, "/v1/payments", invoice_id=invoice["id"], provider="stripe")
        return [row["status"] for row in listed] == ["failed"]

    await eventually(given_up)
