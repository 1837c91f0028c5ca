"""The documentation pages work without the internet: every script and style comes from this server."""

import re

import httpx
import pytest


@pytest.mark.parametrize("page", ["/docs"])
async def test_documentation_loads_nothing_from_elsewhere(client: httpx.AsyncClient, page: str) -> None:
    answer = await client.get(page)
    assert answer.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert links
    for link in links:
        assert link.startswith("/"), f"{link} is on another server"
        assert (await client.get(link)).status_code == 200
