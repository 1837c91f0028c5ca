"""Item 31: a subscription that is over refuses every change of its terms; notes about it stay open."""

from typing import Any

import httpx
import pytest

from tests.support.core_world import core_world, fee

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(
    ("method", "tail", "body"),
    [
        ("PATCH", "", {"on_termination_action": "skip"}),
        ("PATCH", "", {"contract": {"seats": 3}}),
        ("PUT", "", {"on_termination_action": "skip"}),
        ("PATCH", "", {"plan_id": "plan_core"}),
        ("POST", "/usage_thresholds", {"amount_cents": 1000}),
        ("POST", "/migrate", {"plan_version": 1}),
        ("POST", "/pause", {}),
    ],
)
@pytest.mark.parametrize("ending", ["terminated", "canceled"])
async def test_item_31_an_ended_subscription_refuses_changes(
    client: httpx.AsyncClient, method: str, tail: str, body: dict[str, Any], ending: str
) -> None:
    """409 `illegal_transition` or another conflict; only `metadata` and `external_reference` may stay notes."""
    world = await core_world(client, fee("10.00"))
    if ending == "terminated":
        await world.end()
    else:
        await world.tell("cancel")
        await world.to("2025-05-02T00:00:00Z")
    answer = await client.request(method, f"{world.path}{tail}", json=body)
    assert answer.status_code == 409, f"{answer.status_code} {answer.text}"
