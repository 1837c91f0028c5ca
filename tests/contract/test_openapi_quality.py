"""The OpenAPI document is a product: every operation is named, tagged, summarized, and its body has an example."""

from typing import Any

from api.main import create_app
from tests.api.conftest import settings_for


def _document() -> dict[str, Any]:
    return create_app(settings_for("postgresql://nobody@127.0.0.1:9/nothing")).openapi()


def _operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method != "parameters"
    ]


def _has_example(document: dict[str, Any], schema: dict[str, Any]) -> bool:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "example" in schema or "examples" in schema:
        return True
    parts = [part for name in ("anyOf", "oneOf", "allOf") for part in schema.get(name, [])]
    return any(_has_example(document, part) for part in parts)


def test_every_operation_is_named_tagged_and_summarized() -> None:
    operations = _operations(_document())
    assert len({operation["operationId"] for _, operation in operations}) == len(operations)
    assert [name for name, operation in operations if not (operation.get("tags") and operation.get("summary"))] == []


def test_every_body_has_an_example() -> None:
    document = _document()
    without = [
        name
        for name, operation in _operations(document)
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if "examples" not in content and not _has_example(document, content["schema"])
    ]
    assert without == []
