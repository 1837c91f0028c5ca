"""What a stack keeps on disk: its data, logs, secrets, and who runs."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]

CHILDREN = ("postgres", "temporal", "api", "worker")
MARK = "DURABILL_HOME"


class Home:
    """The directory of one stack ($DURABILL_HOME). Several stacks live side by side in several homes."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.run = self.path / "run"
        self.logs = self.path / "log"
        self.postgres = self.path / "postgres"

    def create(self) -> None:
        """Make the directories, readable by nobody else."""
        for directory in (self.path, self.run, self.logs):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def log(self, name: str) -> Path:
        """Return the log file of a part of the stack."""
        return self.logs / f"{name}.log"

    def pid_file(self, name: str) -> Path:
        """Return the pid file of a part of the stack."""
        return self.run / f"{name}.pid"

    def write_pid(self, name: str, pid: int) -> None:
        """Remember which process a part runs as."""
        _replace(self.pid_file(name), f"{pid}\n")

    def forget_pid(self, name: str) -> None:
        """Remove the pid file of a part that has ended."""
        self.pid_file(name).unlink(missing_ok=True)

    def running(self, name: str) -> psutil.Process | None:
        """Return the live process of a part; None if it does not run.

        A pid alone proves nothing: after a crash or a reboot another program may have it. Ours have this home in
        their environment.
        """
        try:
            process = psutil.Process(int(self.pid_file(name).read_text()))
            if process.status() == psutil.STATUS_ZOMBIE or process.environ().get(MARK) != str(self.path):
                return None
        except (OSError, ValueError, psutil.Error):
            return None
        return process

    def secret(self, name: str) -> str | None:
        """Read one of the stack's secrets; None if it has not been made."""
        path = self.path / name
        return path.read_text().strip() if path.exists() else None

    def write_secret(self, name: str, value: str) -> None:
        """Keep a secret in a file that only the owner may read."""
        _replace(self.path / name, f"{value}\n")

    def secret_or_new(self, name: str, prefix: str = "") -> str:
        """Read a secret, making one of 256 random bits the first time."""
        known = self.secret(name)
        if known is None:
            known = prefix + secrets.token_urlsafe(32)
            self.write_secret(name, known)
        return known

    def report(self, state: dict[str, object]) -> None:
        """Publish what the supervisor knows, for ``up`` and ``status``."""
        _replace(self.run / "state.json", json.dumps(state, indent=1) + "\n")

    def reported(self) -> dict[str, object]:
        """Read what the supervisor published last; empty if nothing."""
        try:
            state = json.loads((self.run / "state.json").read_text())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def forget_report(self) -> None:
        """Remove the supervisor's report."""
        (self.run / "state.json").unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home for one ``up`` or ``down`` at a time."""
        self.create()
        with (self.path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _replace(path: Path, text: str) -> None:
    """Write a file that is at every moment either the old or the new one, with mode 600."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(unfinished, path)
