"""The metrics of a process: who reads them, and what they count."""

from uuid import uuid4

import httpx
from prometheus_client import REGISTRY
from pydantic import SecretStr

from adapters.telemetry.metrics_server import serve_metrics
from adapters.temporal.activity_metrics import count_answer, count_failure
from devstack.processes import free_port
from models.messages.closing import InvoiceClosed
from tests.api.conftest import Service, bearer, extra_router, service
from tests.support.stack import NO_CERTIFICATES

__all__ = ["extra_router", "service"]


async def test_metrics_ask_for_the_token_that_is_configured(service: Service) -> None:
    assert (await service.http.get("/metrics")).status_code == 200
    configured = {"metrics_token": SecretStr("scrape-me")}
    service.app.state.settings = service.app.state.settings.model_copy(update=configured)
    refused = await service.http.get("/metrics")
    assert (refused.status_code, refused.json()["code"]) == (401, "metrics_token_required")
    assert (await service.http.get("/metrics", headers=bearer("another"))).status_code == 401
    assert (await service.http.get("/metrics", headers=bearer("scrape-me"))).status_code == 200


async def sample(service: Service, name: str) -> float:
    """Return the value of one line of the metrics, 0 where there is none."""
    lines = (await service.http.get("/metrics")).text.splitlines()
    return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0)


async def test_requests_are_counted_by_route_and_status(service: Service) -> None:
    count = 'durabill_requests_total{method="GET",route="/v1/plans/{plan_id}",status="404"}'
    seconds = 'durabill_request_seconds_count{method="GET",route="/v1/plans/{plan_id}"}'
    before = await sample(service, count), await sample(service, seconds)
    await service.http.get("/v1/plans/p", headers=bearer(await service.key()))
    assert (await sample(service, count), await sample(service, seconds)) == (before[0] + 1, before[1] + 1)


async def test_what_waits_and_what_was_ingested_is_shown(service: Service) -> None:
    key = bearer(await service.key())
    before = await sample(service, 'durabill_events_total{outcome="skipped"}')
    event = {"customer_id": "nobody", "metric_key": "nothing", "value": 1}
    assert (await service.http.post("/v1/events", json=event, headers=key)).status_code == 202
    assert await sample(service, 'durabill_events_total{outcome="skipped"}') == before + 1
    assert await sample(service, "durabill_database_up") == 1
    assert await sample(service, 'durabill_parked{what="outbox"}') == 0


async def test_a_process_without_an_api_serves_its_metrics_to_the_bearer_of_the_token() -> None:
    async def more() -> bytes:
        return b"temporal_workers 1\n"

    port = free_port()
    server = await serve_metrics("127.0.0.1", port, token="scrape-me", more=more)
    async with server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=NO_CERTIFICATES) as http:
        assert (await http.get("/metrics")).status_code == 401
        assert (await http.get("/else", headers=bearer("scrape-me"))).status_code == 404
        answer = await http.get("/metrics", headers=bearer("scrape-me"))
    assert answer.status_code == 200
    assert "durabill_closes_total" in answer.text
    assert answer.text.endswith("temporal_workers 1\n")


def test_answers_of_activities_are_counted() -> None:
    def value(outcome: str) -> float:
        return REGISTRY.get_sample_value("durabill_closes_total", {"outcome": outcome}) or 0

    before = value("invoiced"), value("nothing"), value("failed")
    count_answer("close_periods", InvoiceClosed(invoice_id=uuid4()))
    count_answer("close_periods", InvoiceClosed(invoice_id=None))
    count_answer("find_invoice", InvoiceClosed(invoice_id=uuid4()))
    count_failure("close_periods")
    count_failure("collect_invoice")
    assert (value("invoiced"), value("nothing"), value("failed")) == tuple(each + 1 for each in before)
