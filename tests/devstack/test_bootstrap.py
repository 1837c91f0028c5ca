"""The first thing every `make` target does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devstack import bootstrap

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a lock file and an environment that looks made."""
    for name in ("uv.lock", "pyproject.toml"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap, "TOOLS", tmp_path / ".durabill-tools")
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / ".venv" / "durabill-stamp")
    return tmp_path


def fake_uv(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a `uv` on PATH that only writes down how it was called."""
    calls = directory / "calls"
    programs = directory / "programs"
    programs.mkdir()
    (programs / "uv").write_text(f'#!/bin/sh\necho "$@ $UV_PYTHON" >> {calls}\n')
    (programs / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return calls


def test_syncs_once_and_again_only_when_the_lock_changes(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_uv(checkout, monkeypatch)
    bootstrap.main()
    bootstrap.main()
    assert calls.read_text().splitlines() == [f"sync --frozen --quiet {sys.executable}"]
    (checkout / "uv.lock").write_text("changed")
    bootstrap.main()
    assert len(calls.read_text().splitlines()) == 2


def test_the_shim_runs_the_command_line(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_uv(checkout, monkeypatch)
    (checkout / "cli.py").write_text("import sys\ndef main():\n    print('hello', *sys.argv[1:])\n    return 3\n")
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    bootstrap.main()
    shim = checkout / ".venv" / "bin" / "durabill"
    done = subprocess.run([shim, "there"], capture_output=True, text=True, cwd="/", timeout=30, check=False)
    assert (done.stdout, done.returncode) == ("hello there\n", 3)


def test_an_interrupted_setup_is_done_again(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "bad").mkdir()
    (checkout / "bad" / "uv").write_text("#!/bin/sh\nexit 1\n")
    (checkout / "bad" / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{checkout / 'bad'}:{os.environ['PATH']}")
    with pytest.raises(SystemExit, match="could not be installed"):
        bootstrap.main()
    assert not (checkout / ".venv" / "durabill-stamp").exists()


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
