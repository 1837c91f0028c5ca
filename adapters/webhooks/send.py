"""One attempt to send a webhook: signed, to an address that was checked for it, within a time limit (B166, B168)."""

import asyncio
import contextlib
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Self

import httpx
import structlog

from adapters.postgres.webhooks.webhook_delivery_store import Attempt, DueDelivery
from adapters.webhooks.guard import AddressRefused, Guard
from adapters.webhooks.retries import retry_after_of
from adapters.webhooks.sign import body_of, signed_headers
from settings import Settings

_LOG = structlog.get_logger(__name__)
_CONNECT_SECONDS: Final = 5
_KEPT_BYTES: Final = 2000
#: How long the body of an answer is waited for: it is shown to people, nothing depends on it.
_BODY_SECONDS: Final = 2


class Sender:
    """Makes single attempts; used inside ``async with``."""

    def __init__(self, settings: Settings) -> None:
        self._guard = Guard.of(settings)
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
        """Return the sender itself."""
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
        except AddressRefused as refusal:
            outcome = replace(failed, error=f"refused: {refusal}")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            outcome = replace(failed, error=(f"{type(error).__name__}: {error}")[:500])
        except Exception as error:  # whatever is wrong with this one, it fails alone and visibly
            _LOG.exception("webhook_not_sendable", delivery=str(delivery.id), project=str(delivery.project_id))
            outcome = replace(failed, error=(f"it cannot be sent: {type(error).__name__}: {error}")[:500])
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
        target, host_header, name = _target(url, address)
        request = httpx.Request(
            "POST",
            target,
            headers={**headers, "host": host_header},
            content=body,
            extensions={"sni_hostname": name, "timeout": self._limits},
        )
        answer = await self._transport.handle_async_request(request)
        answer.request = request
        try:
            text = await _beginning(answer)
        finally:
            await answer.aclose()
        # The status has said it: an answer that ends early, or never, is an answer.
        success = 200 <= answer.status_code < 300
        return replace(
            failed,
            success=success,
            http_status=answer.status_code,
            response_body=text,
            error=None if success else _refusal(answer.status_code),
            retry_after=retry_after_of(answer.headers.get("retry-after"), now=datetime.now(UTC)),
        )


@lru_cache(maxsize=1024)
def _target(url: httpx.URL, address: str) -> tuple[httpx.URL, str, str]:
    """Return where to connect, and which names the Host header and the certificate carry; reading a URL is slow."""
    return url.copy_with(host=address), url.netloc.decode("ascii"), url.raw_host.decode("ascii")


def _refusal(status: int) -> str:
    return f"answered {status}; redirects are not followed" if 300 <= status < 400 else f"answered {status}"


async def _beginning(answer: httpx.Response) -> str:
    """Read as much of an answer's body as is kept and comes in time, undecoded; Postgres stores no NUL."""
    kept = b""
    with contextlib.suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in answer.aiter_raw():
                kept += chunk[: _KEPT_BYTES - len(kept)]
                if len(kept) >= _KEPT_BYTES:
                    break
    return kept.decode(errors="replace").replace("\x00", "\ufffd")
