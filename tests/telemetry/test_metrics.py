"""The metrics of a process: who reads them, and what they count."""

from pydantic import SecretStr

from tests.api.conftest import Service, bearer, extra_router, service

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
