"""The launcher: what it starts ends with its parent, however that dies."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.waiting import eventually

PARENT = """
import subprocess, sys, time
from pathlib import Path
from devstack.processes import launched
child = subprocess.Popen(launched([sys.executable, "-c", "import time; time.sleep(600)"]))
Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
async def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, str(pid_file))

    async def child_runs() -> bool:
        return pid_file.exists() and bool(pid_file.read_text()) and _executes(int(pid_file.read_text()), "time.sleep")

    await eventually(child_runs)
    child = int(pid_file.read_text())
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()

    async def child_is_gone() -> bool:
        return not _executes(child, "time.sleep")

    await eventually(child_is_gone)


def _executes(pid: int, text: str) -> bool:
    """Return whether the process lives and has become the program (the launcher has handed over)."""
    try:
        process = psutil.Process(pid)
        arguments = process.cmdline()
    except psutil.Error:
        return False
    return (
        process.status() != psutil.STATUS_ZOMBIE
        and "launcher.py" not in " ".join(arguments[:4])
        and any(text in argument for argument in arguments)
    )
