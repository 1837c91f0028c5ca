"""Every operation of the OpenAPI document, fuzzed: no 5xx, documented content types, refusals as problem+json."""

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.core.result import Err
from schemathesis.generation import GenerationMode

from tests.support import quickstart

pytestmark = pytest.mark.stack

_EXAMPLES = {GenerationMode.POSITIVE: 2, GenerationMode.NEGATIVE: 1}
"""Requests of each operation; half of them name what exists."""
_NOT_FUZZED = {"authorization", "x-api-key", "x-usageflow-api-key", "x-project-id"}
"""Without the key, every answer would be a 401."""
_ALIASES = ("/v1/meters", "/v1/billable_metrics", "/v1/price-plans")
"""The same handlers as /v1/metrics and /v1/plans."""


def _documented(answer: httpx.Response, responses: dict[str, Any]) -> str | None:
    """Return what is wrong with an answer; None if nothing is."""
    status, kind = answer.status_code, answer.headers.get("content-type", "").partition(";")[0]
    if status >= 500:
        return f"{status}: {answer.text[:500]}"
    if status >= 400:
        problem = answer.json() if kind == "application/problem+json" else {}
        whole = {"type", "title", "status", "detail", "code", "errors"} <= problem.keys()
        return None if whole and problem["status"] == status else f"no problem document: {kind} {answer.text[:300]}"
    if str(status) not in responses:
        return f"{status} is not documented"
    kinds = responses[str(status)].get("content", {})
    if not kinds:
        return None if not answer.content else f"{status} has a body of {kind}"
    return None if kind in kinds else f"{kind} is not documented for {status}"


@pytest.fixture
async def known(client: httpx.AsyncClient) -> dict[str, str]:
    """What exists, by the names of the path parameters that take it."""
    subscription = await quickstart.acme(client)
    invoice = await quickstart.invoice(client)
    clock = await quickstart.made(client, "/v1/test_clocks", {"frozen_time": "2026-01-01T00:00:00Z"})
    return {
        "subscription_id": subscription["id"],
        "customer_id": "cust_acme",
        "external_id": "cust_acme",
        "plan_id": "plan_growth",
        "metric_id": "api_calls",
        "event_id": "first",
        "invoice_id": invoice["id"],
        "clock_id": clock["id"],
    }


def _sent(case: Case[Any], caller: httpx.Client) -> httpx.Response:
    """Send a case with the caller's key, whatever key the case has."""
    options = case.as_transport_kwargs(base_url=str(caller.base_url).rstrip("/"))
    headers = {name: value for name, value in dict(options["headers"] or {}).items() if name.lower() not in _NOT_FUZZED}
    content = options.get("data")
    return caller.request(
        options["method"],
        options["url"],
        params=options.get("params"),
        headers=headers,
        content=content if isinstance(content, bytes | str) else None,
        **({"json": options["json"]} if options.get("json") is not None else {}),
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_operation_breaks(client: httpx.AsyncClient, known: dict[str, str]) -> None:
    seen: Counter[int] = Counter()
    with httpx.Client(base_url=client.base_url, headers=client.headers, timeout=60) as caller:
        document = caller.get("/openapi.json").json()
        failures: list[str] = []
        for result in schemathesis.openapi.from_dict(document).get_all_operations():
            assert not isinstance(result, Err), result.err()
            operation = result.ok()
            if operation.path.startswith(_ALIASES):
                continue
            responses = document["paths"][operation.path][operation.method.lower()]["responses"]
            for mode, examples in _EXAMPLES.items():
                fuzz = _Fuzz(caller, known, responses, f"{operation.label} ({mode.value})", seen)
                failures += fuzz.run(operation.as_strategy(generation_mode=mode), examples)
    print(f"answers by status: {dict(sorted(seen.items()))}")
    assert failures == []
    assert seen[200] > 80, "most requests were refused before they did anything"


@dataclass
class _Fuzz:
    """One operation, and what went wrong with it."""

    caller: httpx.Client
    known: dict[str, str]
    responses: dict[str, Any]
    label: str
    seen: Counter[int]
    failures: list[str] = field(default_factory=list)

    def run(self, strategy: Any, examples: int) -> list[str]:
        """Send ``examples`` requests, the same ones in every run."""
        named = itertools.cycle((True, False))

        @settings(
            max_examples=examples,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def once(case: Case[Any]) -> None:
            if next(named):
                case.path_parameters = {**case.path_parameters, **self._existing(case)}
            answer = _sent(case, self.caller)
            self.seen[answer.status_code] += 1
            found = _documented(answer, self.responses)
            if found is not None and len(self.failures) < 2:
                self.failures.append(f"{self.label}: {found}\n{case.as_curl_command()[:1000]}")

        once()
        return self.failures

    def _existing(self, case: Case[Any]) -> dict[str, str]:
        return {name: self.known[name] for name in case.path_parameters if name in self.known}
