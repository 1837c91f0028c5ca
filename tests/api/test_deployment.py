"""What every deployment shows: root, health, lists, the audit log, the first organization."""

from typing import Any

import pytest

from adapters.postgres.tenancy.bootstrap import ensure_default_organization, new_demo_key
from tests.api.conftest import BOOTSTRAP_KEY, Service, bearer


async def test_the_root_needs_no_key(service: Service) -> None:
    answer = await service.http.get("/")
    assert answer.status_code == 200
    assert answer.json()["name"] == "Durabill"
    assert (await service.http.get("/docs")).status_code == 200
    assert b"process_" in (await service.http.get("/metrics")).content


async def test_health_says_which_part_is_missing(service: Service) -> None:
    answer = await service.http.get("/healthz")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unavailable",
        "database": "ok",
        "temporal": "unreachable",
        "worker": "not polling",
    }


async def test_lists_tell_their_length_and_the_next_part(service: Service) -> None:
    key = bearer(await service.key())
    for number in range(5):
        await service.http.post("/v1/api-keys", json={"name": f"key {number}"}, headers=key)
    names: list[str] = []
    url = "/v1/api-keys?limit=2"
    while url:
        answer = await service.http.get(url, headers=key)
        assert answer.headers["x-total-count"] == "6"
        names += [entry["name"] for entry in answer.json()]
        # An insert between two parts does not move what comes next.
        url = answer.links.get("next", {}).get("url", "")
    assert names == ["key 4", "key 3", "key 2", "key 1", "key 0", "Initial API Key"]
    by_name = await service.http.get("/v1/api-keys?order_by=name:asc&limit=3&skip=1", headers=key)
    assert [entry["name"] for entry in by_name.json()] == ["key 0", "key 1", "key 2"]


async def test_the_cursor_is_stable_under_inserts(service: Service) -> None:
    key = bearer(await service.key())
    for number in range(3):
        await service.http.post("/v1/api-keys", json={"name": f"key {number}"}, headers=key)
    first = await service.http.get("/v1/api-keys?limit=2", headers=key)
    await service.http.post("/v1/api-keys", json={"name": "later"}, headers=key)
    second = await service.http.get(first.links["next"]["url"], headers=key)
    assert [entry["name"] for entry in second.json()] == ["key 0", "Initial API Key"]


async def test_an_organization_has_every_field_and_can_be_changed(service: Service) -> None:
    organization = await service.organization("Çloud AI & Co.")
    assert organization["slug"] == "cloud-ai-co"
    assert (await service.organization("Cloud AI Co"))["slug"].startswith("cloud-ai-co-")
    key = bearer(organization["api_key"]["key"])
    assert organization["api_key"]["raw_key"] == organization["api_key"]["key"]
    assert organization["api_key"]["name"] == "Initial API Key"
    changes = {"timezone": "Europe/Berlin", "brand_color": "#336699", "email": "a@example.com", "hmac_key": "h"}
    changed = (await service.http.put("/v1/organizations/current", json=changes, headers=key)).json()
    assert changed == {**changed, **changes, "portal_accent_color": "#336699", "name": "Çloud AI & Co."}
    current = (await service.http.get("/v1/organizations/current", headers=key)).json()
    assert current == changed
    assert {name for name in organization if name not in changed} == {
        "api_key",
        "default_project_id",
        "test_project_id",
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "  "},
        {"name": None},
        {"name": 7},
        {"name": "x" * 256},
        {"name": "x", "default_currency": "XXX"},
        {"name": "x", "default_currency": "EURO"},
        {"name": "x", "timezone": "Mars/Base"},
        {"name": "x", "timezone": "../x"},
    ],
)
async def test_a_bad_organization_is_refused(service: Service, body: dict[str, Any]) -> None:
    answer = await service.http.post("/v1/organizations", json=body, headers=bearer(BOOTSTRAP_KEY))
    assert answer.status_code == 422, answer.text


async def test_usageflow_makes_further_organizations(service: Service) -> None:
    key = bearer(await service.key())
    answer = await service.http.post("/api/organizations", json={"name": "Second"}, headers=key)
    assert answer.status_code == 201
    second = bearer(answer.json()["api_key"]["key"])
    current = (await service.http.get("/v1/organizations/current", headers=second)).json()
    assert current["id"] == answer.json()["id"]


async def test_a_currency_is_echoed_as_it_was_sent(service: Service) -> None:
    body = {"name": "x", "default_currency": "eur"}
    answer = await service.http.post("/v1/organizations", json=body, headers=bearer(BOOTSTRAP_KEY))
    assert answer.json()["default_currency"] == "eur"


async def test_every_change_is_in_the_audit_log(service: Service) -> None:
    organization = await service.organization()
    key = bearer(organization["api_key"]["key"])
    project = (await service.http.post("/v1/projects", json={"name": "EU"}, headers=key)).json()
    await service.http.patch(f"/v1/projects/{project['id']}", json={"name": "Europe"}, headers=key)
    trail = (await service.http.get(f"/v1/audit_logs/project/{project['id']}", headers=key)).json()
    assert [entry["action"] for entry in trail] == ["updated", "created"]
    assert trail[0]["changes"] == {"name": {"old": "EU", "new": "Europe"}}
    assert trail[0]["actor_type"] == "api_key"
    assert trail[0]["actor_id"] == organization["api_key"]["id"]
    log = await service.http.get("/v1/audit_logs?resource_type=project&action=created", headers=key)
    assert log.headers["x-total-count"] == "3"
    assert {entry["actor_type"] for entry in log.json()} == {"bootstrap", "api_key"}
    future = await service.http.get("/v1/audit_logs?start_date=2199-01-01", headers=key)
    assert future.json() == []
    other = bearer(await service.key("Other"))
    assert (await service.http.get(f"/v1/audit_logs/project/{project['id']}", headers=other)).json() == []
    secret = organization["api_key"]["key"]
    assert secret not in (await service.http.get("/v1/audit_logs", headers=key)).text


async def test_the_default_organization_is_made_once(service: Service) -> None:
    database = service.app.state.database
    first = await ensure_default_organization(database)
    again = await ensure_default_organization(database)
    assert first.demo_key is not None
    assert (again.organization_id, again.demo_key) == (first.organization_id, None)
    for key in (first.demo_key, await new_demo_key(database)):
        projects = (await service.http.get("/v1/projects", headers=bearer(key))).json()
        assert key.startswith("sk_test_")
        assert {project["environment"]: project["active"] for project in projects} == {"live": False, "test": True}
    path = f"/v1/organizations/{first.organization_id}"
    assert (await service.http.delete(path, headers=bearer(BOOTSTRAP_KEY))).status_code == 409
