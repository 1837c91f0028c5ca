"""What may be changed of a fee: the words of a draft's line, and nothing of what was issued (B101, B118)."""

import httpx

from tests.catalogue.conftest import api, extra_router, service
from tests.catalogue.seeds import fields_of, made, refused

__all__ = ["api", "extra_router", "service"]

LINE = {"description": "Consulting", "quantity": "2", "unit_price": "600", "amount": "1200"}


async def test_b101_a_drafts_fee_can_be_described_anew_and_an_issued_ones_cannot(api: httpx.AsyncClient) -> None:
    await made(api, "/v1/customers", {"id": "acme", "name": "Acme"})
    draft = (await api.post("/v1/invoices/one_off", json={"customer_id": "acme", "line_items": [LINE]})).json()
    (fee,) = (await api.get("/v1/fees", params={"invoice_id": draft["id"]})).json()
    path = f"/v1/fees/{fee['id']}"
    changed = await api.put(path, json={"description": "Consulting in May", "total_amount_cents": "1200"})
    assert (changed.status_code, changed.json()["description"]) == (200, "Consulting in May")
    shown = (await api.get(f"/v1/invoices/{draft['id']}")).json()
    assert shown["line_items"][0]["description"] == "Consulting in May"
    for field, value in {"payment_status": "succeeded", "total_amount_cents": "1", "taxes_amount_cents": 5}.items():
        assert fields_of(await refused(api, path, {field: value}, 422, "immutable", method="PUT")) == [field]
    assert (await api.post(f"/v1/invoices/{draft['id']}/finalize")).status_code == 200
    await refused(api, path, {"description": "Other"}, 409, "invoice_issued", method="PUT")
    await refused(api, "/v1/fees/line_00000000000000000000000000", {}, 404, "fee_not_found", method="PUT")
