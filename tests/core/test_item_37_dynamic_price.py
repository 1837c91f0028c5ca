"""Item 37: a price that is no number never bills 0 and never parks a close: the event is skipped with its reason."""

from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import get, post
from tests.support.core_edges import MAY, advance, clock_at, fee, in_test_project, invoices, shop, subscribe, use

pytestmark = pytest.mark.stack

DYNAMIC = {"metric_key": "u", "pricing_model": "dynamic", "price_field": "price", "quantity_field": "qty"}
AT = "2025-04-01T00:00:00Z"
MISSING = object()
BAD_PRICES: list[Any] = [
    "0,12",
    "$0.12",
    "1e-3",
    None,
    MISSING,
    True,
    "0.1234567890123456789",  # 19 decimals
    "",
    "NaN",
    "1_000",
    {"amount": 1},
    [1],
    "1" * 30,
    "1e400",
]


async def ready(client: httpx.AsyncClient) -> dict[str, Any]:
    """Subscribe in a clock at 1 April 2025 to the dynamic price and a fee of 5.00; gives the subscription."""
    await in_test_project(client)
    clock = await clock_at(client)
    await shop(client, DYNAMIC, fee("5.00"), test_clock_id=clock)
    return {**await subscribe(client), "clock": clock}


def priced(price: Any, quantity: Any = 10) -> dict[str, Any]:
    named = {"price": price, "qty": quantity}
    return {name: value for name, value in named.items() if value is not MISSING}


async def bill_of(client: httpx.AsyncClient, subscription: dict[str, Any]) -> str:
    """Close April; gives the invoice's total."""
    assert (await advance(client, subscription["clock"], MAY))["status"] == "ready"
    (invoice,) = await invoices(client, subscription_id=subscription["id"])
    return str(invoice["total_cents"])


@pytest.mark.parametrize("price", BAD_PRICES, ids=lambda price: "missing" if price is MISSING else str(price)[:22])
async def test_item_37_a_price_that_is_no_number_is_skipped_and_never_billed_as_0(
    client: httpx.AsyncClient, price: Any
) -> None:
    subscription = await ready(client)
    sent = await use(client, 1, AT, properties=priced(price), idempotency_key="bad")
    assert sent["skip_reason"], sent
    shown = await get(client, "/v1/events/bad")
    assert (shown["status"], shown["skip_reason"]) == ("skipped", sent["skip_reason"])
    entries = await get(client, "/v1/activity", type="event", status="skipped")
    assert [entry["reason"] for entry in entries] == [sent["skip_reason"]]
    again = await post(client, "/v1/events/bad/reprocess", {}, 200)
    assert (again["status"], again["skip_reason"]) == ("skipped", sent["skip_reason"])
    # The good one beside it: 0.12 x 10 = 1.20, and the fee of 5.00: 6.20.
    await use(client, 1, AT, properties=priced("0.12"))
    assert await bill_of(client, subscription) == "620"


@pytest.mark.parametrize("quantity", ["ten", "1,5", True, None, "1e3", {"n": 1}])
async def test_item_37_a_quantity_that_is_no_number_does_not_fall_back_to_the_value(
    client: httpx.AsyncClient, quantity: Any
) -> None:
    subscription = await ready(client)
    sent = await use(client, 7, AT, properties=priced("0.12", quantity))
    assert sent["skip_reason"], sent
    # Only the fee; 7 x 0.12 = 0.84 more would be the value in the quantity's place.
    assert await bill_of(client, subscription) == "500"


async def test_item_37_a_quantity_that_is_not_there_is_the_value(client: httpx.AsyncClient) -> None:
    subscription = await ready(client)
    sent = await use(client, 7, AT, properties=priced("0.12", MISSING))
    assert sent["skip_reason"] is None
    # 7 x 0.12 = 0.84 and the fee of 5.00.
    assert await bill_of(client, subscription) == "584"


@pytest.mark.parametrize("price", ["0,12", "1e400", "1" * 30])
async def test_item_37_a_batch_and_an_amendment_say_the_same(client: httpx.AsyncClient, price: str) -> None:
    subscription = await ready(client)
    event = {"customer_id": "c", "metric_key": "u", "value": 1, "timestamp": AT}
    batch = [
        {**event, "properties": priced(price), "idempotency_key": "bad"},
        {**event, "properties": priced("0.12"), "idempotency_key": "good"},
    ]
    answer = await post(client, "/v1/events/batch", batch, 202)
    assert [each["index"] for each in answer["skipped"]] == [0], answer
    # An amendment to a price that is no number would bill 0 just as silently: refused.
    refused = await client.post("/v1/events/good/amend", json={"properties": priced(price)})
    assert refused.status_code == 422, refused.text
    assert await bill_of(client, subscription) == "620"


async def test_item_37_what_was_skipped_counts_once_it_is_amended_and_reprocessed(client: httpx.AsyncClient) -> None:
    subscription = await ready(client)
    await use(client, 1, AT, properties=priced("0,12"), idempotency_key="bad")
    await post(client, "/v1/events/bad/amend", {"properties": priced("0.12")}, 200)
    done = await post(client, "/v1/events/bad/reprocess", {}, 200)
    assert done["status"] == "counted", done
    assert await bill_of(client, subscription) == "620"
