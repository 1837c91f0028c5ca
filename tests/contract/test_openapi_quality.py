"""The OpenAPI document is a product: every operation is named, tagged, summarized, and its body has an example."""

from typing import Any

import pytest

from tests.api.conftest import application


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document that the application serves."""
    return application(None).openapi()


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


def test_every_operation_is_named_tagged_and_summarized(document: dict[str, Any]) -> None:
    operations = _operations(document)
    ids = [operation["operationId"] for _, operation in operations]
    assert len(set(ids)) == len(operations)
    assert [name for name in ids if "{" in name] == [], "these have no operation id of their own"
    assert [name for name, operation in operations if not (operation.get("tags") and operation.get("summary"))] == []


def test_problems_and_idempotent_requests_are_documented_and_aliases_are_not(document: dict[str, Any]) -> None:
    assert document["components"]["schemas"]["ProblemDocument"]
    assert [path for path in document["paths"] if path.startswith("/api/v1")] == []
    parameters = document["paths"]["/v1/projects"]["post"]["parameters"]
    assert "Idempotency-Key" in [parameter["name"] for parameter in parameters]


def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    without = [
        name
        for name, operation in _operations(document)
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if "examples" not in content and not _has_example(document, content["schema"])
    ]
    assert without == []
