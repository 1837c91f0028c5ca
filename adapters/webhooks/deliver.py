"""Sending webhooks: one attempt, and the loop that makes attempts until they succeed, at least once each (C9).

Every endpoint has a lane of its own: what one endpoint does (hangs, refuses, answers slowly) delays its own messages
only. Within a lane, messages about one object go one after the other, different objects at the same time.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Final, Self
from uuid import UUID

import httpx

from adapters.postgres import webhook_delivery_store as store
from adapters.postgres.database import SYSTEM, Database
from adapters.postgres.webhook_delivery_store import Attempt, DueDelivery
from adapters.webhooks.guard import Guard, Refused
from adapters.webhooks.retries import pause_after, pauses
from adapters.webhooks.sign import body_of, signed_headers
from settings import Settings

_LOG = logging.getLogger(__name__)
_ROWS: Final = 500
_LANES: Final = 128
_OF_A_LANE: Final = 32
_AT_ONCE_IN_A_LANE: Final = 4
_RECORDING_AT_ONCE: Final = 4
_CONNECT_SECONDS: Final = 5
_PAUSE_IN_TROUBLE_SECONDS: Final = 5.0
_KEPT_BYTES: Final = 2000


class Sender:
    """Makes single attempts; used inside ``async with``."""

    def __init__(self, settings: Settings) -> None:
        self._guard = Guard(allow_private=settings.webhook_allow_private)
        self._timeout_seconds = settings.webhook_timeout_seconds
        self._limits = httpx.Timeout(
            self._timeout_seconds, connect=min(_CONNECT_SECONDS, self._timeout_seconds)
        ).as_dict()
        # The bare transport: no redirects, no cookies kept from one receiver for another, no proxy and no .netrc of the
        # machine. A connection serves one attempt: it goes to an address that was checked for this attempt.
        self._transport = httpx.AsyncHTTPTransport(
            trust_env=False, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0)
        )

    async def __aenter__(self) -> Self:
        """Give the sender itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close its connections."""
        await self._transport.aclose()

    async def attempt(self, delivery: DueDelivery) -> Attempt:
        """Send a message once, within the time limit; every way in which it can fail is an outcome, not an error."""
        began, at = time.monotonic(), datetime.now(UTC)
        failed = Attempt(False, None, None, None, at, 0)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                outcome = await self._send(delivery, failed)
        except (TimeoutError, httpx.TimeoutException):
            outcome = replace(failed, error="no answer in time")
        except Refused as refusal:
            outcome = replace(failed, error=f"refused: {refusal}")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            outcome = replace(failed, error=(f"{type(error).__name__}: {error}")[:500])
        return replace(outcome, duration_ms=int((time.monotonic() - began) * 1000))

    async def _send(self, delivery: DueDelivery, failed: Attempt) -> Attempt:
        url = self._guard.check_url(delivery.url)
        addresses = await self._guard.resolve(url)
        body = body_of(delivery.payload)
        headers = signed_headers(delivery.message_id, body, delivery.secrets, at=failed.attempted_at)
        for address in addresses[:-1]:
            try:
                return await self._post(url, address, headers, body, failed)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._post(url, addresses[-1], headers, body, failed)

    async def _post(
        self, url: httpx.URL, address: str, headers: dict[str, str], body: bytes, failed: Attempt
    ) -> Attempt:
        """Send to one checked address, while the certificate and the Host header are those of the URL's name."""
        host = url.raw_host.decode("ascii")
        request = httpx.Request(
            "POST",
            url.copy_with(host=address),
            headers={**headers, "host": url.netloc.decode("ascii")},
            content=body,
            extensions={"sni_hostname": host, "timeout": self._limits},
        )
        answer = await self._transport.handle_async_request(request)
        answer.request = request
        try:
            text = await _beginning(answer)
        finally:
            await answer.aclose()
        success = 200 <= answer.status_code < 300
        return replace(
            failed,
            success=success,
            http_status=answer.status_code,
            response_body=text,
            error=None if success else _refusal(answer.status_code),
        )


def _refusal(status: int) -> str:
    return f"answered {status}; redirects are not followed" if 300 <= status < 400 else f"answered {status}"


async def _beginning(answer: httpx.Response) -> str:
    """Read as much of an answer's body as is kept, undecoded; Postgres stores no NUL."""
    kept = b""
    async for chunk in answer.aiter_raw():
        kept += chunk[: _KEPT_BYTES - len(kept)]
        if len(kept) >= _KEPT_BYTES:
            break
    return kept.decode(errors="replace").replace("\x00", "\ufffd")


class Webhooks:
    """The loop of the process that leads the relay: fans out, sends what is due, tries again."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._schedule = pauses(settings.webhook_first_retry_seconds)
        self._poll_seconds = settings.relay_poll_ms / 1000
        self._busy: set[UUID] = set()
        self._look_again = asyncio.Event()
        self._recording = asyncio.Semaphore(_RECORDING_AT_ONCE)

    async def run(self) -> None:
        """Deliver until cancelled. What is then being sent stays due, and the next leader sends it again."""
        self._busy.clear()
        async with Sender(self._settings) as sender, asyncio.TaskGroup() as lanes:
            while True:
                try:
                    await self._round(sender, lanes)
                    pause_seconds = self._poll_seconds
                except Exception as error:  # whatever it is, the rows stay due
                    _LOG.warning("webhooks wait", exc_info=error)
                    pause_seconds = _PAUSE_IN_TROUBLE_SECONDS
                await self._wait(pause_seconds)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._look_again.wait()
        except TimeoutError:
            return

    async def _round(self, sender: Sender, lanes: asyncio.TaskGroup) -> None:
        """Fan out what waits, and open a lane for every idle endpoint with something due."""
        self._look_again.clear()
        async with self._database.transaction(SYSTEM) as connection:
            rows = await store.fan_out(connection, limit=_ROWS)
            due = await store.due(
                connection, busy=list(self._busy), endpoints=_LANES - len(self._busy), each=_OF_A_LANE
            )
        for endpoint_id, deliveries in groupby(due, key=lambda delivery: delivery.endpoint_id):
            self._busy.add(endpoint_id)
            lanes.create_task(self._lane(sender, endpoint_id, list(deliveries)))
        if rows == _ROWS:
            self._look_again.set()

    async def _lane(self, sender: Sender, endpoint_id: UUID, deliveries: list[DueDelivery]) -> None:
        slots = asyncio.Semaphore(_AT_ONCE_IN_A_LANE)
        in_order = sorted(deliveries, key=lambda delivery: (delivery.ordering_key, delivery.payload["sequence"]))
        groups = [list(group) for _, group in groupby(in_order, key=lambda delivery: delivery.ordering_key)]
        try:
            sending = (self._deliver_group(sender, slots, group) for group in groups)
            for ended in await asyncio.gather(*sending, return_exceptions=True):
                if ended is not None:
                    raise ended
        except Exception as error:  # one endpoint's trouble ends no other's lane
            _LOG.warning("the outcome of a webhook could not be written, so it will be sent again", exc_info=error)
            await asyncio.sleep(_PAUSE_IN_TROUBLE_SECONDS)
        finally:
            self._busy.discard(endpoint_id)
            self._look_again.set()

    async def _deliver_group(self, sender: Sender, slots: asyncio.Semaphore, group: Sequence[DueDelivery]) -> None:
        async with slots:
            for delivery in group:
                attempt = await sender.attempt(delivery)
                async with self._recording, self._database.transaction(SYSTEM) as connection:
                    pause = pause_after(delivery.attempts + 1, self._schedule)
                    await store.record_attempt(connection, delivery, attempt, pause=pause)
