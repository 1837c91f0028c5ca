"""Revisions are short frozen SQL that waits for no lock for long."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REVISIONS = sorted((ROOT / "migrations" / "versions").glob("*.py"))
LINES_MAX = 400
FIRST_STATEMENT = "SET LOCAL lock_timeout = '5s';"
every_revision = pytest.mark.parametrize("path", REVISIONS, ids=lambda path: path.stem)


def constants(path: Path) -> dict[str, object]:
    """Return what the file assigns to its names at the top level."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


@every_revision
def test_a_revision_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES_MAX, "one revision for one area"


@every_revision
def test_a_revision_imports_nothing_of_the_code(path: Path) -> None:
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["from alembic import op"], "the code moves on, this file stays"


@every_revision
@pytest.mark.parametrize("way", ["UPGRADE", "DOWNGRADE"])
def test_a_revision_waits_for_no_lock_for_long(path: Path, way: str) -> None:
    statements = constants(path)[way]
    assert isinstance(statements, str)
    assert statements.strip().startswith(FIRST_STATEMENT)
    (function,) = (
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == way.lower()
    )
    assert ast.unparse(function.body[-1]) == f"op.execute({way})"


@every_revision
def test_a_revision_is_named_after_its_file(path: Path) -> None:
    assert re.fullmatch(rf"\d{{4}}_{constants(path)['revision']}", path.stem), "number, then the revision's name"


def test_the_files_are_numbered_in_the_order_in_which_they_run() -> None:
    found = [constants(path) for path in REVISIONS]
    assert [each["down_revision"] for each in found] == [None, *(each["revision"] for each in found[:-1])]
    assert [path.stem[:4] for path in REVISIONS] == [f"{place:04d}" for place in range(1, len(REVISIONS) + 1)]


def test_a_new_revision_begins_in_the_same_way() -> None:
    template = (ROOT / "migrations" / "script.py.mako").read_text()
    assert template.count(f'GRADE = """\n{FIRST_STATEMENT}') == 2
    assert re.findall(r"^(?:from|import) .*", template, re.MULTILINE) == ["from alembic import op"]
    assert "SET lock_timeout = '5s'" in (ROOT / "migrations" / "env.py").read_text()
