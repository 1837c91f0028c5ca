"""Stores of finished areas return named records, and their routes answer with models."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Areas that are finished; none goes back.
STORES = ("customers", "tenancy", "webhooks", "journal", "catalogue", "wallets")
ROUTES = ("customers", "tenancy", "webhooks", "catalogue", "subscriptions")
#: What is left in them: the versions of plans are rows still, and these edge shapes build free JSON.
OPEN = {
    "adapters/postgres/catalogue/plan_store.py",
    "adapters/postgres/catalogue/plan_write_store.py",
    "api/catalogue/boxbilling_charge_shapes.py",
    "api/catalogue/charge_shapes.py",
    "api/catalogue/plan_responses.py",
    "api/catalogue/simulation_shapes.py",
}
UNTYPED_OF_STORES = ("Row[", "dict[str, Any]", "Mapping[str, Any]", "Sequence[Any]", "Found")
UNTYPED_OF_ROUTES = ("Row[", "dict[str, Any]", "Mapping[str, Any]")


def files(layer: str, areas: tuple[str, ...]) -> list[str]:
    found = (path for area in areas for path in sorted((ROOT / layer / area).glob("*.py")))
    return [name for path in found if (name := str(path.relative_to(ROOT))) not in OPEN]


def functions(path: str, *, private: bool) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (private or not node.name.startswith("_")):
            yield node


def annotations(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    arguments = function.args
    for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        if each.annotation is not None:
            yield ast.unparse(each.annotation)
    if function.returns is not None:
        yield ast.unparse(function.returns)


@pytest.mark.parametrize("path", files("adapters/postgres", STORES))
def test_the_public_functions_of_a_store_name_their_types(path: str) -> None:
    untyped = {
        function.name
        for function in functions(path, private=False)
        for written in annotations(function)
        if any(word in written for word in UNTYPED_OF_STORES)
    }
    assert not untyped, "return a record (adapters/postgres/rows.py: record), and take Columns"


@pytest.mark.parametrize("path", files("api", ROUTES))
def test_no_route_or_shape_returns_a_loose_dict(path: str) -> None:
    loose = {
        function.name
        for function in functions(path, private=True)
        if function.returns is not None and any(word in ast.unparse(function.returns) for word in UNTYPED_OF_ROUTES)
    }
    assert not loose, "return an Answer (api/http/answers.py)"
