"""Item 40: what a request cannot mean is refused at the route, and the refusal binds nobody."""

from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import get, post
from tests.support.core_edges import APRIL, in_test_project

pytestmark = pytest.mark.stack


def one_off(**line: Any) -> dict[str, Any]:
    return {"customer_id": "c", "currency": "USD", "line_items": [{"description": "x", **line}]}


ABSURD: list[dict[str, Any]] = [
    {"quantity": "1", "unit_price": "1" + "0" * 17},
    {"quantity": "1000000000", "unit_price": "1000000000"},
    {"amount": "9" * 18},
]


@pytest.mark.parametrize("line", ABSURD)
@pytest.mark.parametrize("path", ["/v1/invoices/one_off", "/v1/invoices"])
async def test_item_40_an_absurd_one_off_is_refused_at_the_route(
    client: httpx.AsyncClient, line: dict[str, Any], path: str
) -> None:
    await post(client, "/v1/customers", {"id": "c", "name": "c"})
    refused = await client.post(path, json=one_off(**line))
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed"), refused.text
    assert await get(client, "/v1/invoices") == []


async def test_item_40_lines_that_are_absurd_together_are_refused_at_the_route(client: httpx.AsyncClient) -> None:
    await post(client, "/v1/customers", {"id": "c", "name": "c"})
    body = one_off()
    body["line_items"] = [{"description": str(place), "amount": "9" * 15} for place in range(100)]
    refused = await client.post("/v1/invoices/one_off", json=body)
    made = refused.json()
    if refused.status_code < 300:
        # Whatever the route takes, finalizing takes too.
        assert (await client.post(f"/v1/invoices/{made['id']}/finalize", json={})).status_code == 200
    else:
        assert (refused.status_code, made["code"]) == (422, "validation_failed")


async def test_item_40_a_one_off_answers_201_with_its_place(client: httpx.AsyncClient) -> None:
    await post(client, "/v1/customers", {"id": "c", "name": "c"})
    made = await client.post("/v1/invoices/one_off", json=one_off(amount="1200"))
    assert (made.status_code, made.json()["total_cents"]) == (201, "1200"), made.text


async def test_item_40_a_422_is_not_remembered_under_its_idempotency_key(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    wrong = await client.post("/v1/customers", json={"id": "a/b", "name": "c"}, headers=key)
    assert wrong.status_code == 422
    right = await client.post("/v1/customers", json={"id": "c", "name": "c"}, headers=key)
    assert right.status_code == 201, right.text
    # A success binds, as before.
    other = await client.post("/v1/customers", json={"id": "d", "name": "d"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    replayed = await client.post("/v1/customers", json={"id": "c", "name": "c"}, headers=key)
    assert (replayed.status_code, replayed.headers.get("Idempotency-Replayed")) == (201, "true")


async def test_item_40_a_422_of_a_one_off_binds_nobody_either(client: httpx.AsyncClient) -> None:
    await post(client, "/v1/customers", {"id": "c", "name": "c"})
    key = {"Idempotency-Key": "k"}
    wrong = await client.post("/v1/invoices/one_off", json=one_off(amount="x"), headers=key)
    assert wrong.status_code == 422
    right = await client.post("/v1/invoices/one_off", json=one_off(amount="1200"), headers=key)
    assert right.status_code in (200, 201), right.text


async def test_item_40_test_clocks_of_a_live_project_need_its_permission(client: httpx.AsyncClient) -> None:
    (live,) = [each for each in await get(client, "/v1/projects") if each["active"]]
    path = f"/v1/projects/{live['id']}"
    for setting in (False, None):
        denied = await client.patch(path, json={"allow_test_clocks": setting})
        assert (denied.status_code, denied.json().get("allow_test_clocks")) == (200, False), denied.text
        refused = await client.post("/v1/test_clocks", json={"frozen_time": APRIL})
        assert (refused.status_code, refused.json()["code"]) == (403, "test_clocks_forbidden"), refused.text
        # The way out is named: the test project, or the project's own setting.
        assert "allow_test_clocks" in refused.json()["detail"]
    allowed = await client.patch(path, json={"allow_test_clocks": True})
    assert (allowed.status_code, allowed.json().get("allow_test_clocks")) == (200, True), allowed.text
    assert (await client.post("/v1/test_clocks", json={"frozen_time": APRIL})).status_code == 201


async def test_item_40_test_projects_have_test_clocks(client: httpx.AsyncClient) -> None:
    await in_test_project(client)
    assert (await client.post("/v1/test_clocks", json={"frozen_time": APRIL})).status_code == 201
