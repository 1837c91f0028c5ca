"""localstripe and stripe-mock as child processes."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from devstack import stripe_mock
from devstack.processes import free_port, launched, start, stop
from settings import settings
from tests.support.stack import NO_CERTIFICATES

READY_SECONDS = 30
KEY = "sk_test_durabill"


@contextlib.contextmanager
def _running(command: Sequence[str], url: str, log: Path) -> Iterator[str]:
    process = start(launched(command), log=log)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, f"{command[0]} does not answer"
            try:
                httpx.get(f"{url}/v1/balance", auth=(KEY, ""), timeout=2, verify=NO_CERTIFICATES)
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        yield url
    finally:
        stop(process)


@contextlib.contextmanager
def localstripe(directory: Path) -> Iterator[str]:
    """Run localstripe, a stateful stand-in without idempotency keys; returns its address."""
    port = free_port()
    command = [sys.executable, "-m", "localstripe", "--port", str(port), "--from-scratch"]
    with _running(command, f"http://localhost:{port}", directory / "localstripe.log") as url:
        yield url


@contextlib.contextmanager
def mock(directory: Path) -> Iterator[str]:
    """Run stripe-mock, which checks every request against Stripe's OpenAPI document; returns its address."""
    port = free_port()
    binary = stripe_mock.find(settings().stripe_mock_bin, say=print)
    command = [str(binary), "-http-addr", f"127.0.0.1:{port}", "-https-addr", f"127.0.0.1:{free_port()}"]
    with _running(command, f"http://127.0.0.1:{port}", directory / "stripe-mock.log") as url:
        yield url
