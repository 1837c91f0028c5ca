"""Whether a third-party system can be reached: one real request, under the rules that webhooks obey (B168, B178)."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import httpx

from adapters.webhooks.guard import AddressRefused, Guard

_SECONDS: Final = 5
_USER_AGENT: Final = "Durabill"


@dataclass(frozen=True)
class ReachResult:
    """How one request ended; ``error`` says why it did not succeed."""

    success: bool
    http_status: int | None
    error: str | None
    duration_ms: int


async def reach(url: str, guard: Guard) -> ReachResult:
    """Send one GET without any credentials; any answer below 500 shows that the other side is there.

    Redirects are not followed, nothing of the answer's body is read, and it never raises: whatever goes wrong is the
    outcome. Private, loopback and link-local addresses are refused unless the deployment allows them.
    """
    began = time.monotonic()
    status, error = None, None
    try:
        async with asyncio.timeout(_SECONDS):
            status = await _get(url, guard)
        if status >= 500:
            error = f"answered {status}"
    except (TimeoutError, httpx.TimeoutException):
        error = f"no answer within {_SECONDS} seconds"
    except AddressRefused as refusal:
        error = f"refused: {refusal}"
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as problem:
        error = f"cannot be reached ({type(problem).__name__})"
    return ReachResult(error is None, status, error, duration_ms=int((time.monotonic() - began) * 1000))


async def _get(url: str, guard: Guard) -> int:
    """Ask one checked address, while certificate and Host header are those of the URL's name."""
    parsed = guard.check_url(url)
    addresses = await guard.resolve(parsed)
    async with httpx.AsyncHTTPTransport(trust_env=False) as transport:
        for number, address in enumerate(addresses, start=1):
            request = httpx.Request(
                "GET",
                parsed.copy_with(host=address),
                headers={"host": parsed.netloc.decode("ascii"), "user-agent": _USER_AGENT},
                extensions={
                    "sni_hostname": parsed.raw_host.decode("ascii"),
                    "timeout": httpx.Timeout(_SECONDS).as_dict(),
                },
            )
            try:
                answer = await transport.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if number == len(addresses):
                    raise
                continue
            await answer.aclose()
            return answer.status_code
    raise OSError("the name has no address")
