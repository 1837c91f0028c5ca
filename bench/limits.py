"""Reservations under hard limits at a steady 500 requests a second: how long an answer takes.

Requests leave at fixed times, whether or not earlier ones were answered, so that a slow answer is not hidden by a
client that waits. Three loads: reservations alone over the customers of the ingestion benchmark, each with a cap of
its own; reservations of one subscription that has 10,000 open ones; reserve-and-commit pairs. The limit is the route
that stores nothing at the same pace.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from decimal import Decimal

import httpx

from adapters.postgres.database import Database
from adapters.postgres.limits import reservation_store
from adapters.postgres.limits.reservation_store import ReservationRequest, Reserved
from api.http.auth import caller_with_key
from bench import http_load
from bench.http_load import Load
from bench.ingestion import CUSTOMERS, DATABASE, Shop, event, shop
from bench.report import Row

RATE = 500
SECONDS = 6.0
QUICK_SECONDS = 3.0
CONNECTIONS = 32
CROWD = 10_000


async def run(quick: bool = False) -> list[Row]:
    """Measure the 99th percentile of answers, in milliseconds."""
    seconds = QUICK_SECONDS if quick else SECONDS
    async with shop() as running:
        subscriptions = await _capped(running)
        await _paced(running.port, _reservations(running, subscriptions, 1.0), expect=201)
        alone = await _paced(running.port, _reservations(running, subscriptions, seconds), expect=201)
        await _crowd(running, subscriptions[0])
        crowded = await _paced(running.port, _reservations(running, subscriptions[:1], seconds), expect=201)
        pairs = await _pairs(running, subscriptions, seconds)
        noop = await _paced(running.noop_port, _noops(running, seconds), expect=202)
    limit = (_milliseconds(noop, 99),)
    return [
        Row(f"reservations at {RATE}/s, p99", "ms", (_milliseconds(alone, 99),), "no-op route, p99", limit, "< 15 ms"),
        Row(f"reservations at {RATE}/s, p50", "ms", (_milliseconds(alone, 50),)),
        Row(
            f"the same at {RATE}/s on one subscription with {CROWD:,} open, p99",
            "ms",
            (_milliseconds(crowded, 99),),
            "no-op route, p99",
            limit,
            "< 15 ms",
        ),
        Row(f"reserve + commit at {RATE}/s, p99", "ms", (_milliseconds(pairs, 99),), "no-op route, p99", limit),
    ]


def _milliseconds(load: Load, percent: int) -> float:
    return load.percentile(percent) * 1000


async def _capped(running: Shop) -> list[str]:
    """Cap the metric of every subscription far above what is asked for; returns the subscriptions' ids."""
    headers = {"Authorization": f"Bearer {running.key}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=60, headers=headers) as client:
        listed = (await client.get("/v1/subscriptions", params={"limit": 1000})).json()
        found = [str(each["id"]) for each in listed]
        assert len(found) == CUSTOMERS
        for subscription in found:
            body = {"metric_key": "api_calls", "cap": 1_000_000}
            answer = await client.post(f"/v1/subscriptions/{subscription}/limits", json=body)
            assert answer.status_code == 201, answer.text
    return found


async def _crowd(running: Shop, subscription: str) -> None:
    """Open many reservations of one subscription, which stay open for an hour."""
    database = Database(running.postgres.url(DATABASE, user="durabill"), pool_size=1)
    scope = (await caller_with_key(database, running.key)).scope
    asks = [ReservationRequest(subscription, "api_calls", Decimal(1), 3600)] * CROWD
    answers = await reservation_store.reserve(database, scope, asks)
    assert all(isinstance(answer, Reserved) for answer in answers)
    await database.close()


def _reservations(running: Shop, subscriptions: Sequence[str], seconds: float) -> list[bytes]:
    body = json.dumps({"metric": "api_calls", "quantity": 1, "ttl_seconds": 60}).encode()
    count = int(RATE * seconds)
    paths = (f"/v1/subscriptions/{subscriptions[number % len(subscriptions)]}/reservations" for number in range(count))
    return [http_load.request(path, body, running.key) for path in paths]


def _noops(running: Shop, seconds: float) -> list[bytes]:
    body = json.dumps(event("same")).encode()
    return [http_load.request("/v1/events", body, running.key)] * int(RATE * seconds)


async def _pairs(running: Shop, subscriptions: Sequence[str], seconds: float) -> Load:
    """Reserve, then commit what was reserved; returns the latencies of both."""
    reservations = _reservations(running, subscriptions, seconds / 2)
    bodies: list[bytes] = []
    reserved = await _paced(running.port, reservations, expect=201, bodies=bodies)
    commits = [
        http_load.request(f"/v1/reservations/{json.loads(body)['id']}/commit", b"{}", running.key) for body in bodies
    ]
    committed = await _paced(running.port, commits, expect=200)
    return Load(reserved.seconds + committed.seconds, (*reserved.latencies, *committed.latencies))


async def _paced(port: int, requests: Sequence[bytes], *, expect: int, bodies: list[bytes] | None = None) -> Load:
    return await http_load.paced(port, requests, rate=RATE, connections=CONNECTIONS, expect=expect, bodies=bodies)


if __name__ == "__main__":
    from bench.report import show

    show(asyncio.run(run(quick="--quick" in sys.argv)))
