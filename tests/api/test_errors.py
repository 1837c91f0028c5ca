"""Bad input gives a clear 4xx problem, whatever it is; nothing is ever a 500 (C10, B186)."""

from decimal import Decimal
from typing import Annotated, Any

import psycopg
import pytest
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import OperationalError

from api.http.deps import CallerDep
from api.http.responses import reply
from api.http.routing import resource_router
from app import create_app
from billing.numbers import Quantity
from tests.api.conftest import Service, bearer, client_of, settings_for

router = resource_router("Test")
JSON = {"content-type": "application/json"}


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=20)
    value: Quantity
    count: int = Field(1, ge=0, le=1000)
    properties: dict[str, Any] = Field(default_factory=dict)


@router.post("/things")
async def make_thing(caller: CallerDep, body: Thing) -> Response:
    return reply({"name": body.name, "value": body.value, "count": body.count, "properties": body.properties})


@router.get("/things/{id}")
async def get_thing(caller: CallerDep, id: Annotated[int, Path(ge=1)]) -> Response:
    return reply({"id": id})


@router.post("/broken/{how}")
async def break_down(caller: CallerDep, how: str) -> Response:
    match how:
        case "bug":
            raise ValueError("the secret detail of a bug")
        case "lost":
            raise OperationalError("SELECT 1", {}, psycopg.OperationalError("server closed the connection"))
        case _:
            raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")


@pytest.fixture
def extra_router() -> APIRouter | None:
    return router


def assert_problem(answer: Any, status: int, code: str | None = None) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert set(document) >= {"type", "title", "status", "detail", "code", "errors"}
    assert document["status"] == status
    assert code is None or document["code"] == code
    return document


async def test_numbers_are_exact(service: Service) -> None:
    key = bearer(await service.key())
    numbers = b'"properties": {"rate": 0.00005, "n": 1e3, "big": 12345678901234567890123}}'
    body = b'{"name": "a", "value": 0.1234567890123456789, ' + numbers
    assert_problem(await service.http.post("/v1/things", content=body, headers={**key, **JSON}), 422)
    body = b'{"name": "a", "value": 12345678901234567890.123456789012345678, ' + numbers
    answer = await service.http.post("/v1/things", content=body, headers={**key, **JSON})
    assert answer.status_code == 200
    assert '"value":12345678901234567890.123456789012345678,' in answer.text
    assert answer.text.endswith('"properties":{"rate":0.00005,"n":1000,"big":12345678901234567890123}}')


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{not json", 400, "malformed_json"),
        (b"", 422, "validation_failed"),
        (b"null", 422, "validation_failed"),
        (b'"text"', 422, "validation_failed"),
        (b"[]", 422, "validation_failed"),
        (b'\xff\xfe{"name": "a"}', 400, "malformed_json"),
        (b'{"name": "a", "value": NaN}', 422, "not_a_number"),
        (b'{"name": "a", "value": -Infinity}', 422, "not_a_number"),
        (b'{"name": "a", "value": "NaN"}', 422, "validation_failed"),
        (b'{"name": "a", "value": "1e5"}', 422, "validation_failed"),
        (b'{"name": "a", "value": true}', 422, "validation_failed"),
        (b'{"name": "a", "value": ' + b"9" * 400 + b"}", 422, "number_too_long"),
        (b'{"name": "a", "value": 0.' + b"9" * 400 + b"}", 422, "number_too_long"),
        (b'{"name": "a", "value": "' + b"9" * 400 + b'"}', 422, "validation_failed"),
        (b'{"name": "a", "value": 1e400}', 422, "number_too_long"),
        (b'{"name": "a", "value": 1, "count": ' + b"9" * 5000 + b"}", 422, "number_too_long"),
        (b'{"name": "a", "value": 1, "properties": {"n": ' + b"9" * 400 + b"}}", 422, "number_too_long"),
        (b'{"name": "a\\u0000", "value": 1}', 422, "nul_character"),
        (b'{"name": "a", "value": 1, "properties": {"x\\u0000": [1]}}', 422, "nul_character"),
        (b'{"name": "a\x00", "value": 1}', 400, "malformed_json"),
        (b'{"name": "\\ud800", "value": 1}', 400, "malformed_json"),
        (
            b'{"name": "a", "value": 1, "properties": ' + b'{"x":' * 3000 + b"1" + b"}" * 3000 + b"}",
            422,
            "too_deeply_nested",
        ),
        (
            b'{"name": "a", "value": 1, "properties": ' + b'{"x":' * 40 + b"1" + b"}" * 40 + b"}",
            422,
            "too_deeply_nested",
        ),
        (b'{"name": "a", "value": 1, "nmae": 2}', 422, "validation_failed"),
    ],
)
async def test_a_bad_body_is_refused(service: Service, body: bytes, status: int, code: str) -> None:
    key = bearer(await service.key())
    assert_problem(await service.http.post("/v1/things", content=body, headers={**key, **JSON}), status, code)


async def test_the_wrong_field_is_named(service: Service) -> None:
    key = bearer(await service.key())
    answer = await service.http.post("/v1/things", json={"name": "x" * 21, "value": -1, "extra": 1}, headers=key)
    document = assert_problem(answer, 422, "validation_failed")
    assert {error["field"] for error in document["errors"]} == {"name", "extra"}
    assert "name" in document["detail"]


async def test_content_types(service: Service) -> None:
    key = bearer(await service.key())
    body = b'{"name": "a", "value": 1}'
    for kind in (
        "application/json; charset=utf-8",
        "application/x-www-form-urlencoded",
        "application/cloudevents+json",
    ):
        answer = await service.http.post("/v1/things", content=body, headers={**key, "content-type": kind})
        assert answer.status_code == 200, answer.text
    assert (await service.http.post("/v1/things", content=body, headers=key)).status_code == 200
    for kind in ("text/plain", "application/xml", "multipart/form-data; boundary=x"):
        answer = await service.http.post("/v1/things", content=body, headers={**key, "content-type": kind})
        assert_problem(answer, 415, "unsupported_media_type")
    form = await service.http.post("/v1/things", data={"name": "a"}, headers=key)
    assert_problem(form, 400, "malformed_json")


async def test_a_body_above_the_limit_is_refused_without_reading_it(service: Service) -> None:
    key = bearer(await service.key())
    read = 0

    async def pieces() -> Any:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b" " * 100_000

    announced = {**key, **JSON, "content-length": "10000000"}
    assert_problem(await service.http.post("/v1/things", content=pieces(), headers=announced), 413, "body_too_large")
    assert read <= 1
    assert_problem(await service.http.post("/v1/things", content=pieces(), headers={**key, **JSON}), 413)
    assert read <= 5


async def test_unknown_routes_and_methods(service: Service) -> None:
    assert_problem(await service.http.get("/v1/nothing"), 404, "route_not_found")
    assert_problem(await service.http.get("/nothing/at/all/"), 404, "route_not_found")
    answer = await service.http.request("PUT", "/v1/projects")
    assert_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "POST", "PATCH"}


async def test_a_trailing_slash_is_no_redirect(service: Service) -> None:
    key = bearer(await service.key())
    for path in ("/v1/projects/", "/api/v1/projects/", "/v1/audit_logs//"):
        assert (await service.http.get(path, headers=key)).status_code == 200


@pytest.mark.parametrize(
    "query", ["skip=-1", "limit=0", "limit=1001", "limit=x", "cursor=x", "order_by=secret", "skip=99999999999999999999"]
)
async def test_a_bad_page_is_refused(service: Service, query: str) -> None:
    key = bearer(await service.key())
    assert_problem(await service.http.get(f"/v1/audit_logs?{query}", headers=key), 422)


async def test_bad_paths_and_queries(service: Service) -> None:
    key = bearer(await service.key())
    assert_problem(await service.http.get("/v1/things/%00", headers=key), 422, "nul_character")
    assert_problem(await service.http.get("/v1/audit_logs?action=%00", headers=key), 422, "nul_character")
    document = assert_problem(await service.http.get("/v1/things/0", headers=key), 422)
    assert document["errors"][0]["field"] == "id"
    assert_problem(await service.http.get("/v1/audit_logs/invoice/%ff%fe", headers=key), 422)
    assert_problem(await service.http.delete("/v1/api-keys/" + "x" * 101, headers=key), 422)


async def test_a_bug_is_a_500_without_its_trace(service: Service) -> None:
    key = bearer(await service.key())
    answer = await service.http.post("/v1/broken/bug", headers=key)
    assert_problem(answer, 500, "internal_error")
    assert "secret detail" not in answer.text
    assert "Traceback" not in answer.text


async def test_a_lost_database_is_a_503_and_an_unstorable_value_a_422(service: Service) -> None:
    key = bearer(await service.key())
    answer = await service.http.post("/v1/broken/lost", headers=key)
    assert_problem(answer, 503, "database_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert_problem(await service.http.post("/v1/broken/value", headers=key), 422, "value_out_of_range")


async def test_with_postgres_down_the_api_answers_503() -> None:
    app = create_app(settings_for("postgresql://durabill@127.0.0.1:9/nothing"))
    async with app.router.lifespan_context(app), client_of(app) as http:
        answer = await http.get("/v1/projects", headers=bearer("sk_live_x"))
        assert_problem(answer, 503, "database_unavailable")
        health = await http.get("/healthz")
        assert (health.status_code, health.json()["database"]) == (503, "unreachable")
        assert (await http.get("/livez")).status_code == 200


async def test_every_answer_has_a_request_id(service: Service) -> None:
    assert len((await service.http.get("/livez")).headers["x-request-id"]) == 32
    answer = await service.http.get("/v1/nothing", headers={"x-request-id": "abc-1"})
    assert answer.headers["x-request-id"] == "abc-1"
    answer = await service.http.get("/livez", headers={"x-request-id": 'a"b'})
    assert answer.headers["x-request-id"] != 'a"b'


def test_decimals_leave_as_json_numbers() -> None:
    answer = reply({"a": Decimal("120.00"), "b": Decimal("0.0000001"), "c": Decimal("-0"), "d": [Decimal("1E+3")]})
    assert answer.body == b'{"a":120,"b":0.0000001,"c":0,"d":[1000]}'
    with pytest.raises(TypeError, match="float"):
        reply({"a": 0.5})
