"""The house rules, executed (style.md section 7, design section 3)."""

import ast
import configparser
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("billing", "models", "adapters", "operations", "activities", "workflows", "api", "web", "devstack")
SINGLE_FILES = ("settings.py", "worker.py", "cli.py", "app.py")
FILE_LINES_MAX = 400
FOLDER_FILES_MAX = 20
FUNCTION_LINES_MAX = 70
BANNED_NAMES = ("service.py", "utils.py", "helpers.py", "util.py", "misc.py", "common.py")
#: Folders whose __init__ is a registry: each file must be named in it.
REGISTRIES = ("billing/charges", "billing/aggregations", "api/compat", "adapters/payments")
#: Files of a registry folder that are not entries of it.
NOT_ENTRIES = {
    "billing/charges": {"tier", "charge", "model", "base", "step"},
    "billing/aggregations": {"base", "arithmetic", "event", "rounding"},
    "adapters/payments": {"rate_limiter", "stripe_amounts"},
    "api/compat": set(),
}


def sources() -> list[Path]:
    found = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return found + [ROOT / name for name in SINGLE_FILES if (ROOT / name).exists()]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_a_file_is_short_named_well_and_its_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= FILE_LINES_MAX, "split the file by what it knows"
    assert path.name not in BANNED_NAMES, "name the file after what it does"
    for function in functions(ast.parse(text)):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        assert length <= FUNCTION_LINES_MAX, f"{function.name} has {length} lines"


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_public_functions_say_what_they_do(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path.name != "__init__.py" or path.read_text().strip():
        assert ast.get_docstring(tree), "the module's first line says what it is for"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


@pytest.mark.parametrize("folder", REGISTRIES)
def test_no_file_of_a_registry_folder_is_unlisted(folder: str) -> None:
    registry = "".join(
        path.read_text() for name in ("__init__.py", "registry.py") if (path := ROOT / folder / name).exists()
    )
    for path in sorted((ROOT / folder).glob("*.py")):
        if path.stem in ("__init__", "registry") or path.stem in NOT_ENTRIES[folder]:
            continue
        assert re.search(rf"\b{path.stem}\b", registry), f"{relative(path)} is not in {folder}/__init__.py"


def test_every_router_of_an_area_is_listed() -> None:
    listed = (ROOT / "api" / "routers.py").read_text()
    for path in sorted((ROOT / "api").rglob("*.py")):
        if path.parent.name in ("api", "compat") or not re.search(
            r"^\w+ = (resource_router|APIRouter)\(", path.read_text(), re.M
        ):
            continue
        assert re.search(rf"\b{path.stem}\.", listed), f"{relative(path)} is not in api/routers.py"


@pytest.mark.parametrize("folder", sorted({path.parent for path in sources()}), ids=relative)
def test_a_folder_holds_few_enough_files_to_see_at_once(folder: Path) -> None:
    files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= FOLDER_FILES_MAX, "split the folder into areas"


def test_workflow_packages_are_empty() -> None:
    assert (ROOT / "workflows" / "__init__.py").read_text().strip() == "", "an import here would disable the sandbox"


BANNED_CALLS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("time", "time"),
    ("uuid", "uuid1"),
    ("uuid", "uuid4"),
}
BANNED_MODULES = {"random", "secrets", "time", "asyncio", "socket", "os", "threading", "uuid_utils", "logging"}


@pytest.mark.parametrize("path", sorted((ROOT / "billing").rglob("*.py")), ids=relative)
def test_the_rules_have_no_clock_no_chance_no_floats_and_do_not_wait(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), f"line {node.lineno}: the core does not wait"
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & BANNED_MODULES
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in BANNED_MODULES
            assert not (node.module == "uuid" and {"uuid1", "uuid4"} & {alias.name for alias in node.names})
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in BANNED_CALLS, f"line {node.lineno}: pass time and ids in"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "float", f"line {node.lineno}: no float near money"
        if isinstance(node, ast.Constant):
            assert not isinstance(node.value, float), f"line {node.lineno}: no float near money"


def test_only_one_place_commits() -> None:
    for path in sources():
        if relative(path) in ("adapters/postgres/database.py",) or path.parts[-2] == "devstack":
            continue
        assert not re.search(r"\.commit\(\)", path.read_text()), f"{relative(path)} commits; Database.transaction does"


def test_sql_lives_in_the_adapters() -> None:
    for path in sources():
        if relative(path).startswith(("adapters/postgres/", "models/tables/", "devstack/", "billing/aggregations/")):
            continue
        assert not imports_of(path) & {"sqlalchemy", "psycopg"}, f"{relative(path)} speaks SQL"


def test_only_settings_reads_the_environment() -> None:
    for path in sources():
        if relative(path) == "settings.py" or relative(path).startswith("devstack/"):
            continue
        assert not re.search(r"os\.environ|os\.getenv", path.read_text()), f"{relative(path)}: ask settings.py"


def test_the_import_law_holds() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    froms = {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return froms | {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }


def test_the_entry_points_are_on_top_and_settings_is_at_the_bottom() -> None:
    for path in sources():
        if relative(path) not in SINGLE_FILES:
            assert not imports_of(path) & {"worker", "cli", "app"}, f"{relative(path)} imports an entry point"
    assert not imports_of(ROOT / "settings.py") & {*PACKAGES, "worker", "cli", "app"}


def law_of(contract: str) -> set[str]:
    """The names that a layers contract of .importlinter lists, in whatever layer."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return set(re.split(r"[\s:]+", parser[f"importlinter:contract:{contract}"]["layers"].strip()))


def test_every_package_has_a_place_in_the_law() -> None:
    support = {"tests", "bench", "examples", "migrations"}
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - support
    assert set(parser["importlinter"]["root_packages"].split()) == packages
    assert law_of("law") == packages
    assert set(PACKAGES) == packages


def test_every_module_can_be_imported() -> None:
    for path in sources():
        name = relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        importlib.import_module(name)
