"""Keep a stack running: start its parts in order, restart what crashes, stop everything in reverse.

Runs detached, as a process of its own (``python -m devstack.supervisor``), started by ``durabill up``. If it is killed,
its children end with it (see launcher.py), so nothing is ever left without an owner.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from devstack.embedded_postgres import EmbeddedPostgres
from devstack.home import Home
from devstack.processes import StackError, tail, wait_until
from devstack.programs import (
    API_STOP_SECONDS,
    WORKER_STOP_SECONDS,
    Program,
    PythonProgram,
    api_arguments,
    health,
    run_step,
    worker_arguments,
)
from devstack.temporal_server import TemporalServer
from settings import Settings, settings

PREPARE_SECONDS = 120.0
READY_SECONDS = 120.0
FIRST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 30.0
STABLE_SECONDS = 60.0
EVALUATION_SECONDS = 5.0
DATABASE = "durabill"


class StopRequested(BaseException):
    """Somebody asked the stack to stop; like KeyboardInterrupt, a request and not an error."""


@dataclass
class Part:
    """A program of the stack and how it fares."""

    name: str
    program: Program
    started_at: float = 0.0
    restarts: int = 0
    failures: int = 0  # in a row; decides how long to wait before the next try
    due: float | None = None  # when to start it again; None while it runs
    last_end: str | None = None
    since: str = ""

    def report(self) -> dict[str, object]:
        """Return how the part fares, for ``durabill status``."""
        running = self.due is None and self.started_at > 0
        return {
            "name": self.name,
            "state": "running" if running else "restarting" if self.due is not None else "waiting",
            "pid": self.program.process.pid if running else None,
            "since": self.since,
            "restarts": self.restarts,
            "last_end": self.last_end,
            "log": str(self.program.log),
        }


class Supervisor:
    """One stack in one home."""

    def __init__(self, home: Home, config: Settings) -> None:
        self.home = home
        self.config = config
        self.url = f"http://127.0.0.1:{config.port}"
        self.began = time.monotonic()
        self.phase = "starting"
        self.error: str | None = None
        mark = {"DURABILL_HOME": str(home.path)}
        self.postgres = EmbeddedPostgres(home.postgres, log=home.log("postgres"), environment=mark)
        self.temporal = TemporalServer(
            home.path,
            port=config.temporal_port,
            ui_port=config.temporal_ui_port,
            log=home.log("temporal"),
            environment=mark,
        )
        self.parts: list[Part] = []

    def run(self) -> int:
        """Start everything, keep it running until a SIGTERM or SIGINT, stop everything; the process's exit code."""
        self.home.write_pid("supervisor", os.getpid())
        wake = _listen_to_signals()
        try:
            self._bring_up()
            self._watch(wake)
        except StopRequested:
            self._say("stopping")
        except StackError as error:
            self.phase, self.error = "failed", str(error)
            self._say(f"could not start: {self.error.splitlines()[0]}")
        finally:
            _ignore_signals()
            self._take_down()
        return 1 if self.phase == "failed" else 0

    def _bring_up(self) -> None:
        self._publish()
        self._start_part("postgres", self.postgres, lambda: f"Postgres ready on port {self.postgres.port}")
        self._start_part("temporal", self.temporal, lambda: f"Temporal ready at {self.temporal.address}")
        self._prepare_database()
        environment = self._environment()
        api, worker = api_arguments(self.config.host, self.config.port), worker_arguments()
        self._start_part("api", self._python("api", api, API_STOP_SECONDS, environment))
        self._start_part("worker", self._python("worker", worker, WORKER_STOP_SECONDS, environment))
        self._wait_for_health()
        self.phase = "ready"
        self._publish()
        self._say(f"ready: {self.url}/healthz answers 200")

    def _python(self, name: str, arguments: list[str], stop_seconds: float, environment: dict[str, str]) -> Program:
        return PythonProgram(arguments, log=self.home.log(name), environment=environment, stop_seconds=stop_seconds)

    def _start_part(self, name: str, program: Program, ready: Callable[[], str] | None = None) -> None:
        part = Part(name, program)
        self.parts.append(part)
        self._start(part)
        self._say(ready() if ready is not None else f"{name} started (process {program.process.pid})")

    def _start(self, part: Part) -> None:
        part.program.start()
        part.started_at, part.since, part.due = time.monotonic(), _now(), None
        self.home.write_pid(part.name, part.program.process.pid)
        self._publish()

    def _prepare_database(self) -> None:
        run_step(
            ["-m", "devstack.prepare"],
            log=self.home.log("migrate"),
            environment={**self._environment(), "DURABILL_DATABASE_ADMIN_URL": self.postgres.url()},
            seconds=PREPARE_SECONDS,
            what="The database migration",
        )
        self._say("database migrated")

    def _environment(self) -> dict[str, str]:
        """Say to the API and the worker where everything is; what the caller's environment said does not count."""
        database_url = self.postgres.url(DATABASE, user="durabill")
        return {
            "DURABILL_HOME": str(self.home.path),
            "DATABASE_URL": database_url,
            "TEMPORAL_ADDRESS": self.temporal.address,
            "DURABILL_TEMPORAL_UI_URL": self.temporal.ui_url,
            "DURABILL_PUBLIC_URL": self.config.public_url or self.url,
            "DURABILL_BOOTSTRAP_KEY": self.home.secret_or_new("bootstrap_key", prefix="boot_"),
            "DURABILL_SESSION_SECRET": self.home.secret_or_new("session_secret"),
            "DURABILL_ENCRYPTION_KEYS": self.home.secret_or_new("encryption_key"),
            # Receivers under development listen on this machine.
            "DURABILL_WEBHOOK_ALLOW_PRIVATE": "true",
            "PYTHONUNBUFFERED": "1",
        }

    def _wait_for_health(self) -> None:
        worker = self.parts[-1]
        try:
            wait_until(
                self._healthy, what="The stack", seconds=READY_SECONDS, process=None, log=worker.program.log, poll=0.1
            )
        except StackError as error:
            raise StackError(f"{error}\n{tail(self.home.log('api'))}\nhealth: {health(self.url).body}") from None

    def _healthy(self) -> bool:
        for part in self.parts:
            code = part.program.process.poll()
            if code is not None:
                raise StackError(f"{part.name} {_ended(code)} before it was ready.\n{tail(part.program.log)}")
        return health(self.url).ok

    def _watch(self, wake: int) -> None:
        while True:
            pause = min([EVALUATION_SECONDS] + [max(part.due - time.monotonic(), 0) for part in self.parts if part.due])
            if select.select([wake], [], [], pause)[0]:
                os.read(wake, 4096)
            for part in self.parts:
                self._look_after(part)

    def _look_after(self, part: Part) -> None:
        now = time.monotonic()
        if part.due is None:
            code = part.program.process.poll()
            if code is not None:
                self._schedule_restart(part, _ended(code))
        elif part.due <= now:
            part.restarts += 1
            try:
                self._start(part)
            except StackError as error:
                self._schedule_restart(part, str(error))
            else:
                self._say(f"{part.name} restarted (process {part.program.process.pid}, restart {part.restarts})")

    def _schedule_restart(self, part: Part, why: str) -> None:
        now = time.monotonic()
        part.failures = 1 if now - part.started_at > STABLE_SECONDS else part.failures + 1
        pause = min(FIRST_BACKOFF_SECONDS * 2 ** (part.failures - 1), LONGEST_BACKOFF_SECONDS)
        part.due, part.last_end = now + pause, f"{_now()} {why.splitlines()[0]}"
        self.home.forget_pid(part.name)
        self._say(f"{part.name} {why.splitlines()[0]}; starting it again in {pause:g} s (log: {part.program.log})")
        self._publish()

    def _take_down(self) -> None:
        failed = self.phase == "failed"
        self.phase = "failed" if failed else "stopping"
        self._publish()
        for part in reversed(self.parts):
            part.program.stop()
            self.home.forget_pid(part.name)
            self._say(f"{part.name} stopped")
        if not failed:  # `up` reads why, and removes the report
            self.home.forget_report()
        self.home.forget_pid("supervisor")

    def _publish(self) -> None:
        self.home.report(
            {
                "phase": self.phase,
                "error": self.error,
                "api": self.url,
                "temporal": self.temporal.address,
                "temporal_ui": self.temporal.ui_url,
                "parts": [part.report() for part in self.parts],
            }
        )

    def _say(self, text: str) -> None:
        print(f"[{_now()} {time.monotonic() - self.began:6.1f} s] {text}", flush=True)


def _listen_to_signals() -> int:
    """Raise StopRequested at SIGTERM and SIGINT; a child's end makes the returned pipe readable."""
    wake, write = os.pipe()
    for end in (wake, write):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(write)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop_requested)
    return wake


def _stop_requested(_number: int, _frame: FrameType | None) -> None:
    _ignore_signals()
    raise StopRequested


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> int:
    """Run the stack of $DURABILL_HOME until asked to stop."""
    home = Home(Path(settings().home))
    home.create()
    return Supervisor(home, settings()).run()


if __name__ == "__main__":
    sys.exit(main())
