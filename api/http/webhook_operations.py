"""The webhooks of the OpenAPI document: one operation for each type of the catalogue."""

from typing import Any, Final

from models.webhook_types import WebhookType

_HEADERS: Final = {
    "webhook-id": "What `id` says: the same on every attempt and at every endpoint.",
    "webhook-timestamp": "Of this attempt, in seconds since 1970.",
    "webhook-signature": "One or more `v1,` signatures, as the Standard Webhooks specification says.",
}


def openapi_webhooks() -> dict[str, Any]:
    """Return the `webhooks` of the OpenAPI document: one operation for each type."""
    return {kind.value: {"post": _operation(kind)} for kind in WebhookType}


def _operation(kind: WebhookType) -> dict[str, Any]:
    data = {
        "type": "object",
        "properties": {name: _schema(value) for name, value in kind.data.items()},
        "required": sorted(kind.data),
    }
    schema = {
        "type": "object",
        "required": ["id", "type", "created_at", "sequence", "data"],
        "properties": {
            "id": {"type": "string", "description": "Keep it: a message may come twice."},
            "type": {"const": kind.value},
            "created_at": {"type": "string", "format": "date-time", "description": "In the subscription's time."},
            "sequence": {"type": "integer", "minimum": 1, "description": "Counts the messages about one resource."},
            "data": data,
        },
    }
    example = {
        "id": "msg_0197c1f2a4d87c2f9c1b2a3d4e5f6071",
        "type": kind.value,
        "created_at": "2026-05-01T00:00:00Z",
        "sequence": 1,
        "data": dict(kind.data),
    }
    return {
        "operationId": f"webhook_{kind.name.lower()}",
        "tags": ["Webhooks"],
        "summary": kind.value,
        "description": kind.when,
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": told}
            for name, told in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}},
        "responses": {"2XX": {"description": "Accepted; anything else is tried again for about three days."}},
    }


def _schema(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "number"}
        case list():
            return {"type": "array", "items": {"type": "string"}}
    return {"type": ["string", "null"]}
