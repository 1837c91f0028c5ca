"""Items 38, 39: what metering says is what it does: ties of one instant, and token prices."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import post
from tests.support.core_edges import MAY, advance, clock_at, in_test_project, invoices, plan, subscribe

pytestmark = pytest.mark.stack

DOCS = Path(__file__).resolve().parents[2] / "docs"


async def metered(client: httpx.AsyncClient, aggregation: str, charge: dict[str, Any], **more: Any) -> str:
    """Make metric `m`, plan `p` with this charge, and a customer in a clock at 1 April 2025; gives the clock."""
    await in_test_project(client)
    clock = await clock_at(client, more.pop("at", "2025-04-01T00:00:00Z"))
    await post(client, "/v1/metrics", {"key": "m", "name": "m", "aggregation": aggregation, "field_name": "v"})
    await plan(client, {"metric_key": "m", **charge})
    await post(client, "/v1/customers", {"id": "c", "name": "c", "test_clock_id": clock, **more})
    return clock


async def send(client: httpx.AsyncClient, value: str, at: str) -> None:
    event = {"customer_id": "c", "metric_key": "m", "properties": {"v": value}, "timestamp": at}
    await post(client, "/v1/events", event, 202)


async def test_item_38_the_latest_of_one_instant_is_the_one_received_last(client: httpx.AsyncClient) -> None:
    clock = await metered(client, "latest", {"pricing_model": "per_unit", "unit_price": "1.00"})
    await subscribe(client)
    for value in ("5", "3", "4"):
        await send(client, value, "2025-04-01T00:00:00Z")
    await advance(client, clock, MAY)
    # Received last: 4 x 1.00.
    assert [each["total_cents"] for each in await invoices(client)] == ["400"]


def test_item_38_the_documents_name_the_one_quantity_that_arrival_decides() -> None:
    lines = (DOCS / "metering.md").read_text().splitlines()
    (place,) = [number for number, line in enumerate(lines) if "order in which they came" in line]
    assert "latest" in " ".join(lines[max(0, place - 2) : place + 3])


TOKENS = {"pricing_model": "package", "amount": "2.50", "package_size": "1000000", "free_units": "0"}


@pytest.mark.parametrize(
    ("charge", "tokens", "cents"),
    [
        # A started package counts whole (R6): 1 token and 1,000,000 are one package, 1,000,001 are two.
        (TOKENS, "1", "250"),
        (TOKENS, "1000000", "250"),
        (TOKENS, "1000001", "500"),
        # By the token: 2.50 per million = 0.0000025; 1,234,567 x 0.0000025 = 3.0864175 -> 3.09.
        ({"pricing_model": "per_unit", "unit_price": "0.0000025"}, "1234567", "309"),
        # 1e-12 a token is exact: 5,000,000,000,000 x 0.000000000001 = 5.00; one less is 4.999999999999 -> 5.00.
        ({"pricing_model": "per_unit", "unit_price": "0.000000000001"}, "5000000000000", "500"),
        ({"pricing_model": "per_unit", "unit_price": "0.000000000001"}, "4994999999999", "499"),
    ],
)
async def test_item_39_token_prices_are_exact(
    client: httpx.AsyncClient, charge: dict[str, Any], tokens: str, cents: str
) -> None:
    clock = await metered(client, "sum", charge)
    await subscribe(client)
    await send(client, tokens, "2025-04-01T00:00:00Z")
    await advance(client, clock, MAY)
    assert [each["total_cents"] for each in await invoices(client)] == [cents]


def test_item_39_the_documents_show_a_price_per_million_tokens() -> None:
    text = " ".join(path.read_text() for path in DOCS.rglob("*.md"))
    assert '"package_size": 1000000' in text or '"package_size": "1000000"' in text
