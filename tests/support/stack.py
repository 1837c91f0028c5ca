"""The whole of Durabill as a user meets it: API and worker as processes on real Postgres and Temporal servers."""

import contextlib
import os
import secrets
import signal
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from devstack.processes import free_port, launched, start, stop

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 90
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""What the clients of the tests verify with. They speak plain HTTP; reading the machine's certificates for each of them
would take longer than most tests."""


@dataclass
class Stack:
    """A running API and worker; ``bootstrap_key`` creates organizations."""

    database_url: str
    admin_url: str
    temporal_address: str
    directory: Path
    extra_environment: dict[str, str] = field(default_factory=dict)
    task_queue: str = field(default_factory=lambda: f"durabill-{uuid.uuid4().hex[:8]}")
    bootstrap_key: str = field(default_factory=lambda: secrets.token_hex(16))
    port: int = field(default_factory=free_port)
    api: subprocess.Popen[bytes] | None = None
    worker: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the API's address."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """Return the environment of the API, of the worker and of commands run beside them."""
        return {
            **os.environ,
            "DATABASE_URL": self.database_url,
            "DURABILL_DATABASE_ADMIN_URL": self.admin_url,
            "TEMPORAL_ADDRESS": self.temporal_address,
            "DURABILL_TEMPORAL_TASK_QUEUE": self.task_queue,
            "DURABILL_BOOTSTRAP_KEY": self.bootstrap_key,
            "DURABILL_HOME": str(self.directory),
            "DURABILL_PORT": str(self.port),
            "DURABILL_SESSION_SECRET": self.bootstrap_key,
            "DURABILL_MANUAL_WEBHOOK_SECRET": self.bootstrap_key,
            "DURABILL_ENCRYPTION_KEYS": self.bootstrap_key,
            # Nothing of a test reaches the real Stripe.
            "DURABILL_STRIPE_API_BASE": "http://127.0.0.1:9",
            "DURABILL_WEBHOOK_ALLOW_PRIVATE": "true",
            "DURABILL_WEBHOOK_TIMEOUT_SECONDS": "5",
            "DURABILL_WEBHOOK_FIRST_RETRY_SECONDS": "0.2",
            **self.extra_environment,
        }

    def _spawn(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        """Start a program that ends with this process, however it ends."""
        tied = launched([sys.executable, *command], death_signal=signal.SIGKILL)
        return start(tied, log=self.directory / f"{name}.log", cwd=ROOT, env=self.environment())

    def start_api(self) -> None:
        """Start the API process."""
        arguments = ["uvicorn", "app:create_app", "--factory", "--loop", "uvloop", "--http", "httptools"]
        self.api = self._spawn("api", ["-m", *arguments, "--port", str(self.port), "--no-access-log"])

    def start_worker(self) -> None:
        """Start the worker process."""
        self.worker = self._spawn("worker", ["-m", "worker"])

    def kill_worker(self) -> None:
        """End the worker as a crash would: SIGKILL, at once."""
        assert self.worker is not None
        self.worker.send_signal(signal.SIGKILL)
        self.worker.wait(timeout=20)

    def kill_api(self) -> None:
        """End the API as a crash would: SIGKILL, at once."""
        assert self.api is not None
        self.api.send_signal(signal.SIGKILL)
        self.api.wait(timeout=20)

    def wait_until_ready(self) -> None:
        """Wait until /healthz answers 200: database migrated, Temporal reachable, worker polling."""
        deadline = time.monotonic() + READY_SECONDS
        last = "no answer"
        while time.monotonic() < deadline:
            for name, process in (("api", self.api), ("worker", self.worker)):
                assert process is not None
                if process.poll() is not None:
                    raise AssertionError(f"the {name} ended with {process.returncode}:\n{self.tail(name)}")
            try:
                answer = httpx.get(f"{self.url}/healthz", timeout=5, verify=NO_CERTIFICATES)
                if answer.status_code == 200:
                    return
                last = answer.text
            except httpx.HTTPError as error:
                last = repr(error)
            time.sleep(0.1)
        raise AssertionError(f"not ready in {READY_SECONDS} s: {last}\n{self.tail('api')}\n{self.tail('worker')}")

    def tail(self, name: str, lines: int = 40) -> str:
        """Return the end of a process's output."""
        path = self.directory / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def stop(self) -> None:
        """Stop both processes, kindly first."""
        for process in (self.worker, self.api):
            if process is None or process.poll() is not None:
                continue
            process.terminate()
        for process in (self.worker, self.api):
            if process is not None:
                stop(process, seconds=20)

    async def new_organization(self, name: str = "Test") -> dict[str, Any]:
        """Create an organization as the operator does, whose live project may have test clocks.

        The answer holds ``api_key.key``.
        """
        async with self.caller() as client:
            answer = await client.post(
                "/v1/organizations", json={"name": name}, headers={"Authorization": f"Bearer {self.bootstrap_key}"}
            )
            assert answer.status_code == 201, answer.text
            document: dict[str, Any] = answer.json()
            allowed = await client.patch(
                f"/v1/projects/{document['default_project_id']}",
                json={"allow_test_clocks": True},
                headers={"Authorization": f"Bearer {document['api_key']['key']}"},
            )
        assert allowed.status_code == 200, allowed.text
        return document

    @contextlib.asynccontextmanager
    async def client(self, name: str = "Test") -> AsyncIterator[httpx.AsyncClient]:
        """Return an HTTP client that carries the first key of a fresh organization."""
        organization = await self.new_organization(name)
        headers = {"Authorization": f"Bearer {organization['api_key']['key']}"}
        async with self.caller(headers=headers) as opened:
            yield opened

    def caller(self, **options: Any) -> httpx.AsyncClient:
        """Make an HTTP client of the API."""
        return httpx.AsyncClient(base_url=self.url, verify=NO_CERTIFICATES, **{"timeout": 60, **options})


@contextlib.contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    """Start API and worker, wait until ready, and stop them at the end."""
    stack.directory.mkdir(parents=True, exist_ok=True)
    try:
        stack.start_api()
        stack.start_worker()
        stack.wait_until_ready()
        yield stack
    finally:
        stack.stop()
