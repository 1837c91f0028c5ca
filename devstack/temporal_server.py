"""The Temporal dev server with its UI, on this machine.

Its state is one SQLite file. With the default pragmas each write waits for the disk; with a write-ahead log and
``synchronous=NORMAL`` it is several times faster and still loses nothing when the process is killed (only a crash of
the whole machine may lose the last moments, and Postgres is the record). docs/operations.md has the measurement.
"""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Final

from temporalio.api.enums.v1 import IndexedValueType

from devstack import temporal_binary
from devstack.processes import free_port, launched, start, stop, wait_until
from models.identifiers import SEARCH_ATTRIBUTES
from settings import environment_with, settings

START_SECONDS = 60.0
STOP_SECONDS = 15.0
NAMESPACE = "default"
FAST_PRAGMAS: Final[Mapping[str, str]] = {"journal_mode": "WAL", "synchronous": "NORMAL"}

# The dev server inherits limits meant for a shared cluster; on one's own machine they only throttle a burst.
UNTHROTTLED: Final[Mapping[str, str]] = {
    "frontend.rps": "100000",
    "frontend.namespaceRPS": "100000",
    "frontend.namespaceRPS.visibility": "10000",
    "frontend.namespaceRPS.namespaceReplicationInducingAPIs": "1000",
    "frontend.namespaceCount": "20000",
    "frontend.persistenceMaxQPS": "100000",
    "history.rps": "100000",
    "history.persistenceMaxQPS": "100000",
    "matching.rps": "100000",
    "matching.persistenceMaxQPS": "100000",
    "worker.persistenceMaxQPS": "10000",
    "system.visibilityPersistenceMaxReadQPS": "100000",
    "system.visibilityPersistenceMaxWriteQPS": "100000",
}


class TemporalServer:
    """One Temporal dev server; ``directory=None`` keeps its state in memory.

    Ports that are not given are free ones. ``dynamic_config`` values are JSON texts and win over the defaults.
    """

    def __init__(
        self,
        directory: Path | None,
        *,
        port: int | None = None,
        ui_port: int | None = None,
        dynamic_config: Mapping[str, str] = MappingProxyType({}),
        pragmas: Mapping[str, str] = FAST_PRAGMAS,
        log: Path | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.directory = directory.absolute() if directory is not None else None
        self.port = port or free_port()
        self.ui_port = ui_port or free_port()
        self.http_port = free_port()
        self._dynamic_config = {**UNTHROTTLED, **dynamic_config}
        self._pragmas = pragmas
        self._log = log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: TemporaryDirectory[str] | None = None

    @property
    def address(self) -> str:
        """Return host:port for a Temporal client."""
        return f"127.0.0.1:{self.port}"

    @property
    def ui_url(self) -> str:
        """Return the address of the web UI."""
        return f"http://127.0.0.1:{self.ui_port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Return the server's process."""
        assert self._process is not None, "the server has not been started"
        return self._process

    @property
    def log(self) -> Path:
        """Return the file that holds the server's output."""
        return self._log or self._files() / "temporal.log"

    def start(self) -> None:
        """Start the server and wait until it answers for the namespace with our search attributes.

        Raises StackError with the end of the log when it does not come up.
        """
        binary = temporal_binary.find(settings().temporal_bin, say=print)
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
        self._process = start(launched(self.command(binary)), log=self.log, env=environment_with(self._environment))
        wait_until(
            self.is_ready, what="The Temporal server", seconds=START_SECONDS, process=self._process, log=self.log
        )

    def stop(self) -> None:
        """Stop the server; what it knows stays in its file."""
        if self._process is not None:
            stop(self._process, seconds=STOP_SECONDS)
            self._process = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def command(self, binary: Path) -> list[str]:
        """Return the command line of the server."""
        command = [str(binary), "server", "start-dev", "--ip", "127.0.0.1", "--port", str(self.port)]
        command += ["--ui-port", str(self.ui_port), "--http-port", str(self.http_port), "--log-level", "warn"]
        if self.directory is not None:
            command += ["--db-filename", str(self.directory / "temporal.db")]
            for name, value in self._pragmas.items():
                command += ["--sqlite-pragma", f"{name}={value}"]
        for key in SEARCH_ATTRIBUTES:
            command += ["--search-attribute", f"{key.name}={_type_name(key.indexed_value_type)}"]
        for name, value in self._dynamic_config.items():
            command += ["--dynamic-config-value", f"{name}={value}"]
        return command

    def is_ready(self) -> bool:
        """Return whether the server answers for our namespace and knows our search attributes."""
        url = f"http://127.0.0.1:{self.http_port}/api/v1/namespaces/{NAMESPACE}/search-attributes"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                known = json.load(answer).get("customAttributes", {})
        except (OSError, urllib.error.URLError, ValueError):
            return False
        return all(key.name in known for key in SEARCH_ATTRIBUTES)

    def _files(self) -> Path:
        if self.directory is not None:
            return self.directory
        if self._scratch is None:
            self._scratch = TemporaryDirectory(prefix="durabill-temporal-")
        return Path(self._scratch.name)


def _type_name(value: int) -> str:
    name = IndexedValueType.Name(IndexedValueType.ValueType(value))
    return "".join(part.title() for part in name.removeprefix("INDEXED_VALUE_TYPE_").split("_"))
