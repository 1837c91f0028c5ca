"""The first thing every `make` target does, run as make does: as a program of a checkout."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Checkout:
    """A checkout with a lock file and an environment that looks made."""

    path: Path

    @property
    def calls(self) -> list[str]:
        """How `uv` was called."""
        found = self.path / "calls"
        return found.read_text().splitlines() if found.exists() else []

    def uv(self, script: str) -> None:
        """Have this script for `uv`; the real one would install hundreds of packages."""
        program = self.path / "programs" / "uv"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def bootstrap(self) -> "subprocess.CompletedProcess[str]":
        """Run the first step of every target."""
        return subprocess.run(
            [sys.executable, self.path / "devstack" / "bootstrap.py"],
            env={**os.environ, "PATH": f"{self.path / 'programs'}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout whose `uv` only record how it was called."""
    for name in ("uv.lock", "pyproject.toml"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "devstack").mkdir()
    shutil.copy(ROOT / "devstack" / "bootstrap.py", tmp_path / "devstack")
    made = Checkout(tmp_path)
    made.uv(f'echo "$@ $UV_PYTHON" >> {tmp_path / "calls"}')
    return made


def test_syncs_once_and_again_only_when_the_lock_changes(checkout: Checkout) -> None:
    for _ in range(2):
        done = checkout.bootstrap()
        assert done.returncode == 0, done.stderr
    assert checkout.calls == [f"sync --frozen --quiet {sys.executable}"]
    (checkout.path / "uv.lock").write_text("changed")
    assert checkout.bootstrap().returncode == 0
    assert len(checkout.calls) == 2


def test_the_shim_runs_the_command_line(checkout: Checkout) -> None:
    (checkout.path / "cli.py").write_text("import sys\ndef main():\n    print('hello', *sys.argv[1:])\n    return 3\n")
    (checkout.path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    assert checkout.bootstrap().returncode == 0
    shim = checkout.path / ".venv" / "bin" / "durabill"
    done = subprocess.run([shim, "there"], capture_output=True, text=True, cwd="/", timeout=30, check=False)
    assert (done.stdout, done.returncode) == ("hello there\n", 3)


def test_an_interrupted_setup_is_done_again(checkout: Checkout) -> None:
    checkout.uv("exit 1")
    done = checkout.bootstrap()
    assert done.returncode == 1
    assert "could not be installed" in done.stderr
    assert not (checkout.path / ".venv" / "durabill-stamp").exists()


def test_ci_runs_the_tests_and_nothing_else() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "make test"]


@pytest.mark.parametrize("target", ["demo", "up", "down", "test", "check", "bench", "record", "replay"])
def test_every_target_of_the_contract_exists(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "devstack/bootstrap.py" in done.stdout
