"""Make ``.venv`` from a bare checkout; what every ``make`` target runs first.

Runs on the machine's own Python with nothing but the standard library. Uses ``uv`` if it is on PATH, else a private
copy in ``.durabill-tools/``. Quick when nothing changed: a stamp in ``.venv`` holds the hash of what it was made from.
"""

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TOOLS = ROOT / ".durabill-tools"
STAMP = VENV / "durabill-stamp"
PROGRAMS = "bin"
OLDEST = (3, 11)
INSTALL_UV_SECONDS = 180
SYNC_SECONDS = 900

# `package = false` installs no entry points, and a program cannot be found by `uv run` without one.
# The `exec` line instead of a `#!` line: that one may not be longer than 127 bytes.
SHIM = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys

sys.path.insert(0, {root!r})
from cli import main

sys.exit(main())
"""


def say(text: str) -> None:
    """Tell the person at the terminal what happens now."""
    print(f"[setup] {text}", flush=True)


def fail(text: str) -> None:
    """End with a message and no traceback."""
    sys.exit(f"[setup] {text}")


def fingerprint() -> str:
    """Return the hash of everything the environment is made from."""
    digest = hashlib.sha256()
    for path in (ROOT / "uv.lock", ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    digest.update(f"{ROOT}{sys.version_info[:2]}".encode())
    return digest.hexdigest()


def run(command: list[str], *, seconds: int, environment: dict[str, str] | None = None) -> bool:
    """Run a command with a time limit, its output shown; return whether it worked."""
    try:
        return subprocess.run(command, cwd=ROOT, timeout=seconds, env=environment, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        say(f"gave up after {seconds} s: {' '.join(command)}")
        return False


def find_uv() -> str:
    """Find uv on PATH or in the private tools; install it there if it is nowhere."""
    found = shutil.which("uv") or shutil.which(str(TOOLS / PROGRAMS / "uv"))
    if found is not None:
        return found
    say(f"uv is not installed; putting a private copy into {TOOLS.name}/ (at most {INSTALL_UV_SECONDS} s)")
    if not run([sys.executable, "-m", "venv", str(TOOLS)], seconds=INSTALL_UV_SECONDS):
        fail("this Python cannot make a virtual environment; install python3-venv, or uv (docs.astral.sh/uv)")
    pip = [str(TOOLS / PROGRAMS / "python"), "-m", "pip", "install", "--quiet", "--timeout", "20", "--retries", "2"]
    if not run([*pip, "uv"], seconds=INSTALL_UV_SECONDS):
        fail("uv could not be installed; check the network and pip's configuration, or install uv yourself")
    return str(TOOLS / PROGRAMS / "uv")


def sync(uv: str) -> None:
    """Install exactly what uv.lock names into .venv."""
    say(f"installing the locked dependencies into .venv (at most {SYNC_SECONDS // 60} min)")
    # This very interpreter, so that no other Python is downloaded.
    environment = {**os.environ, "UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never"}
    environment.pop("VIRTUAL_ENV", None)
    if not run([uv, "sync", "--frozen", "--quiet"], seconds=SYNC_SECONDS, environment=environment):
        fail("the dependencies could not be installed; the lines above say why")


def write_shim() -> None:
    """Put an executable ``durabill`` where ``uv run`` looks for programs."""
    shim = VENV / PROGRAMS / "durabill"
    shim.write_text(SHIM.format(python=VENV / PROGRAMS / "python", root=str(ROOT)))
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def main() -> None:
    """Make the environment unless it is already what it should be."""
    if sys.version_info < OLDEST:
        fail(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}. Try: make PYTHON=python3.12 ...")
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted and (VENV / PROGRAMS / "durabill").exists():
        return
    began = time.monotonic()
    sync(find_uv())
    write_shim()
    STAMP.write_text(wanted)
    say(f"ready ({time.monotonic() - began:.0f} s)")


if __name__ == "__main__":
    main()
