"""A Stripe that asks for authentication off session as the real one does, limits rates, and searches by metadata.

localstripe answers `requires_action`; Stripe itself answers 402 `authentication_required` and leaves the intent in
`requires_payment_method`.
"""

import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    key: str | None
    at: float
    status: int


@dataclass
class ScaStripe:
    """`limited` requests are answered 429 first; `authenticates` says whether payments need their owner."""

    authenticates: bool = True
    declines: bool = False
    limited: int = 0
    retry_after: int = 3
    drop: int = 0
    asked: list[Asked] = field(default_factory=list)
    intents: dict[str, dict[str, Any]] = field(default_factory=dict)
    url: str = ""
    _keys: dict[str, str] = field(default_factory=dict)
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening."""
        assert self._runner is not None
        await self._runner.cleanup()

    def count(self, method: str, path: str) -> int:
        """Count the requests to a path that reached it."""
        return sum(1 for one in self.asked if (one.method, one.path) == (method, path))

    def confirm(self, intent_id: str) -> None:
        """Do what the owner does: authenticate, and pay."""
        assert self.intents[intent_id]["status"] != "canceled", "a canceled payment cannot be confirmed"
        self.intents[intent_id]["status"] = "succeeded"

    @property
    def live(self) -> list[dict[str, Any]]:
        """The intents that can still take money, or have."""
        return [intent for intent in self.intents.values() if intent["status"] != "canceled"]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        form = dict(await request.post())
        key = request.headers.get("Idempotency-Key")
        if self.limited > 0:
            self.limited -= 1
            status, body = 429, {"error": {"type": "invalid_request_error", "code": "rate_limit", "message": "slow"}}
        else:
            status, body = self._answer(request, form, key)
        self.asked.append(Asked(request.method, request.path, key, time.monotonic(), status))
        if self.drop > 0 and request.method == "POST" and status != 429:
            self.drop -= 1
            assert request.transport is not None
            request.transport.abort()
        headers = {"Retry-After": str(self.retry_after)} if status == 429 else {}
        return web.Response(status=status, text=json.dumps(body), content_type="application/json", headers=headers)

    def _answer(self, request: web.Request, form: dict[str, Any], key: str | None) -> tuple[int, dict[str, Any]]:
        path = request.path
        named = re.fullmatch(r"/v1/payment_intents/(pi_\w+)(?:/(\w+))?", path)
        if path == "/v1/payment_intents" and request.method == "POST":
            return self._create(form, key)
        if path == "/v1/payment_intents/search":
            return 200, _page(
                [each for each in self.intents.values() if each["metadata"]["durabill_key"] in request.query["query"]],
                path,
            )
        if path == "/v1/payment_intents":
            return 200, _page(list(self.intents.values())[::-1], path)
        if named:
            intent = self.intents[named[1]]
            if named[2] == "cancel" and intent["status"] != "succeeded":
                intent["status"] = "canceled"
            if named[2] == "confirm" and intent["status"] == "requires_payment_method" and "return_url" in form:
                page = {"url": f"{self.url}/authenticate/{named[1]}", "return_url": form["return_url"]}
                intent |= {"status": "requires_action"}
                intent["next_action"] = {"type": "redirect_to_url", "redirect_to_url": page}
            return 200, intent
        if path.startswith("/v1/customers/"):
            settings = {"default_payment_method": "pm_1"}
            return 200, {"id": path.rsplit("/", 1)[1], "object": "customer", "invoice_settings": settings}
        return 404, {"error": {"type": "invalid_request_error", "message": f"no {path}"}}

    def _create(self, form: dict[str, Any], key: str | None) -> tuple[int, dict[str, Any]]:
        assert key is not None
        if key not in self._keys:
            identity = f"pi_{len(self.intents) + 1}"
            self._keys[key] = identity
            self.intents[identity] = {
                "id": identity,
                "object": "payment_intent",
                "amount": int(form["amount"]),
                "currency": form["currency"],
                "customer": form["customer"],
                "created": int(time.time()),
                "metadata": {"durabill_key": key},
                "status": "succeeded",
                "last_payment_error": None,
                "client_secret": f"{identity}_secret",
            }
            if self.declines:
                problem: dict[str, Any] = {"code": "card_declined", "type": "card_error"}
                problem |= {"decline_code": "insufficient_funds"}
                problem |= {"message": "There is not enough money."}
                self.intents[identity] |= {"status": "requires_payment_method", "last_payment_error": problem}
            elif self.authenticates:
                problem = {"code": "authentication_required", "decline_code": "authentication_required"}
                problem |= {"type": "card_error", "message": "This payment needs its owner."}
                problem |= {"payment_method": {"id": form["payment_method"], "object": "payment_method"}}
                self.intents[identity] |= {"status": "requires_payment_method", "last_payment_error": problem}
        intent = self.intents[self._keys[key]]
        if intent["last_payment_error"] is not None:
            return 402, {"error": {**intent["last_payment_error"], "payment_intent": intent}}
        return 200, intent


def _page(data: list[dict[str, Any]], url: str) -> dict[str, Any]:
    kind = "search_result" if url.endswith("search") else "list"
    return {"object": kind, "url": url, "has_more": False, "data": data}
