"""ARCHITECTURE.md names files and folders that exist, each area once, and the seven flows."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
FLOWS = ("event", "subscription begins", "period closes", "invoice is paid", "alert", "webhook", "command")


def section(title: str) -> str:
    return TEXT.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def named_paths() -> list[str]:
    places = section("The house") + section("Where does X live")
    return sorted({path for path in re.findall(r"`([a-z_./]+(?:\.py|/))`", places) if "/" in path})


@pytest.mark.parametrize("path", named_paths())
def test_what_the_document_names_exists(path: str) -> None:
    layers = (".", "models", "adapters", "api")
    assert any((ROOT / layer / path).exists() for layer in layers), f"ARCHITECTURE.md names {path}, which is not there"


def test_each_area_of_stores_is_in_the_table_once() -> None:
    rows = [line for line in section("Where does X live").splitlines() if line.startswith("|")]
    for area in sorted(
        path.name for path in (ROOT / "adapters" / "postgres").iterdir() if (path / "__init__.py").exists()
    ):
        assert sum(f"`adapters/postgres/{area}/`" in row for row in rows) == 1, area


@pytest.mark.parametrize("flow", FLOWS)
def test_each_flow_is_a_chain_of_files(flow: str) -> None:
    rows = [line for line in section("Where does X live").splitlines() if line.startswith("| a") and " -> " in line]
    assert len(rows) == len(FLOWS)
    chain = next(row for row in rows if flow in row.split("|")[1])
    assert len(re.findall(r"`[a-z_./]+\.py`", chain)) >= 4
