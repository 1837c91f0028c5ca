"""The documentation pages work without the internet: every script and style comes from this server."""

import re
from pathlib import Path

import httpx
import pytest

CAPACITY = Path(__file__).resolve().parents[2] / "docs" / "capacity.md"


@pytest.mark.parametrize("page", ["/docs"])
async def test_documentation_loads_nothing_from_elsewhere(client: httpx.AsyncClient, page: str) -> None:
    answer = await client.get(page)
    assert answer.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert links
    for link in links:
        assert link.startswith("/"), f"{link} is on another server"
        assert (await client.get(link)).status_code == 200


def test_b77_capacity_is_documented_with_measured_rates_and_the_ways_to_grow() -> None:
    """Direct write is served (B58, B63); its measured rate and the two adapters beyond it are written down."""
    text = CAPACITY.read_text()
    assert re.search(r"[0-9][0-9,.]*k? events/s", text)
    assert all(way in text for way in ("/v1/events", "ClickHouse", "Kafka", "python -m bench"))
