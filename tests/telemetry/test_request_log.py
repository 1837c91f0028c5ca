"""The line of a request: what it says, what it never says, and which requests have none."""

import json
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.telemetry import logs
from api.http.request_log import RequestLog, add_request, note_lane
from tests.api.conftest import Service, bearer, client_of, extra_router, service

__all__ = ["extra_router", "service"]


def requests_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [line for line in lines if line["event"] == "request"]


async def test_a_request_has_one_line_with_its_route_project_and_key(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    organization = await service.organization()
    key = bearer(organization["api_key"]["key"])
    logs.set_up("info", "json", add_request)
    sent = {"x-request-id": "find-me"} | key
    answer = await service.http.get("/api/v1/customers/cust_1/?email=a@example.com", headers=sent)
    assert answer.headers["x-request-id"] == "find-me"
    (line,) = requests_of(capsys)
    assert line.pop("timestamp")
    assert line.pop("ms") >= 0
    assert line == {
        "event": "request",
        "logger": "durabill.request",
        "level": "info",
        "request_id": "find-me",
        "method": "GET",
        "route": "/api/v1/customers/{customer_id}",
        "status": 404,
        "project": organization["test_project_id"] if "sk_test" in key["Authorization"] else line["project"],
        "key_id": organization["api_key"]["id"],
    }
    assert line["project"] in (organization["default_project_id"], organization["test_project_id"])


async def test_a_request_without_a_route_or_a_key_has_a_line_too(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up("info", "json", add_request)
    await service.http.get("/v1/nothing/sk_live_0123456789")
    await service.http.get("/v1/plans", headers=bearer("sk_live_0123456789"))
    await service.http.get("/livez")
    nothing, refused = requests_of(capsys)
    assert (nothing["route"], nothing["status"]) == ("unmatched", 404)
    assert (refused["route"], refused["status"]) == ("/v1/plans", 401)
    assert "project" not in refused


@pytest.mark.parametrize(("one_in", "written"), [(1, 5), (2, 3), (100, 1), (0, 0)])
async def test_of_ingestion_some_successes_and_every_refusal_are_written(
    one_in: int, written: int, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up("info", "json", add_request)
    async with client_of(RequestLog(answering, ingestion_one_in=one_in)) as http:  # type: ignore[arg-type]
        for _ in range(5):
            await http.post("/202")
        assert len(requests_of(capsys)) == written
        for _ in range(3):
            await http.post("/422")
        assert [line["status"] for line in requests_of(capsys)] == [422, 422, 422]


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the status that the path names, as an ingest route."""
    note_lane(scope, "/v1/events", is_ingestion=True)
    await send({"type": "http.response.start", "status": int(scope["path"][1:]), "headers": []})
    await send({"type": "http.response.body", "body": b""})


_: ASGIApp = answering
