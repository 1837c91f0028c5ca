"""The API and the worker as child processes of the stack."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from devstack.processes import StackError, launched, start, stop
from settings import environment_with

ROOT = Path(__file__).resolve().parent.parent
API_STOP_SECONDS = 15.0
WORKER_STOP_SECONDS = 25.0


class Program(Protocol):
    """What the supervisor keeps running: the servers and our own programs look the same to it."""

    @property
    def log(self) -> Path:
        """Return the file with its output."""

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """Return its process."""

    def start(self) -> None:
        """Start it."""

    def stop(self) -> None:
        """Stop it and wait until it has ended."""


class PythonProgram:
    """One of our own programs, run by this interpreter from the checkout."""

    def __init__(
        self, arguments: Sequence[str], *, log: Path, environment: Mapping[str, str], stop_seconds: float
    ) -> None:
        self.log = log
        self._command = [sys.executable, *arguments]
        self._environment = environment_with(environment)
        self._stop_seconds = stop_seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """Return the program's process."""
        assert self._process is not None, "the program has not been started"
        return self._process

    def start(self) -> None:
        """Start the program; whether it is ready, the API's health answers for both."""
        # If the supervisor is killed, the servers that an orderly stop would need end too; a crash loses nothing.
        command = launched(self._command, death_signal=signal.SIGKILL)
        self._process = start(command, log=self.log, cwd=ROOT, env=self._environment)

    def stop(self) -> None:
        """Let the program finish what it does, within its time."""
        if self._process is not None:
            stop(self._process, seconds=self._stop_seconds)


def api_arguments(host: str, port: int) -> list[str]:
    """Return the arguments of the interpreter that run the API, here and in the container image."""
    server = ["-m", "uvicorn", "app:create_app", "--factory", "--loop", "uvloop", "--http", "httptools"]
    return [*server, "--host", host, "--port", str(port), "--no-access-log", "--timeout-graceful-shutdown", "10"]


def worker_arguments() -> list[str]:
    """Return the arguments of the interpreter that run the worker."""
    return ["-m", "worker"]


def run_step(arguments: Sequence[str], *, log: Path, environment: Mapping[str, str], seconds: float, what: str) -> None:
    """Run one of our programs to its end; StackError with its last words if it fails or takes too long."""
    mark = log.stat().st_size if log.exists() else 0
    process = start(launched([sys.executable, *arguments]), log=log, cwd=ROOT, env=environment_with(environment))
    try:
        code = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise StackError(f"{what} took longer than {seconds:.0f} s.\n{_since(log, mark)}") from None
    finally:
        stop(process)
    if code != 0:
        raise StackError(f"{what} ended with code {code}.\n{_since(log, mark)}")


@dataclass(frozen=True)
class Health:
    """What ``GET /healthz`` answered; status None: nobody answered."""

    status: int | None
    body: str

    @property
    def ok(self) -> bool:
        """Return whether everything is ready: database migrated, Temporal reachable, worker polling."""
        return self.status == 200


def health(url: str, *, seconds: float = 3.0) -> Health:
    """Ask the API how the stack is."""
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=seconds) as answer:
            return Health(answer.status, _short(answer.read()))
    except urllib.error.HTTPError as error:
        return Health(error.code, _short(error.read()))
    except OSError as error:
        return Health(None, str(error))


def _short(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body))[:500]
    except ValueError:
        return body.decode(errors="replace")[:500]


def _since(log: Path, mark: int) -> str:
    with log.open(errors="replace") as file:
        file.seek(mark)
        return file.read()[-4000:]
