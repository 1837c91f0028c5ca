"""What a stack keeps on disk."""

import os
from pathlib import Path

from devstack.home import Home


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    made = home.secret_or_new("bootstrap_key", prefix="boot_")
    assert made.startswith("boot_")
    assert len(made) > 40
    assert home.secret_or_new("bootstrap_key") == made
    assert (home.path / "bootstrap_key").stat().st_mode & 0o777 == 0o600
    assert home.path.stat().st_mode & 0o777 == 0o700
    assert home.secret("demo_key") is None


def test_a_pid_that_another_program_has_now_is_not_ours(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    home.write_pid("worker", os.getpid())
    assert home.running("worker") is None
    home.pid_file("worker").write_text("not a pid")
    assert home.running("worker") is None
    home.forget_pid("worker")
    home.forget_pid("worker")
    assert home.running("worker") is None


def test_a_torn_report_reads_as_none(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    home.report({"phase": "ready"})
    assert home.reported() == {"phase": "ready"}
    (home.run / "state.json").write_text('{"phase"')
    assert home.reported() == {}
