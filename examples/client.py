"""A small client of the running stack: every call insists on its status, so that nothing goes wrong unseen."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from settings import Settings

_ANSWER_SECONDS = 90
_BATCH = 1000
_PAUSE_SECONDS = 0.1


class UnexpectedAnswer(Exception):
    """Raised when the API answers with another status than the step needs; the text holds the problem."""


class Billing:
    """The public API as this demo uses it, with one project's secret key."""

    def __init__(self, config: Settings) -> None:
        self.url = config.public_url or f"http://127.0.0.1:{config.port}"
        key = (config.home / "demo_key").read_text().strip()
        self._http = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=_ANSWER_SECONDS
        )

    def call(self, method: str, path: str, status: int, **options: Any) -> Any:
        """Send one request and give its JSON; raises `UnexpectedAnswer`."""
        answer = self._http.request(method, path, **options)
        if answer.status_code != status:
            raise UnexpectedAnswer(f"{method} {path} answered {answer.status_code}, not {status}: {answer.text[:500]}")
        return answer.json() if answer.content else None

    def post(self, path: str, body: Mapping[str, Any], status: int = 201) -> Any:
        """Post a document."""
        return self.call("POST", path, status, json=body)

    def get(self, path: str, **query: Any) -> Any:
        """Read a document or a list."""
        return self.call("GET", path, 200, params=query)

    def until(self, path: str, holds: Callable[[Any], bool], **query: Any) -> Any:
        """Read again and again until what is answered holds; raises `UnexpectedAnswer` when it does not in time."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        while not holds(found := self.get(path, **query)):
            if time.monotonic() > deadline:
                raise UnexpectedAnswer(f"GET {path} still answers {str(found)[:500]}")
            time.sleep(_PAUSE_SECONDS)
        return found

    def send_usage(self, events: list[dict[str, Any]]) -> Iterator[int]:
        """Send events in batches of 1,000; yields how many each batch held. Every event must be counted."""
        for start in range(0, len(events), _BATCH):
            batch = events[start : start + _BATCH]
            answer = self.post("/v1/events/batch", {"events": batch}, 202)
            if answer["skipped"] or answer["accepted"] != len(batch):
                raise UnexpectedAnswer(f"not every event was counted: {str(answer)[:500]}")
            yield len(batch)

    def advance(self, clock: str, to: str) -> float:
        """Move a test clock and wait until everything due has happened; returns the seconds it took."""
        began = time.perf_counter()
        document = self.post(f"/v1/test_clocks/{clock}/advance", {"frozen_time": to, "wait": 60}, 200)
        if document["status"] != "ready":
            raise UnexpectedAnswer(f"the test clock did not arrive: {document}")
        return time.perf_counter() - began

    def invoices_of(self, subscription: str) -> list[dict[str, Any]]:
        """List a subscription's invoices, oldest period first."""
        found = self.get("/v1/invoices", subscription_id=subscription, limit=1000)
        return sorted(found, key=lambda invoice: str(invoice["period_start"]))
