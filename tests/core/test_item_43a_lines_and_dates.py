"""Item 43a: one-off lines say one amount, and a number's date is the billing zone's."""

from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import get, post
from tests.support.core_edges import advance, clock_at, fee, in_test_project, plan, subscribe

pytestmark = pytest.mark.stack


def one_off(**line: Any) -> dict[str, Any]:
    return {"customer_id": "c", "currency": "USD", "line_items": [{"description": "x", **line}]}


CONTRADICTORY: list[dict[str, Any]] = [
    {"quantity": 2, "unit_price": 10, "amount": 15},
    {"quantity": "2", "unit_price": "10", "amount": "0"},
    {"quantity": 0, "unit_price": 10, "amount": 10},
    {"unit_price": 10, "amount": 15},
]


async def test_item_43a_one_off_lines_that_contradict_themselves_are_refused(client: httpx.AsyncClient) -> None:
    await post(client, "/v1/customers", {"id": "c", "name": "c"})
    for line in CONTRADICTORY:
        for path in ("/v1/invoices/one_off", "/v1/invoices"):
            refused = await client.post(path, json=one_off(**line))
            assert (refused.status_code, refused.json()["code"]) == (422, "contradictory_line"), refused.text
            assert [error["field"] for error in refused.json()["errors"]] == ["line_items.0.amount"]
    # 3 x 33.333 = 99.999, which is 100 cents once rounded.
    agreed = await post(client, "/v1/invoices/one_off", one_off(quantity="3", unit_price="33.333", amount="100"))
    assert agreed["total_cents"] == "100"


async def test_item_43a_the_numbers_date_is_the_billing_zones(client: httpx.AsyncClient) -> None:
    await in_test_project(client)
    # 1 May 00:00 in Kiritimati (UTC+14) is 30 April 10:00 UTC.
    clock = await clock_at(client, "2025-03-31T10:00:00Z")
    await plan(client, fee("5.00"))
    customer = {"id": "c", "name": "c", "test_clock_id": clock, "timezone": "Pacific/Kiritimati"}
    await post(client, "/v1/customers", customer)
    await subscribe(client, start_date="2025-03-31T10:00:00Z")
    await advance(client, clock, "2025-04-30T10:00:00Z")
    (invoice,) = await get(client, "/v1/invoices")
    assert invoice["invoice_number"] == "INV-20250501-0001"
    # A draft has its number from when it is finalized, a one-off in its customer's zone.
    draft = await post(client, "/v1/invoices/one_off", one_off(amount="500"))
    final = await post(client, f"/v1/invoices/{draft['id']}/finalize", {}, 200)
    assert final["invoice_number"] == "INV-20250501-0002"
