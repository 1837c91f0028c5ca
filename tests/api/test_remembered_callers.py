"""What the ingestion routes remember of a key never outlives the key, its rights or its project (B17, B18)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from adapters.postgres.database import SYSTEM
from tests.api.conftest import BOOTSTRAP_KEY, Service, bearer

EVENT = {"customer_id": "nobody", "metric_key": "nothing", "value": 1}
ROUTES: dict[str, Any] = {
    "/v1/events": EVENT,
    "/v1/events/batch": {"events": [EVENT]},
    "/v1/usage": [{"subscription": "sub.x", "meter": "meter.x", "value": 1}],
    "/api/v1/usage": [{"subscription": "sub.x", "meter": "meter.x", "value": 1}],
    "/api/track": {"metric": "nothing", "amount": 1, "customerId": "nobody"},
}


@pytest.fixture
async def owner(service: Service) -> httpx.AsyncClient:
    """The first key of an organization."""
    service.http.headers.update(bearer(await service.key()))
    return service.http


async def made(owner: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await owner.post(path, json=body)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def sent(http: httpx.AsyncClient, path: str, headers: dict[str, str], times: int = 1) -> list[int]:
    """Send the same request several times; only the first finds nothing remembered."""
    answers = [await http.post(path, json=ROUTES[path], headers=headers) for _ in range(times)]
    for answer in answers:
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
    return [answer.status_code for answer in answers]


async def test_a_project_may_be_named_by_its_own_id(owner: httpx.AsyncClient) -> None:
    project = await made(owner, "/v1/projects", id="staging", name="Staging")
    for path in ROUTES:
        for name in ("staging", project["uuid"], project["uuid"].upper(), f" {project['uuid']} "):
            assert set(await sent(owner, path, {"X-Project-Id": name}, times=3)) < {200, 202}, (path, name)
    listed = await owner.get("/v1/events", headers={"X-Project-Id": "staging"})
    assert listed.headers["x-total-count"] == str(3 * 4 * len(ROUTES))
    assert (await owner.get("/v1/events")).headers["x-total-count"] == "0"


async def test_garbage_names_no_project(owner: httpx.AsyncClient) -> None:
    for path, body in ROUTES.items():
        for project in ("nothing", "' OR 1=1 --", "0" * 32, "{}", "é", "x" * 5000, "%00", "a,b"):
            for _ in range(2):
                raw = [(b"x-project-id", project.encode("latin-1"))]
                answer = await owner.post(path, json=body, headers=raw)
                assert (answer.status_code, answer.json()["code"]) == (404, "project_not_found"), (path, project)


async def test_another_organizations_project_does_not_exist(service: Service, owner: httpx.AsyncClient) -> None:
    other = await service.organization("Other")
    theirs = await owner.post(
        "/v1/projects", json={"id": "theirs", "name": "Theirs"}, headers=bearer(other["api_key"]["key"])
    )
    for path in ROUTES:
        for project in (theirs.json()["id"], "theirs", str(other["default_project_id"])):
            assert await sent(owner, path, {"X-Project-Id": project}, times=2) == [404, 404]


async def test_a_revoked_key_is_refused_at_the_very_next_request(owner: httpx.AsyncClient) -> None:
    for path in ROUTES:
        key = await made(owner, "/v1/api-keys", name="short")
        assert set(await sent(owner, path, bearer(key["key"]), times=3)) <= {200, 202}
        assert (await owner.delete(f"/v1/api-keys/{key['id']}")).status_code == 204
        assert await sent(owner, path, bearer(key["key"]), times=3) == [401, 401, 401]


async def test_a_rotated_key_is_refused_at_the_very_next_request(owner: httpx.AsyncClient) -> None:
    for path in ROUTES:
        old = await made(owner, "/v1/api-keys", name="short")
        assert set(await sent(owner, path, bearer(old["key"]), times=2)) <= {200, 202}
        new = (await owner.post(f"/v1/api-keys/{old['id']}/rotate", json={})).json()
        assert await sent(owner, path, bearer(old["key"]), times=2) == [401, 401]
        assert set(await sent(owner, path, bearer(new["key"]), times=2)) <= {200, 202}


CHANGES = {
    "expiry": ("expires_at = clock_timestamp()", 401),
    "role": ("role = 'VIEWER'", 403),
    "restriction": ("project_ids = ARRAY['{other}'::uuid]", 403),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_a_key_loses_it_loses_at_once(service: Service, owner: httpx.AsyncClient, change: str) -> None:
    other = await made(owner, "/v1/projects", name="Other")
    expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assignment, status = CHANGES[change]
    statement = text(f"UPDATE api_keys SET {assignment.format(other=other['id'])} WHERE id = :id")
    for path in ROUTES:
        key = await made(owner, "/v1/api-keys", name="short", expires_at=expires)
        assert set(await sent(owner, path, bearer(key["key"]), times=2)) <= {200, 202}
        async with service.app.state.database.transaction(SYSTEM) as connection:
            await connection.execute(statement, {"id": key["id"]})
        assert await sent(owner, path, bearer(key["key"]), times=2) == [status, status]


async def test_events_follow_the_key_to_its_new_project(owner: httpx.AsyncClient) -> None:
    for path in ROUTES:
        key = await made(owner, "/v1/api-keys", name="moving")
        assert set(await sent(owner, path, bearer(key["key"]), times=2)) <= {200, 202}
        project = await made(owner, "/v1/projects", name="Second")
        moved = await owner.patch("/v1/projects", json={"project_id": project["id"]}, headers=bearer(key["key"]))
        assert moved.status_code == 200
        assert set(await sent(owner, path, bearer(key["key"]), times=2)) <= {200, 202}
        there = await owner.get("/v1/events", headers={"X-Project-Id": project["id"]})
        assert there.headers["x-total-count"] == "2"


async def test_a_deleted_organization_ingests_nothing(service: Service) -> None:
    for path in ROUTES:
        ending = await service.organization("Ending")
        key = bearer(ending["api_key"]["key"])
        assert set(await sent(service.http, path, key, times=2)) <= {200, 202}
        deleted = await service.http.delete(f"/v1/organizations/{ending['id']}", headers=bearer(BOOTSTRAP_KEY))
        assert deleted.status_code == 204
        assert await sent(service.http, path, key, times=2) == [401, 401]
