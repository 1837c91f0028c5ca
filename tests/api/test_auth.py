"""Who may call: headers, kinds, roles, restrictions, expiry, rotation (conflicts C2, C3, C33)."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from adapters.postgres.database import SYSTEM
from models.tables import api_keys
from tests.api.conftest import BOOTSTRAP_KEY, Service, bearer

HEADERS = ("authorization", "x-api-key", "x-usageflow-api-key")


def as_header(name: str, key: str) -> dict[str, str]:
    return {name: f"Bearer {key}" if name == "authorization" else key}


async def test_the_three_headers_are_alike_and_bearer_wins(service: Service) -> None:
    key = await service.key()
    answers = [await service.http.get("/v1/projects", headers=as_header(name, key)) for name in HEADERS]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len({answer.text for answer in answers}) == 1
    other = {**as_header("authorization", key), "x-api-key": "sk_live_wrong"}
    assert (await service.http.get("/v1/projects", headers=other)).status_code == 200
    wrong = {**as_header("authorization", "sk_live_wrong"), "x-api-key": key}
    assert (await service.http.get("/v1/projects", headers=wrong)).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Basic abc"},
        {"authorization": "Bearer "},
        bearer("sk_live_" + "0" * 64),
        bearer("x" * 9000),
    ],
)
async def test_without_a_known_key_the_answer_is_401(service: Service, headers: dict[str, str]) -> None:
    answer = await service.http.get("/v1/projects", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_key_comes_before_the_body(service: Service) -> None:
    answer = await service.http.post("/v1/projects", content=b"{not json", headers={"content-type": "application/json"})
    assert answer.status_code == 401


async def test_the_bootstrap_key_only_manages_organizations(service: Service) -> None:
    boot = bearer(BOOTSTRAP_KEY)
    assert (await service.http.get("/v1/organizations", headers=boot)).status_code == 200
    for path in ("/v1/projects", "/v1/organizations/current", "/v1/api-keys", "/v1/audit_logs"):
        answer = await service.http.get(path, headers=boot)
        assert (answer.status_code, answer.json()["code"]) == (403, "bootstrap_key_forbidden")
    key = bearer(await service.key())
    refused = await service.http.post("/v1/organizations", json={"name": "x"}, headers=key)
    assert (refused.status_code, refused.json()["code"]) == (403, "bootstrap_key_required")


async def test_an_ingest_key_works_but_manages_nothing(service: Service) -> None:
    key = bearer(await service.key())
    made = (await service.http.post("/api/api-keys", json={"name": "backend"}, headers=key)).json()
    assert made["key"].startswith("uf_live_")
    assert made["kind"] == "ingest"
    ingest = {"x-usageflow-api-key": made["key"]}
    assert made["scopes"] == ["events:write", "usage:read"]
    for method, path in (
        ("GET", "/v1/projects"),
        ("POST", "/v1/api-keys"),
        ("POST", "/v1/projects"),
        ("PUT", "/v1/organizations/current"),
    ):
        answer = await service.http.request(method, path, json={"name": "x"}, headers=ingest)
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")


async def test_roles_limit_what_a_key_does_and_gives_away(service: Service) -> None:
    owner = bearer(await service.key())

    async def with_role(role: str, by: dict[str, str]) -> tuple[int, str]:
        answer = await service.http.post("/v1/api-keys", json={"name": role, "role": role}, headers=by)
        return answer.status_code, answer.json().get("key", answer.json().get("code"))

    _, viewer = await with_role("VIEWER", owner)
    _, developer = await with_role("DEVELOPER", owner)
    _, admin = await with_role("ADMIN", owner)
    assert (await service.http.get("/v1/projects", headers=bearer(viewer))).status_code == 200
    refused = await service.http.patch("/v1/projects", json={"project_id": "x"}, headers=bearer(viewer))
    assert (refused.status_code, refused.json()["code"]) == (403, "role_forbidden")
    assert await with_role("VIEWER", bearer(developer)) == (403, "role_forbidden")
    assert await with_role("OWNER", bearer(admin)) == (403, "role_forbidden")
    unknown = await service.http.post("/v1/api-keys", json={"role": "EMPEROR"}, headers=owner)
    assert unknown.status_code == 422


async def test_a_restricted_key_stays_in_its_projects(service: Service) -> None:
    organization = await service.organization()
    owner = bearer(organization["api_key"]["key"])
    live, test = organization["default_project_id"], organization["test_project_id"]
    made = (await service.http.post("/v1/api-keys", json={"project_ids": [test]}, headers=owner)).json()
    assert made["key"].startswith("sk_test_")
    assert made["project_ids"] == [test]
    key = bearer(made["key"])
    listed = (await service.http.get("/v1/projects", headers=key)).json()
    assert [(project["id"], project["active"]) for project in listed] == [(test, True)]
    answer = await service.http.get("/v1/projects", headers={**key, "X-Project-Id": live})
    assert (answer.status_code, answer.json()["code"]) == (403, "project_forbidden")
    answer = await service.http.patch("/v1/projects", json={"project_id": live}, headers=key)
    assert (answer.status_code, answer.json()["code"]) == (403, "project_forbidden")
    widened = await service.http.post("/v1/api-keys", json={"project_ids": [live]}, headers=key)
    assert widened.status_code == 403
    inherited = (await service.http.post("/v1/api-keys", json={}, headers=key)).json()
    assert inherited["project_ids"] == [test]
    assert (await service.http.delete(f"/v1/api-keys/{organization['api_key']['id']}", headers=key)).status_code == 404
    mine = (await service.http.get("/v1/api-keys", headers=key)).json()
    assert {entry["id"] for entry in mine} == {made["id"], inherited["id"]}
    assert (await service.http.post("/v1/projects", json={"name": "x"}, headers=key)).status_code == 403


async def test_the_project_header_overrides_for_one_request(service: Service) -> None:
    organization = await service.organization()
    key = bearer(organization["api_key"]["key"])
    made = await service.http.post("/v1/projects", json={"id": "prj_eu", "name": "EU"}, headers=key)
    assert made.json()["id"] == "prj_eu"
    assert (await service.http.post("/v1/projects", json={"id": "prj_eu", "name": "x"}, headers=key)).status_code == 409

    async def active(**headers: str) -> list[str]:
        answer = await service.http.get("/v1/projects", headers={**key, **headers})
        return [project["name"] for project in answer.json() if project["active"]]

    assert await active() == ["Live"]
    assert await active(**{"X-Project-Id": "prj_eu"}) == ["EU"]
    assert await active(**{"X-Project-Id": organization["test_project_id"]}) == ["Test"]
    unknown = await service.http.get("/v1/projects", headers={**key, "X-Project-Id": "nothing"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "project_not_found")
    other = await service.organization("Other")
    foreign = await service.http.get("/v1/projects", headers={**key, "X-Project-Id": other["default_project_id"]})
    assert foreign.status_code == 404


async def test_rotation_kills_the_old_key_at_once_or_after_an_overlap(service: Service) -> None:
    owner = bearer(await service.key())
    old = (await service.http.post("/v1/api-keys", json={"name": "ci"}, headers=owner)).json()
    path = f"/v1/organizations/current/api_keys/{old['id']}/rotate"
    new = (await service.http.post(path, headers=owner)).json()
    assert new["name"] == "ci"
    assert new["rotated_from"] == old["id"]
    assert (await service.http.get("/v1/projects", headers=bearer(old["key"]))).status_code == 401
    assert (await service.http.get("/v1/projects", headers=bearer(new["key"]))).status_code == 200
    path = f"/v1/api-keys/{new['id']}/rotate"
    newest = (await service.http.post(path, json={"overlap_seconds": 3600}, headers=owner)).json()
    for key in (new["key"], newest["key"]):
        assert (await service.http.get("/v1/projects", headers=bearer(key))).status_code == 200
    assert (await service.http.post(path, json={"overlap_seconds": -1}, headers=owner)).status_code == 422


async def test_an_expired_key_is_refused(service: Service) -> None:
    owner = bearer(await service.key())
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    refused = await service.http.post("/v1/api-keys", json={"expires_at": past}, headers=owner)
    assert refused.status_code == 422
    future = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    made = (await service.http.post("/v1/api-keys", json={"expires_at": future}, headers=owner)).json()
    assert (await service.http.get("/v1/projects", headers=bearer(made["key"]))).status_code == 200
    async with service.app.state.database.transaction(SYSTEM) as connection:
        await connection.execute(
            update(api_keys).where(api_keys.c.id == made["id"]).values(expires_at=datetime.now(UTC))
        )
    assert (await service.http.get("/v1/projects", headers=bearer(made["key"]))).status_code == 401


async def test_a_secret_is_stored_as_a_hash_and_its_use_is_noted(service: Service) -> None:
    made = (await service.organization())["api_key"]
    await service.http.get("/v1/projects", headers=bearer(made["key"]))
    async with service.app.state.database.transaction(SYSTEM) as connection:
        row = (await connection.execute(select(api_keys).where(api_keys.c.id == made["id"]))).one()
    assert made["key"] not in str(row)
    assert made["key"].endswith(row.last_four)
    assert made["key"].startswith(row.key_prefix)
    assert row.last_used_at is not None
    await service.http.get("/v1/projects", headers=bearer(made["key"]))
    async with service.app.state.database.transaction(SYSTEM) as connection:
        again = (
            await connection.execute(select(api_keys.c.last_used_at).where(api_keys.c.id == made["id"]))
        ).scalar_one()
    assert again == row.last_used_at


async def test_a_deleted_organization_is_gone_with_its_keys(service: Service) -> None:
    organization = await service.organization()
    boot = bearer(BOOTSTRAP_KEY)
    key = bearer(organization["api_key"]["key"])
    assert (await service.http.delete(f"/v1/organizations/{organization['id']}", headers=key)).status_code == 403
    assert (await service.http.delete(f"/v1/organizations/{organization['id']}", headers=boot)).status_code == 204
    assert (await service.http.get("/v1/projects", headers=key)).status_code == 401
    assert (await service.http.delete(f"/v1/organizations/{organization['id']}", headers=boot)).status_code == 404
    assert organization["id"] not in [
        o["id"] for o in (await service.http.get("/v1/organizations", headers=boot)).json()
    ]
