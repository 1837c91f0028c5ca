"""``Idempotency-Key``: done once, answered again (C6, conflicts C28)."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import APIRouter, Response
from sqlalchemy import select, update

from adapters.postgres.database import SYSTEM
from api.http.deps import CallerDep
from api.http.responses import created, reply
from api.http.routing import resource_router
from models.problems import Problem
from models.tables import idempotency_keys
from tests.api.conftest import Service, bearer


class Counter:
    """How often the work was done, and a gate in front of it."""

    def __init__(self) -> None:
        self.calls = 0
        self.open = asyncio.Event()
        self.entered = asyncio.Event()
        self.open.set()


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def extra_router(counter: Counter) -> APIRouter | None:
    router = resource_router("Test")

    @router.post("/work")
    async def work(caller: CallerDep, body: dict[str, Any]) -> Response:
        counter.calls += 1
        counter.entered.set()
        await counter.open.wait()
        if body.get("fail"):
            raise Problem(int(body["fail"]), "as_wished", "as wished")
        return created({"call": counter.calls, "price": body.get("price")}, {"Location": "/v1/work/1"})

    @router.get("/work")
    async def look(caller: CallerDep) -> Response:
        counter.calls += 1
        return reply({})

    return router


async def test_the_same_request_is_done_once_and_answered_again(service: Service, counter: Counter) -> None:
    headers = {**bearer(await service.key()), "Idempotency-Key": "order-1"}
    first = await service.http.post("/v1/work", content=b'{"price": 0.10}', headers=headers)
    again = await service.http.post("/api/v1/work/", content=b'{"price": 0.10}', headers=headers)
    assert counter.calls == 1
    assert (first.status_code, first.json()) == (201, {"call": 1, "price": 0.1})
    assert (again.status_code, again.text, again.headers["location"]) == (201, first.text, "/v1/work/1")
    assert again.headers["content-type"] == "application/json"
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"


async def test_another_body_under_the_same_key_is_refused(service: Service, counter: Counter) -> None:
    headers = {**bearer(await service.key()), "Idempotency-Key": "order-1"}
    await service.http.post("/v1/work", json={"price": 1}, headers=headers)
    answer = await service.http.post("/v1/work", json={"price": 2}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert counter.calls == 1


async def test_keys_are_of_one_project(service: Service, counter: Counter) -> None:
    for _ in range(2):
        headers = {**bearer(await service.key()), "Idempotency-Key": "order-1"}
        assert (await service.http.post("/v1/work", json={}, headers=headers)).status_code == 201
    assert counter.calls == 2


async def test_any_key_of_the_project_may_repeat_a_request_if_its_role_is_the_same(
    service: Service, counter: Counter
) -> None:
    owner = bearer(await service.key())
    named = {"Idempotency-Key": "order-1"}
    first = await service.http.post("/v1/work", json={}, headers={**owner, **named})
    for role, status in (("OWNER", 201), ("DEVELOPER", 422)):
        made = await service.http.post("/v1/api-keys", json={"name": role, "role": role}, headers=owner)
        assert made.status_code == 201, made.text
        other = bearer(made.json()["key"])
        answer = await service.http.post("/v1/work", json={}, headers={**other, **named})
        assert answer.status_code == status, answer.text
        assert (answer.json() == first.json()) == (status == 201)
    assert counter.calls == 1


async def test_refusals_are_kept_and_failures_are_not(service: Service, counter: Counter) -> None:
    key = bearer(await service.key())
    for _ in range(2):
        answer = await service.http.post("/v1/work", json={"fail": 409}, headers={**key, "Idempotency-Key": "a"})
        assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    assert counter.calls == 1
    for _ in range(2):
        answer = await service.http.post("/v1/work", json={"fail": 503}, headers={**key, "Idempotency-Key": "b"})
        assert answer.status_code == 503
    assert counter.calls == 3


async def test_a_concurrent_duplicate_is_refused(service: Service, counter: Counter) -> None:
    headers = {**bearer(await service.key()), "Idempotency-Key": "order-1"}
    counter.open.clear()
    first = asyncio.create_task(service.http.post("/v1/work", json={}, headers=headers))
    await counter.entered.wait()
    second = await service.http.post("/v1/work", json={}, headers=headers)
    assert (second.status_code, second.json()["code"]) == (409, "idempotency_in_progress")
    assert second.headers["retry-after"] == "1"
    counter.open.set()
    assert (await first).status_code == 201
    assert (await service.http.post("/v1/work", json={}, headers=headers)).headers["idempotency-replayed"] == "true"
    assert counter.calls == 1


async def test_of_many_at_once_one_does_the_work(service: Service, counter: Counter) -> None:
    headers = {**bearer(await service.key()), "Idempotency-Key": "order-1"}
    answers = await asyncio.gather(*(service.http.post("/v1/work", json={}, headers=headers) for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert counter.calls == 1


async def test_a_crashed_holder_loses_the_key_when_its_lock_expires(service: Service, counter: Counter) -> None:
    headers = {**bearer(await service.key()), "Idempotency-Key": "order-1"}
    await service.http.post("/v1/work", json={}, headers=headers)

    async def leave(**values: Any) -> None:
        async with service.app.state.database.transaction(SYSTEM) as connection:
            await connection.execute(update(idempotency_keys).values(**values))

    await leave(response_status=None, locked_until=datetime.now(UTC) + timedelta(minutes=1))
    assert (await service.http.post("/v1/work", json={}, headers=headers)).status_code == 409
    await leave(locked_until=datetime.now(UTC) - timedelta(seconds=1))
    assert (await service.http.post("/v1/work", json={}, headers=headers)).status_code == 201
    assert counter.calls == 2


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_has_a_length(service: Service, key: str) -> None:
    headers = {**bearer(await service.key()), "Idempotency-Key": key}
    answer = await service.http.post("/v1/work", json={}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_invalid")


async def test_reading_and_answers_with_secrets_are_not_stored(service: Service, counter: Counter) -> None:
    headers = {**bearer(await service.key()), "Idempotency-Key": "order-1"}
    for _ in range(2):
        await service.http.get("/v1/work", headers=headers)
    assert counter.calls == 2
    keys = [
        (await service.http.post("/v1/api-keys", json={"name": "x"}, headers=headers)).json()["key"] for _ in range(2)
    ]
    assert keys[0] != keys[1]
    async with service.app.state.database.transaction(SYSTEM) as connection:
        assert (await connection.execute(select(idempotency_keys.c.key))).all() == []
