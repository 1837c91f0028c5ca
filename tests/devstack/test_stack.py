"""The local stack as a user meets it: `durabill up`, crashes, `durabill down`."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from devstack.home import CHILDREN, MARK, Home
from devstack.processes import free_port
from tests.support.stack import NO_CERTIFICATES
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
COMMAND_SECONDS = 170

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(400)]


@dataclass(frozen=True)
class LocalStack:
    """One home with ports of its own, driven by the command line."""

    home: Home
    port: int
    temporal_port: int
    ui_port: int

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a `durabill` command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "DURABILL_HOME": str(self.home.path),
                "DURABILL_PORT": str(self.port),
                "DURABILL_TEMPORAL_PORT": str(self.temporal_port),
                "DURABILL_TEMPORAL_UI_PORT": str(self.ui_port),
            },
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def up(self) -> str:
        """Start the stack; give what was printed."""
        done = self.run("up")
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def status(self) -> dict[str, Any]:
        """Ask for the status."""
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    def pid(self, name: str) -> int:
        """Read a pid file."""
        return int(self.home.pid_file(name).read_text())

    async def healthy(self) -> bool:
        """Return whether /healthz answers 200."""
        try:
            async with httpx.AsyncClient(verify=NO_CERTIFICATES) as client:
                return (await client.get(f"http://127.0.0.1:{self.port}/healthz", timeout=5)).status_code == 200
        except httpx.HTTPError:
            return False

    def processes(self) -> list[str]:
        """List every live process of this home, whoever started it."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.home.path) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline())[:120])
            except psutil.Error:
                continue
        return found

    def assert_nothing_left(self) -> None:
        """No process, no pid file, no socket, no port in use."""
        assert self.processes() == []
        assert list(self.home.run.iterdir()) == []
        assert list(self.home.path.rglob(".s.PGSQL*")) == []
        for port in (self.port, self.temporal_port, self.ui_port):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    """A stack that is stopped at the end, however the test ends."""
    made = LocalStack(Home(tmp_path / "home"), free_port(), free_port(), free_port())
    try:
        yield made
    finally:
        made.run("down")


async def restarted(stack: LocalStack, name: str, old: int) -> None:
    """Wait until a part runs as a new process and the stack is healthy."""

    async def runs_anew() -> bool:
        process = stack.home.running(name)
        return process is not None and process.pid != old and await stack.healthy()

    await eventually(runs_anew, seconds=90)


async def test_up_twice_crashes_and_down(stack: LocalStack) -> None:
    printed = stack.up()
    assert "ready" in printed
    assert f"http://127.0.0.1:{stack.port}" in printed
    for secret in ("bootstrap_key", "demo_key"):
        assert (stack.home.path / secret).stat().st_mode & 0o777 == 0o600
    before = {name: stack.pid(name) for name in ("supervisor", *CHILDREN)}
    assert "already up" in stack.up()
    moved = LocalStack(stack.home, free_port(), stack.temporal_port, stack.ui_port).run("up")
    assert moved.returncode == 1
    assert f"already up at http://127.0.0.1:{stack.port}" in moved.stderr
    assert {name: stack.pid(name) for name in before} == before

    for name in reversed(CHILDREN):
        os.kill(before[name], signal.SIGKILL)
        await restarted(stack, name, before[name])
    found = stack.status()
    assert found["phase"] == "ready"
    assert found["health"] == 200
    parts = {part["name"]: part for part in found["parts"]}
    for name in CHILDREN:
        assert parts[name]["restarts"] >= 1
        assert parts[name]["pid"] == stack.pid(name)
        assert f"{name} was ended by SIGKILL" in stack.home.log("supervisor").read_text()

    done = stack.run("down")
    assert done.returncode == 0, done.stderr
    stack.assert_nothing_left()
    assert stack.run("status").returncode == 1
    assert "nothing is running" in stack.run("down").stdout


async def test_a_killed_supervisor_leaves_nothing_and_up_goes_on_with_the_data(stack: LocalStack) -> None:
    stack.up()
    keys = [stack.home.secret(name) for name in ("bootstrap_key", "demo_key")]
    os.kill(stack.pid("supervisor"), signal.SIGKILL)

    async def all_ended() -> bool:
        return not await asyncio.to_thread(stack.processes)

    await eventually(all_ended, seconds=60)
    stack.up()
    assert [stack.home.secret(name) for name in ("bootstrap_key", "demo_key")] == keys
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{stack.port}") as client:
        answer = await client.get("/v1/customers", headers={"Authorization": f"Bearer {keys[1]}"})
    assert answer.status_code == 200
    assert stack.run("down").returncode == 0
    stack.assert_nothing_left()


def test_a_port_in_use_is_named_with_its_variable(stack: LocalStack) -> None:
    for port, variable in (
        (stack.port, "DURABILL_PORT"),
        (stack.temporal_port, "DURABILL_TEMPORAL_PORT"),
        (stack.ui_port, "DURABILL_TEMPORAL_UI_PORT"),
    ):
        with socket.create_server(("127.0.0.1", port)):
            done = stack.run("up")
        assert done.returncode == 1
        assert f"port {port}" in done.stderr
        assert f"{variable}=" in done.stderr
        assert "Traceback" not in done.stderr


def test_two_stacks_side_by_side(stack: LocalStack, tmp_path: Path) -> None:
    other = LocalStack(Home(tmp_path / "other"), free_port(), free_port(), free_port())
    try:
        stack.up()
        other.up()
        assert stack.run("down").returncode == 0
        stack.assert_nothing_left()
        assert other.status()["health"] == 200
    finally:
        other.run("down")
    other.assert_nothing_left()
