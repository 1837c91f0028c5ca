"""B21, B22: people are invited to an organization, with one of four roles."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.quickstart import made
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

DEVELOPER = {"email": "dev@cloudai.dev", "role": "DEVELOPER"}


async def _organization(client: httpx.AsyncClient) -> str:
    return str((await client.get("/v1/organizations/current")).json()["id"])


async def _key(client: httpx.AsyncClient, role: str) -> dict[str, str]:
    key = (await made(client, "/v1/api-keys", {"name": role, "role": role}))["key"]
    return {"Authorization": f"Bearer {key}"}


async def test_b21_four_roles_and_no_other(client: httpx.AsyncClient) -> None:
    path = f"/api/organizations/{await _organization(client)}"
    for role in ("OWNER", "ADMIN", "DEVELOPER", "VIEWER"):
        invited = await made(client, f"{path}/invitations", {"email": f"{role}@cloudai.dev", "role": role})
        assert (invited["role"], invited["status"]) == (role, "invited")
    for body in (
        {"email": "x@example.com", "role": "FOO"},
        {"email": "x@example.com", "role": "EMPEROR"},
        {"email": "x@example.com"},
        {"role": "VIEWER"},
        {"email": "nobody", "role": "VIEWER"},
    ):
        assert (await client.post(f"{path}/invitations", json=body)).status_code == 422
    members = (await client.get(f"{path}/members")).json()
    assert [each["role"] for each in members] == ["VIEWER", "DEVELOPER", "ADMIN", "OWNER"]


async def test_b22_owners_and_admins_invite(client: httpx.AsyncClient) -> None:
    path = f"/api/organizations/{await _organization(client)}/invitations"
    for role, status in (("VIEWER", 403), ("DEVELOPER", 403), ("ADMIN", 201)):
        answer = await client.post(path, json=DEVELOPER, headers=await _key(client, role))
        assert answer.status_code == status, role
    above = {"email": "boss@cloudai.dev", "role": "OWNER"}
    assert (await client.post(path, json=above, headers=await _key(client, "ADMIN"))).status_code == 403
    assert (await client.post(path, json=above)).status_code == 201


async def test_b22_an_invitations_secret_is_shown_once(stack: Stack, client: httpx.AsyncClient) -> None:
    path = f"/api/organizations/{await _organization(client)}"
    answer = await client.post(f"{path}/invitations", json=DEVELOPER, headers={"Idempotency-Key": "once"})
    invited: dict[str, Any] = answer.json()
    token = invited.pop("token")
    assert token.startswith("invite_")
    assert len(token) >= 50
    listed = await client.get(f"{path}/members")
    assert listed.json() == [invited]
    log = (await client.get(f"/v1/audit_logs/member/{invited['id']}")).text
    assert '"invited"' in log
    assert token not in log + listed.text
    ends = datetime.fromisoformat(invited["expires_at"])
    assert timedelta(days=6) < ends - datetime.fromisoformat(invited["created_at"]) < timedelta(days=8)
    async with await psycopg.AsyncConnection.connect(stack.admin_url) as connection:
        stored = await (await connection.execute("SELECT row_to_json(m)::text FROM members m")).fetchall()
        assert token not in str(stored)
        kept = await (await connection.execute("SELECT count(*) FROM idempotency_keys WHERE key = 'once'")).fetchone()
        assert kept == (0,)


async def test_b22_an_invitation_is_not_made_twice_until_it_ends(stack: Stack, client: httpx.AsyncClient) -> None:
    path = f"/api/organizations/{await _organization(client)}"
    first = await made(client, f"{path}/invitations", DEVELOPER)
    again = {"email": "DEV@cloudai.dev", "role": "VIEWER"}
    answer = await client.post(f"{path}/invitations", json=again)
    assert (answer.status_code, answer.json()["code"]) == (409, "invitation_pending")
    async with await psycopg.AsyncConnection.connect(stack.admin_url, autocommit=True) as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await connection.execute("UPDATE members SET invitation_expires_at = %s WHERE id = %s", (past, first["id"]))
    second = await made(client, f"{path}/invitations", again)
    assert (second["id"], second["role"]) == (first["id"], "VIEWER")
    assert second["token"] != first["token"]


async def test_b22_organizations_do_not_see_each_others_members(stack: Stack) -> None:
    async with stack.client("Ours") as ours, stack.client("Theirs") as theirs:
        path = f"/api/organizations/{await _organization(ours)}"
        await made(ours, f"{path}/invitations", DEVELOPER)
        assert (await theirs.get(f"{path}/members")).status_code == 404
        assert (await theirs.post(f"{path}/invitations", json=DEVELOPER)).status_code == 404
        own = f"/api/organizations/{await _organization(theirs)}"
        assert (await theirs.get(f"{own}/members")).json() == []
        await made(theirs, f"{own}/invitations", DEVELOPER)
        bootstrap = {"Authorization": f"Bearer {stack.bootstrap_key}"}
        assert (await ours.get(f"{path}/members", headers=bootstrap)).status_code == 403
        assert (await ours.get(f"{path}/members", headers={"Authorization": ""})).status_code == 401
