"""No secret in answers, problems, the audit log or errors; limits that Postgres has are the client's, not an outage."""

import secrets

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from adapters.postgres.database import SYSTEM
from models.problems import Problem
from tests.api.conftest import Service, bearer


async def test_a_key_sent_in_place_of_an_id_is_not_repeated(service: Service) -> None:
    key = await service.key()
    for method, path in (
        ("DELETE", f"/v1/api-keys/{key}"),
        ("DELETE", f"/v1/api-keys?id={key}"),
        ("GET", f"/v1/customers/{key}"),
        ("GET", f"/v1/invoices/{key}"),
    ):
        answer = await service.http.request(method, path, headers=bearer(key))
        assert answer.status_code == 404
        assert key[8:] not in answer.text
    answer = await service.http.get("/v1/customers", headers={**bearer(key), "X-Project-Id": key})
    assert (answer.status_code, key[8:] in answer.text) == (404, False)


async def test_the_hmac_key_is_for_administrators_and_not_in_the_log(service: Service) -> None:
    owner = bearer(await service.key())
    changed = await service.http.put("/v1/organizations/current", json={"hmac_key": "very secret"}, headers=owner)
    assert changed.json()["hmac_key"] == "very secret"
    log = await service.http.get("/v1/audit_logs", headers=owner)
    assert "hmac_key" in log.text
    assert "very secret" not in log.text
    for body in ({"role": "VIEWER"}, {"role": "DEVELOPER"}, {"kind": "ingest"}):
        made = (await service.http.post("/v1/api-keys", json={"name": "less", **body}, headers=owner)).json()
        for path in ("/v1/organizations/current", "/v1/organizations"):
            answer = await service.http.get(path, headers=bearer(made["key"]))
            status = 403 if body.get("kind") == "ingest" else 200
            assert (answer.status_code, "very secret" in answer.text) == (status, False)


async def test_a_path_too_long_for_an_index_is_the_clients_mistake(service: Service) -> None:
    key = bearer(await service.key())
    path = f"/v1/subscriptions/{secrets.token_hex(8000)}/pause"
    answer = await service.http.post(path, headers={**key, "Idempotency-Key": "once"})
    assert answer.status_code == 422, answer.text
    assert (await service.http.get("/v1/customers", headers=key)).status_code == 200


async def test_errors_do_not_carry_what_a_statement_was_given(service: Service) -> None:
    database = service.app.state.database

    async def divided() -> None:
        async with database.transaction(SYSTEM) as connection:
            await connection.execute(text("SELECT 1 / (length(:given) - 6)"), {"given": "secret"})

    with pytest.raises(DBAPIError) as refused:
        await divided()
    assert "'secret'" not in str(refused.value)


async def test_a_statement_that_gave_way_is_a_503_and_keeps_the_connections(service: Service) -> None:
    database = service.app.state.database

    async def too_slow() -> None:
        async with database.transaction(SYSTEM) as connection:
            await connection.execute(text("SET LOCAL statement_timeout = '20ms'"))
            await connection.execute(text("SELECT pg_sleep(5)"))

    with pytest.raises(Problem) as busy:
        await too_slow()
    assert (busy.value.status, busy.value.code) == (503, "database_busy")


async def test_no_answer_is_guessed_to_be_another_type(service: Service) -> None:
    for path in ("/", "/docs", "/v1/customers", "/ui/login", "/healthz"):
        assert (await service.http.get(path)).headers["x-content-type-options"] == "nosniff"
