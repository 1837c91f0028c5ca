"""The application in this process, and the close of one subscription."""

import httpx
import pytest

from tests.api.conftest import extra_router, service
from tests.catalogue.conftest import api, stranger
from tests.invoices.conftest import closing, world

__all__ = ["acme", "api", "closing", "extra_router", "service", "stranger", "world"]


@pytest.fixture
async def acme(api: httpx.AsyncClient) -> httpx.AsyncClient:
    """The client, with a customer."""
    answer = await api.post("/v1/customers", json={"id": "cust_acme", "name": "Acme Corp"})
    assert answer.status_code == 201, answer.text
    return api
