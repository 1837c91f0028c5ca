"""Start, watch and stop one child process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launcher.py")
POLL_SECONDS = 0.02
TAIL_LINES = 20
TAIL_WIDTH = 500


class StackError(Exception):
    """The stack cannot do what was asked; the message is meant for the person at the terminal."""


class PortInUseError(StackError):
    """Another program listens where a part of the stack should."""


def launched(
    command: Sequence[str],
    *,
    user: str | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
    tied: bool = True,
) -> list[str]:
    """Wrap a command so that it runs as ``user`` and, if tied, ends when this process ends."""
    options = ["--user", user] if user else []
    if tied:
        options += ["--parent", str(os.getpid()), "--death-signal", str(int(death_signal))]
    return [sys.executable, "-I", "-S", str(LAUNCHER), *options, "--", *command]


def start(
    command: Sequence[str], *, log: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a command in its own session, its output appended to ``log``.

    An own session keeps a Ctrl-C at the terminal from reaching the servers before their owner stops them in order.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=None if env is None else dict(env),
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes], *, sign: signal.Signals = signal.SIGTERM, seconds: float = 10.0) -> None:
    """Ask a child to end, wait, and kill it when it does not end in time."""
    if process.poll() is not None:
        return
    process.send_signal(sign)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(
    ready: Callable[[], bool],
    *,
    what: str,
    seconds: float,
    process: subprocess.Popen[bytes] | None,
    log: Path,
    poll: float = POLL_SECONDS,
) -> None:
    """Wait for a condition; StackError with the end of the log if the process ends or the time runs out."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process is not None and process.poll() is not None:
            raise StackError(f"{what} ended with code {process.returncode}.\n{tail(log)}")
        if time.monotonic() > deadline:
            raise StackError(f"{what} was not ready within {seconds:.0f} s.\n{tail(log)}")
        time.sleep(poll)


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the end of a log file, under its name."""
    if not log.exists():
        return f"(no {log})"
    text = log.read_text(errors="replace").splitlines()[-lines:]
    shortened = [line if len(line) <= TAIL_WIDTH else f"{line[:TAIL_WIDTH]} ..." for line in text]
    return "\n".join([f"--- end of {log} ---", *shortened])


def arguments_of(pid: int) -> list[str]:
    """Return the command line of a process; empty if there is none or it has ended."""
    import psutil  # type: ignore[import-untyped]  # comes with the embedded Postgres; the container image has neither

    try:
        return list(psutil.Process(pid).cmdline())
    except psutil.Error:
        return []


def free_port() -> int:
    """Find a TCP port on 127.0.0.1 that nothing listens on now and that nobody else is given for the next minute.

    A connection that its server closed first leaves the port in TIME_WAIT: the kernel gives it to nobody who asks for
    any port, while a server that asks for this one (with SO_REUSEADDR, as all of ours do) may have it.
    """
    with socket.socket() as server, socket.socket() as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        client.connect(server.getsockname())
        server.accept()[0].close()
        port: int = server.getsockname()[1]
        return port


def port_is_free(port: int) -> bool:
    """Return whether a server could listen on the port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
