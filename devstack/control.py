"""What ``durabill up``, ``down`` and ``status`` do: talk to a stack's supervisor from outside."""

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from devstack import temporal_binary
from devstack.embedded_postgres import EmbeddedPostgres
from devstack.home import CHILDREN, Home
from devstack.processes import PortInUseError, StackError, port_is_free, start, tail
from devstack.programs import ROOT, health
from settings import Settings, environment_with

UP_SECONDS = 300.0
DOWN_SECONDS = 100.0
LEFTOVER_SECONDS = 20.0
POLL_SECONDS = 0.1
STOP_SIGNALS = {"postgres": signal.SIGINT}

Say = Callable[[str], None]


def up(config: Settings, *, say: Say) -> None:
    """Start the stack, or see that it is up; returns when its health is 200.

    Raises StackError with what to do: a port in use, a program that does not start (with the end of its log).
    """
    home = Home(config.home)
    with home.locked():
        supervisor = home.running("supervisor")
        if supervisor is not None:
            _check_same_ports(home, config)
            if health(_url(config)).ok:
                say(f"already up: {_url(config)}")
                return
            say("a supervisor is running; waiting for it")
            mark = home.log("supervisor").stat().st_size
        else:
            _end_leftovers(home, say)
            _check_ports(config)
            binary = temporal_binary.find(config.temporal_bin, say=say)
            mark = _size(home.log("supervisor"))
            supervisor = _spawn(home, binary)
        try:
            _follow_up(home, config, supervisor, mark, say)
        except KeyboardInterrupt:
            say("interrupted; stopping what was started")
            _stop_supervisor(home, supervisor, say)
            raise


def down(config: Settings, *, say: Say) -> None:
    """Stop the stack in reverse order and leave no process, no socket and no pid file; nothing to do is fine."""
    home = Home(config.home)
    if not home.path.exists():
        say("nothing is running")
        return
    supervisor = home.running("supervisor")
    if supervisor is not None:
        _stop_supervisor(home, supervisor, say)
    with home.locked():
        ended = _end_leftovers(home, say)
    say("stopped" if supervisor is not None or ended else "nothing is running")


def status(config: Settings) -> dict[str, object]:
    """Return what runs: the supervisor's report, corrected by what is really alive, and the API's health."""
    home = Home(config.home)
    supervisor = home.running("supervisor")
    report = home.reported() if supervisor is not None else {"phase": "down", "parts": []}
    answer = health(str(report.get("api", _url(config)))) if supervisor is not None else None
    return {
        **report,
        "home": str(home.path),
        "supervisor": supervisor.pid if supervisor is not None else None,
        "health": None if answer is None else answer.status,
    }


def _url(config: Settings) -> str:
    return f"http://127.0.0.1:{config.port}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_same_ports(home: Home, config: Settings) -> None:
    running_at = home.reported().get("api")
    if running_at is not None and running_at != _url(config):
        raise StackError(
            f"The stack of {home.path} is already up at {running_at}, not at port {config.port}.\n"
            "Stop it first (make down), or choose another home for a second stack (DURABILL_HOME)."
        )


def _check_ports(config: Settings) -> None:
    wanted = (
        ("The API", config.port, "DURABILL_PORT"),
        ("Temporal", config.temporal_port, "DURABILL_TEMPORAL_PORT"),
        ("The Temporal UI", config.temporal_ui_port, "DURABILL_TEMPORAL_UI_PORT"),
    )
    for what, port, variable in wanted:
        if not port_is_free(port):
            raise PortInUseError(
                f"{what} needs port {port}, where another program listens. Choose another: {variable}={port + 10}"
            )


def _spawn(home: Home, binary: Path) -> psutil.Process:
    environment = environment_with(
        {"DURABILL_HOME": str(home.path), "DURABILL_TEMPORAL_BIN": str(binary), "PYTHONUNBUFFERED": "1"}
    )
    command = [sys.executable, "-m", "devstack.supervisor"]
    return psutil.Process(start(command, log=home.log("supervisor"), cwd=ROOT, env=environment).pid)


def _follow_up(home: Home, config: Settings, supervisor: psutil.Process, mark: int, say: Say) -> None:
    """Show the supervisor's lines until it is ready; StackError if it fails, ends, or takes too long."""
    log, deadline = home.log("supervisor"), time.monotonic() + UP_SECONDS
    while True:
        alive, report = _alive(supervisor), home.reported()
        mark = _show_new_lines(log, mark, say)
        if report.get("phase") == "ready" and health(_url(config)).ok:
            _show_new_lines(log, mark, say)
            return
        if not alive:
            home.forget_report()
            raise StackError(str(report.get("error") or f"The supervisor ended.\n{tail(log)}"))
        if time.monotonic() > deadline:
            raise StackError(f"The stack was not ready within {UP_SECONDS:.0f} s.\n{tail(log)}")
        time.sleep(POLL_SECONDS)


def _show_new_lines(log: Path, mark: int, say: Say) -> int:
    """Show the whole lines that were added to a log; give the new mark."""
    with log.open("rb") as file:
        file.seek(mark)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    for line in whole.decode(errors="replace").splitlines():
        say(line)
    return mark + len(whole)


def _stop_supervisor(home: Home, supervisor: psutil.Process, say: Say) -> None:
    log = home.log("supervisor")
    mark, deadline = _size(log), time.monotonic() + DOWN_SECONDS
    _signal(supervisor, signal.SIGTERM)
    while _alive(supervisor):
        mark = _show_new_lines(log, mark, say)
        if time.monotonic() > deadline:
            say(f"the supervisor did not end within {DOWN_SECONDS:.0f} s; killing it")
            _signal(supervisor, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    _show_new_lines(log, mark, say)


def _end_leftovers(home: Home, say: Say) -> bool:
    """End what a killed supervisor left, and remove every trace; return whether there was a process."""
    found = False
    for name in reversed(CHILDREN):
        process = home.running(name)
        if process is not None:
            found = True
            say(f"{name} (process {process.pid}) was left without a supervisor; stopping it")
            _end(process, STOP_SIGNALS.get(name, signal.SIGTERM))
    for name in ("supervisor", *CHILDREN):
        home.forget_pid(name)
    home.forget_report()
    EmbeddedPostgres(home.postgres).remove_socket()
    return found


def _end(process: psutil.Process, sign: signal.Signals) -> None:
    _signal(process, sign)
    try:
        process.wait(timeout=LEFTOVER_SECONDS)
    except psutil.TimeoutExpired:
        _signal(process, signal.SIGKILL)


def _signal(process: psutil.Process, sign: signal.Signals) -> None:
    try:
        process.send_signal(sign)
    except psutil.NoSuchProcess:
        return


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
