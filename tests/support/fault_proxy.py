"""A proxy in front of a Stripe stand-in: adds Stripe's idempotency and list filters, and fails on demand.

Stripe keeps the answer of each ``Idempotency-Key`` and gives it again; the same key with other parameters is 400
``idempotency_error``, and 409 while the first request is still running. localstripe has none of that.
"""

import asyncio
import contextlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

import httpx
from aiohttp import web

Fault = Literal["drop_answer", "refuse", "slow"]
SLOW_SECONDS = 30
_SEARCH = "/v1/payment_intents/search"


@dataclass
class Seen:
    """One request as it came, and the status it was answered with."""

    method: str
    path: str
    key: str | None
    status: int | None = None


@dataclass
class FaultProxy:
    """Forwards to ``upstream``; ``faults`` are spent one for each POST, in order."""

    upstream: str
    faults: list[Fault] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    stands_in_for_account: bool = True
    url: str = ""
    _answers: dict[str, tuple[bytes, int, bytes] | None] = field(default_factory=dict)
    _client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=30))
    _runner: web.AppRunner | None = None
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def stop(self) -> None:
        """Stop listening; requests that were being held are let go."""
        self._released.set()
        assert self._runner is not None
        await self._runner.cleanup()
        await self._client.aclose()

    def forget_keys(self) -> None:
        """Do what Stripe does after 24 hours."""
        self._answers.clear()

    def sent(self, path: str = "/v1/payment_intents", method: str = "POST") -> int:
        """Count the requests to a path."""
        return sum(1 for one in self.seen if (one.method, one.path) == (method, path))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        seen = Seen(request.method, request.path, request.headers.get("Idempotency-Key"))
        self.seen.append(seen)
        fault = self.faults.pop(0) if self.faults and request.method == "POST" else None
        if fault == "refuse":
            seen.status = 500
            return _error(500, "api_error", "Something went wrong on Stripe's end.")
        status, content = await self._await_response(request, seen.key, body)
        seen.status = status
        if fault == "slow":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._released.wait(), SLOW_SECONDS)
        if fault == "drop_answer":
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=status, body=content, content_type="application/json")

    async def _await_response(self, request: web.Request, key: str | None, body: bytes) -> tuple[int, bytes]:
        """Answer a key that was seen before from memory, everything else from upstream."""
        if request.method != "POST" or key is None:
            return await self._forward(request, body)
        if key in self._answers:
            known = self._answers[key]
            if known is None:
                return _problem(409, "idempotency_key_in_use", "A request with this key is still running.")
            sent, status, content = known
            if sent != body:
                return _problem(400, "idempotency_error", "Keys can only be used with the same parameters.")
            return status, content
        self._answers[key] = None
        status, content = await self._forward(request, body)
        self._answers[key] = (body, status, content)
        return status, content

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, bytes]:
        if self.stands_in_for_account and request.path == "/v1/account":
            name = request.headers.get("authorization", "").encode().hex()[-12:]
            return 200, json.dumps({"id": f"acct_{name}", "object": "account"}).encode()
        searching = self.stands_in_for_account and request.path == _SEARCH
        listing = request.method == "GET" and (searching or request.path == "/v1/payment_intents")
        # localstripe lists everything, and knows no filter for intents and no search.
        query = {"limit": "100"} if listing else dict(request.query)
        path = "/v1/payment_intents" if searching else request.path
        headers = {
            name: value for name, value in request.headers.items() if name.lower() in ("authorization", "content-type")
        }
        answer = await self._client.request(
            request.method,
            f"{self.upstream}{path}{'?' + urlencode(query) if query else ''}",
            content=body,
            headers=headers,
        )
        content = answer.content
        if listing and answer.status_code == 200:
            content = (_found if searching else _filtered)(answer.json(), dict(request.query))
        return answer.status_code, content


def _found(page: dict[str, Any], query: dict[str, str]) -> bytes:
    """Answer a search for one value of the metadata."""
    wanted = re.fullmatch(r"metadata\['(\w+)'\]:'([^']+)'", query["query"])
    assert wanted is not None, query
    name, value = wanted.groups()
    found = [intent for intent in page["data"] if (intent["metadata"] or {}).get(name) == value]
    return json.dumps({"object": "search_result", "url": _SEARCH, "has_more": False, "data": found}).encode()


def _filtered(page: dict[str, Any], query: dict[str, str]) -> bytes:
    customer, since = query.get("customer"), int(query.get("created[gte]", "0"))
    page["data"] = [
        intent for intent in page["data"] if customer in (None, intent["customer"]) and intent["created"] >= since
    ]
    return json.dumps(page).encode()


def _problem(status: int, kind: str, message: str) -> tuple[int, bytes]:
    return status, json.dumps({"error": {"type": kind, "message": message}}).encode()


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.Response(status=status, body=_problem(status, kind, message)[1], content_type="application/json")
