"""B181-B183, B186 and the bad input that no route may answer with a 500."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.embedded_postgres import EmbeddedPostgres
from devstack.temporal_server import TemporalServer
from tests.conftest import make_database
from tests.support.stack import Stack, running
from tests.waiting import eventually

JSON = {"Content-Type": "application/json"}


async def billable(client: httpx.AsyncClient, *, customer: str = "cust_p", start: datetime | None = None) -> str:
    """Make metric, plan, customer and subscription; returns the subscription's id."""
    start = start or datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/v1/metrics", {"key": "api_calls", "name": "API Calls", "aggregation": "sum"}),
        (
            "/v1/plans",
            {
                "id": "plan_p",
                "name": "P",
                "currency": "usd",
                "billing_period": "monthly",
                "charges": [
                    {"metric_key": "api_calls", "pricing_model": "tiered", "tiers": [{"up_to": None, "unit_price": 1}]}
                ],
            },
        ),
    ]
    for path, body in bodies:
        answer = await client.post(path, json=body)
        assert answer.status_code in (201, 409), answer.text
    answer = await client.post("/v1/customers", json={"id": customer, "name": customer})
    assert answer.status_code == 201, answer.text
    answer = await client.post(
        "/v1/subscriptions",
        json={"customer_id": customer, "plan_id": "plan_p", "start_date": start.isoformat()},
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def event(key: str, value: Any = 1, customer: str = "cust_p") -> dict[str, Any]:
    return {"customer_id": customer, "metric_key": "api_calls", "value": value, "idempotency_key": key}


async def quantity(client: httpx.AsyncClient, subscription: str) -> float:
    answer = await client.get(f"/v1/subscriptions/{subscription}/current_usage")
    assert answer.status_code == 200, answer.text
    return sum(float(charge["units"]) for charge in answer.json()["charges"] if charge.get("units") is not None)


async def test_b181_the_stack_is_healthy_and_its_worker_polls(stack: Stack, client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz")
    assert answer.status_code == 200
    subscription = await billable(client)

    async def state() -> str:
        return str((await client.get(f"/v1/subscriptions/{subscription}")).json()["status"])

    await eventually(state, until=lambda status: status == "active")


async def test_b186_json_is_required_and_refusals_are_json(client: httpx.AsyncClient) -> None:
    for content, headers in ((b"not json", JSON), (b"<a/>", {"Content-Type": "application/xml"}), (b"", JSON)):
        answer = await client.post("/v1/customers", content=content, headers=headers)
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert {"type", "title", "status", "detail", "code"} <= set(answer.json())


@pytest.fixture
async def own_stack(
    postgres: EmbeddedPostgres, temporal_server: TemporalServer, tmp_path: Path
) -> AsyncIterator[Callable[[], Stack]]:
    """A stack that a test may break."""
    fresh = make_database(postgres)
    made = Stack(
        database_url=fresh.url,
        admin_url=fresh.admin_url,
        temporal_address=temporal_server.address,
        directory=tmp_path,
    )
    with running(made) as ready:
        yield lambda: ready


async def test_b183_what_was_acknowledged_survives_a_killed_worker(own_stack: Callable[[], Stack]) -> None:
    stack = own_stack()
    async with stack.client() as client:
        subscription = await billable(client)
        for number in range(20):
            assert (await client.post("/v1/events", json=event(f"before-{number}"))).status_code == 202
        stack.kill_worker()
        for number in range(20):
            assert (await client.post("/v1/events", json=event(f"after-{number}"))).status_code == 202
        assert await quantity(client, subscription) == 40
        stack.start_worker()
        stack.wait_until_ready()
        answer = await client.post(
            "/v1/invoices",
            json={"customer_id": "cust_p", "cutoff_date": (datetime.now(UTC) + timedelta(minutes=5)).isoformat()},
        )
        assert answer.status_code == 201, answer.text
        assert answer.json()["total_amount"] == 4000


async def test_b183_what_was_acknowledged_survives_a_killed_api(own_stack: Callable[[], Stack]) -> None:
    stack = own_stack()
    async with stack.client() as client:
        subscription = await billable(client)
        acknowledged: set[str] = set()

        async def send(number: int) -> None:
            try:
                answer = await client.post("/v1/events", json=event(f"e-{number}"))
            except httpx.HTTPError:
                return
            if answer.status_code == 202:
                acknowledged.add(f"e-{number}")

        sending = [asyncio.create_task(send(number)) for number in range(200)]

        async def count() -> int:
            return len(acknowledged)

        await eventually(count, until=lambda seen: seen >= 20)
        stack.kill_api()
        await asyncio.gather(*sending)
        stack.start_api()
        stack.wait_until_ready()
        counted = await quantity(client, subscription)
        assert len(acknowledged) <= counted <= 200
        for number in range(200):
            assert (await client.post("/v1/events", json=event(f"e-{number}"))).status_code == 202
        assert await quantity(client, subscription) == 200


BAD_BODIES = [
    ("malformed", b'{"name": '),
    ("nan", b'{"id": "x", "name": "x", "net_payment_term": NaN}'),
    ("infinity", b'{"id": "x", "name": "x", "net_payment_term": Infinity}'),
    ("huge exponent", b'{"id": "x", "name": "x", "net_payment_term": 1e400}'),
    ("400 digits", b'{"id": "x", "name": "x", "net_payment_term": ' + b"9" * 400 + b"}"),
    ("nul", b'{"id": "a\\u0000b", "name": "x"}'),
    ("lone surrogate", b'{"id": "a\\ud800", "name": "x"}'),
    ("not utf-8", b'{"id": "\xff", "name": "x"}'),
    ("deep", b"[" * 5000 + b"]" * 5000),
    ("a list", b"[1, 2]"),
    ("a string", b'"x"'),
]


@pytest.mark.parametrize("path", ["/v1/customers", "/v1/plans", "/v1/metrics", "/v1/subscriptions", "/v1/invoices"])
@pytest.mark.parametrize(("label", "content"), BAD_BODIES, ids=[label for label, _ in BAD_BODIES])
async def test_bad_bodies_are_refused(client: httpx.AsyncClient, path: str, label: str, content: bytes) -> None:
    answer = await client.post(path, content=content, headers=JSON)
    assert 400 <= answer.status_code < 500, f"{label}: {answer.status_code} {answer.text[:200]}"
    assert answer.json()["code"]


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"9" * 400, b'"x"', b"true", b"{}"])
@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/batch"])
async def test_bad_quantities_are_refused_and_nothing_is_stored(
    client: httpx.AsyncClient, path: str, value: bytes
) -> None:
    one = b'{"customer_id": "c", "metric_key": "m", "idempotency_key": "k", "value": ' + value + b"}"
    content = one if path == "/v1/events" else b'{"events": [' + one + b"]}"
    answer = await client.post(path, content=content, headers=JSON)
    assert 400 <= answer.status_code < 500, answer.text[:200]
    assert (await client.get("/v1/events")).json() == []


async def test_a_body_of_10_megabytes_is_refused(client: httpx.AsyncClient) -> None:
    content = b'{"name": "' + b"x" * 10_000_000 + b'"}'
    try:
        answer = await client.post("/v1/customers", content=content, headers=JSON)
    except httpx.WriteError:
        return  # refused while it was still being sent
    assert answer.status_code == 413
    assert answer.json()["code"]


async def test_unknown_routes_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/nothing_here")).json()["status"] == 404
    answer = await client.request("DELETE", "/v1/metrics")
    assert answer.status_code == 405
    assert answer.json()["code"]
