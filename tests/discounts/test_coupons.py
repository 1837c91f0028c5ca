"""Coupons over HTTP: what they are, who holds them, what is refused (B121)."""

import asyncio
from typing import Any

import httpx

from tests.catalogue.seeds import fields_of, made, refused

TEN = {"code": "TEN", "name": "Ten", "coupon_type": "percentage", "percentage_rate": "10.00", "frequency": "forever"}
FIVE = {"code": "FIVE", "name": "Five", "coupon_type": "fixed_amount", "amount_cents": 500, "frequency": "once"}
HOLDER = {"customer_id": "cust_acme"}


async def apply(api: httpx.AsyncClient, code: str, **more: Any) -> dict[str, Any]:
    """Apply a coupon to the customer."""
    return await made(api, "/v1/coupons/apply", {**HOLDER, "coupon_code": code, **more})


async def test_b121_a_coupon_is_created_read_changed_and_terminated(
    api: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    shown = await made(api, "/v1/coupons", TEN)
    assert (shown["percentage_rate"], shown["amount_cents"], shown["amount_currency"]) == ("10", None, None)
    assert (shown["status"], shown["reusable"], shown["expiration"]) == ("active", True, "no_expiration")
    await refused(api, "/v1/coupons", TEN, 409, "coupon_exists")
    for ref in ("TEN", shown["id"], shown["uuid"]):
        assert (await api.get(f"/v1/coupons/{ref}")).json() == shown
    await refused(stranger, "/v1/coupons/TEN", None, 404, "coupon_not_found", method="GET")
    changed = (await api.put("/v1/coupons/TEN", json={"description": "A tenth", "percentage_rate": 10})).json()
    assert (changed["description"], changed["name"]) == ("A tenth", "Ten")
    for body in ({"percentage_rate": "20"}, {"code": "ELEVEN"}, {"frequency": "once"}, {"coupon_type": "fixed_amount"}):
        await refused(api, "/v1/coupons/TEN", body, 422, "immutable", method="PATCH")
    limited = (await api.put("/v1/coupons/TEN", json={"expiration_at": "2030-01-01T00:00:00Z"})).json()
    assert (limited["expiration"], limited["expiration_at"]) == ("time_limit", "2030-01-01T00:00:00Z")
    assert (await api.put("/v1/coupons/TEN", json={"expiration": "no_expiration"})).json()["expiration_at"] is None
    assert (await api.delete("/v1/coupons/TEN")).status_code == 204
    assert (await api.get("/v1/coupons/TEN")).json()["status"] == "terminated"
    assert (await api.get("/v1/coupons", params={"status": "active"})).json() == []
    assert [row["code"] for row in (await api.get("/v1/coupons", params={"status": "terminated"})).json()] == ["TEN"]
    await refused(api, "/v1/coupons/NONE", None, 404, "coupon_not_found", method="DELETE")


async def test_a_fixed_amount_has_a_currency(api: httpx.AsyncClient) -> None:
    shown = await made(api, "/v1/coupons", FIVE)
    assert (shown["amount_cents"], shown["amount_currency"], shown["percentage_rate"]) == ("500", "USD", None)
    euros = await made(api, "/v1/coupons", {**FIVE, "code": "E", "amount_cents": "499", "currency": "eur"})
    assert (euros["amount_cents"], euros["amount_currency"]) == ("499", "eur")


NO_COUPONS: list[tuple[dict[str, Any], str]] = [
    ({"percentage_rate": "100.01"}, "percentage_rate"),
    ({"percentage_rate": -1}, "percentage_rate"),
    ({"percentage_rate": None}, "percentage_rate"),
    ({"amount_cents": "5"}, "amount_cents"),
    ({"coupon_type": "fixed_amount"}, "amount_cents"),
    ({"coupon_type": "gift"}, "coupon_type"),
    ({"frequency": "sometimes"}, "frequency"),
    ({"frequency": "recurring"}, "frequency_duration"),
    ({"frequency": "recurring", "frequency_duration": 0}, "frequency_duration"),
    ({"frequency_duration": 2}, "frequency_duration"),
    ({"expiration": "time_limit"}, "expiration_at"),
    ({"expiration": "no_expiration", "expiration_at": "2030-01-01T00:00:00Z"}, "expiration_at"),
    ({"amount_currency": "XYZ"}, "amount_currency"),
    ({"max_redemptions": 0}, "max_redemptions"),
    ({"code": "apply"}, "code"),
    ({"code": "applied"}, "code"),
    ({"code": "a/b"}, "code"),
    ({"name": ""}, "name"),
]


async def test_what_no_coupon_is(api: httpx.AsyncClient) -> None:
    for change, field in NO_COUPONS:
        assert fields_of(await refused(api, "/v1/coupons", {**TEN, **change}, 422)) == [field]


async def test_b121_a_coupon_is_applied_and_removed(acme: httpx.AsyncClient, stranger: httpx.AsyncClient) -> None:
    coupon = await made(acme, "/v1/coupons", {**TEN, "frequency": "recurring", "frequency_duration": 3})
    applied = await apply(acme, "TEN")
    assert (applied["coupon_id"], applied["customer_id"], applied["status"]) == (coupon["id"], "cust_acme", "active")
    assert (applied["percentage_rate"], applied["frequency_duration_remaining"]) == ("10", 3)
    assert (await acme.get("/v1/customers/cust_acme/applied_coupons")).json() == [applied]
    path = f"/v1/coupons/applied/{applied['id']}"
    await refused(stranger, path, None, 404, "applied_coupon_not_found", method="DELETE")
    for _ in range(2):
        assert (await acme.delete(path)).status_code == 204
    (removed,) = (await acme.get("/v1/customers/cust_acme/applied_coupons")).json()
    assert (removed["status"], removed["terminated_at"] is None) == ("terminated", False)
    analytics = (await acme.get("/v1/coupons/TEN/analytics")).json()
    assert analytics == {
        "times_applied": 1,
        "active_applications": 0,
        "terminated_applications": 1,
        "total_discount_cents": "0",
        "remaining_uses": None,
    }


async def test_an_application_may_have_a_worth_of_its_own(acme: httpx.AsyncClient) -> None:
    await made(acme, "/v1/coupons", TEN)
    await made(acme, "/v1/coupons", FIVE)
    assert (await apply(acme, "TEN", percentage_rate=25))["percentage_rate"] == "25"
    fixed = await apply(acme, "FIVE", amount_cents="750", amount_currency="EUR")
    assert (fixed["amount_cents"], fixed["amount_currency"], fixed["remaining_uses"]) == ("750", "EUR", 1)
    for body in ({"coupon_code": "TEN", "amount_cents": 1}, {"coupon_code": "FIVE", "percentage_rate": 1}):
        await refused(acme, "/v1/coupons/apply", {**HOLDER, **body}, 422)


async def test_who_may_have_a_coupon(acme: httpx.AsyncClient) -> None:
    await made(acme, "/v1/coupons", {**FIVE, "reusable": False})
    await made(acme, "/v1/coupons", {**TEN, "max_redemptions": 2})
    await made(acme, "/v1/coupons", {**TEN, "code": "LATE", "expires_at": "2020-01-01T00:00:00Z"})
    five, ten, late, none = ({**HOLDER, "coupon_code": code} for code in ("FIVE", "TEN", "LATE", "NONE"))
    await apply(acme, "FIVE")
    await refused(acme, "/v1/coupons/apply", five, 409, "coupon_not_reusable")
    await apply(acme, "TEN")
    assert (await acme.get("/v1/coupons/TEN/analytics")).json()["remaining_uses"] == 1
    await apply(acme, "TEN")
    await refused(acme, "/v1/coupons/apply", ten, 409, "coupon_exhausted")
    await refused(acme, "/v1/coupons/apply", late, 409, "coupon_expired")
    await acme.delete("/v1/coupons/FIVE")
    await refused(acme, "/v1/coupons/apply", five, 409, "coupon_terminated")
    await refused(acme, "/v1/coupons/apply", none, 404, "coupon_not_found")
    await refused(acme, "/v1/coupons/apply", {**ten, "customer_id": "nobody"}, 404, "customer_not_found")


async def test_ten_at_once_cannot_have_more_than_there_is(acme: httpx.AsyncClient) -> None:
    await made(acme, "/v1/coupons", {**FIVE, "reusable": False})
    body = {**HOLDER, "coupon_code": "FIVE"}
    answers = await asyncio.gather(*(acme.post("/v1/coupons/apply", json=body) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9


async def test_b121_a_duplicate_has_a_new_code(acme: httpx.AsyncClient) -> None:
    coupon = await made(acme, "/v1/coupons", TEN)
    await apply(acme, "TEN")
    copy = await made(acme, "/v1/coupons/TEN/duplicate", {})
    assert (copy["code"], copy["name"], copy["percentage_rate"]) == ("TEN_copy", "Ten (Copy)", "10")
    assert copy["id"] != coupon["id"]
    assert (await acme.get("/v1/coupons/TEN_copy/analytics")).json()["times_applied"] == 0
    await refused(acme, "/v1/coupons/TEN/duplicate", {}, 409, "coupon_exists")
    await refused(acme, "/v1/coupons/NONE/duplicate", {}, 404, "coupon_not_found")


async def test_changes_are_in_the_audit_log(acme: httpx.AsyncClient) -> None:
    await made(acme, "/v1/coupons", TEN)
    applied = await apply(acme, "TEN")
    await acme.delete(f"/v1/coupons/applied/{applied['id']}")
    entries = (await acme.get("/v1/audit_logs")).json()
    titles = [entry["title"] for entry in entries if "oupon" in entry["title"]]
    assert titles == [
        "Coupon TEN taken from customer cust_acme",
        "Coupon TEN applied to customer cust_acme",
        "Coupon TEN created",
    ]
