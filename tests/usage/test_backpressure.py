"""When Postgres cannot follow, ingestion holds a bounded amount and says 429; what it took is stored in the end."""

import asyncio
from typing import Any

import httpx
import psycopg
import pytest

from api.events.ingest_queue import IngestQueue
from models.problems import Problem
from tests.api.conftest import Service
from tests.conftest import FreshDatabase
from tests.usage.conftest import Shop
from tests.waiting import eventually


def batch(number: int, size: int, **more: Any) -> list[dict[str, Any]]:
    one = {"customer_id": "acme", "metric_key": "api_calls", "value": 1, **more}
    return [{**one, "idempotency_key": f"{number}-{place}"} for place in range(size)]


async def test_what_waits_is_bounded_and_nothing_of_it_is_lost(
    shop: Shop, service: Service, fresh_database: FreshDatabase
) -> None:
    subscription = await shop.ready()
    queue = service.app.state.ingest_queue = IngestQueue(service.app.state.database, most_waiting_events=600)

    async def send(number: int) -> httpx.Response:
        return await shop.http.post("/v1/events/batch", json=batch(number, 100))

    with psycopg.connect(fresh_database.admin_url) as blocking:
        blocking.execute("LOCK TABLE event_keys IN EXCLUSIVE MODE")
        sending = [asyncio.create_task(send(number)) for number in range(30)]

        async def refused() -> int:
            return sum(task.done() for task in sending)

        await eventually(refused, until=lambda count: count >= 1)
        late = await shop.http.post("/v1/events/batch", json=batch(99, 600))
        assert (late.status_code, late.json()["code"], late.headers["retry-after"]) == (429, "ingestion_busy", "1")
        # Beside what waits, at most three flushes of a thousand events are on their way.
        assert 30 - sum(task.done() for task in sending) <= 6 + 3 * 10
        blocking.rollback()
    answers = await asyncio.gather(*sending)
    taken = sum(answer.status_code == 202 for answer in answers)
    assert {answer.status_code for answer in answers} == {202, 429}
    assert await shop.units(subscription) == str(100 * taken)
    again = await asyncio.gather(*(send(number) for number, answer in enumerate(answers) if answer.status_code == 429))
    assert {answer.status_code for answer in again} <= {202, 429}
    queue.require_room(events=600)


async def test_bytes_are_bounded_too(shop: Shop, service: Service, fresh_database: FreshDatabase) -> None:
    await shop.ready()
    queue = service.app.state.ingest_queue = IngestQueue(service.app.state.database, most_waiting_bytes=100_000)
    large = batch(1, 1, properties={"text": "x" * 60_000})
    with psycopg.connect(fresh_database.admin_url) as blocking:
        blocking.execute("LOCK TABLE event_keys IN EXCLUSIVE MODE")
        sending = [asyncio.create_task(shop.http.post("/v1/events/batch", json=large)) for _ in range(4)]

        async def full() -> bool:
            try:
                queue.require_room(size=60_000)
            except Problem as refusal:
                return refusal.status == 429
            return False

        await eventually(full)
        blocking.rollback()
    answers = await asyncio.gather(*sending)
    assert {answer.status_code for answer in answers} == {202, 429}
    queue.require_room(size=100_000)
    with pytest.raises(Problem, match="ingestion_busy"):
        queue.require_room(size=100_001)
