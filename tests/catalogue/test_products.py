"""Products: a name and a reference code (B26)."""

import httpx

from tests.catalogue.seeds import made, refused


async def test_b26_a_product_is_a_name_and_a_code(api: httpx.AsyncClient, stranger: httpx.AsyncClient) -> None:
    shown = await made(api, "/v1/products", {"name": "Pro API", "code": "pro-api"})
    assert (shown["name"], shown["code"], shown["ingest_key"]) == ("Pro API", "pro-api", "item.pro-api")
    assert shown["items"][0]["ingest_key"] == "item.pro-api"
    await refused(api, "/api/v1/products", {"name": "Other", "code": "pro-api"}, 409, "product_exists")
    await made(stranger, "/v1/products", {"name": "Pro API", "code": "pro-api"})
    for ref in (shown["id"], shown["uuid"], "pro-api", "item.pro_api"):
        assert (await api.get(f"/v1/products/{ref}")).json() == shown
    await refused(stranger, f"/v1/products/{shown['id']}", None, 404, "product_not_found", method="GET")
    assert [item["code"] for item in (await api.get("/api/v1/products")).json()] == ["pro-api"]


async def test_a_product_that_cannot_be_is_refused(api: httpx.AsyncClient) -> None:
    for body in ({}, {"name": "Pro API"}, {"code": "pro-api"}, {"name": "", "code": "x"}, {"name": "P", "code": "a/b"}):
        await refused(api, "/v1/products", body, 422)
    assert (await api.get("/v1/products")).json() == []
