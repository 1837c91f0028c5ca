"""What OpenAPI says about the ingest routes, whose bodies FastAPI does not read itself."""

from typing import Any, Final

_TEXT: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "maxLength": 255}
_NUMBER: Final[dict[str, Any]] = {
    "description": "An exact number: at most 20 digits before and 18 after the point.",
    "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[+-]?[0-9]{1,20}([.][0-9]{1,18})?$"}],
}
_TIME: Final[dict[str, Any]] = {
    "type": "string",
    "format": "date-time",
    "description": "Decides the billing period; without it, the customer's now. At most 5 minutes ahead of it.",
}
_FREE: Final[dict[str, Any]] = {"type": "object", "additionalProperties": True}
_KEY: Final[dict[str, Any]] = {**_TEXT, "description": "Makes a retry safe: an event counts once for each key."}


def _object(title: str, required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "type": "object", "required": required, "properties": properties}


ABAXUS_EVENT: Final = {
    **_object(
        "AbaxusEvent",
        ["customer_id", "metric_key"],
        customer_id=_TEXT,
        metric_key=_TEXT,
        value=_NUMBER,
        timestamp=_TIME,
        idempotency_key=_KEY,
        subscription_id={**_TEXT, "description": "The subscription that takes it; else the oldest that charges it."},
        properties=_FREE,
    ),
    "example": {
        "customer_id": "cust_acme",
        "metric_key": "api_calls",
        "value": 1,
        "timestamp": "2026-04-03T09:30:00Z",
        "idempotency_key": "req_7f8a9b2c3d4e5f6a",
    },
}
BOXBILLING_EVENT: Final = {
    **_object(
        "BoxBillingEvent",
        ["transaction_id", "external_customer_id", "code"],
        transaction_id=_KEY,
        external_customer_id=_TEXT,
        code=_TEXT,
        timestamp=_TIME,
        properties={**_FREE, "description": "A metric with a `field_name` reads its value from here."},
    ),
    "example": {
        "transaction_id": "txn-1",
        "external_customer_id": "acme",
        "code": "api_calls",
        "timestamp": "2026-04-03T09:30:00Z",
        "properties": {"region": "eu"},
    },
}
_INGEST_KEYS: Final = {
    **_object(
        "UsageBoxIngestKeys",
        ["subscription", "meter", "value"],
        subscription=_TEXT,
        product_item=_TEXT,
        meter=_TEXT,
        value=_NUMBER,
    ),
    "example": {
        "subscription": "sub.your-subscription",
        "product_item": "item.your-product-item",
        "meter": "meter.api-requests",
        "value": 42,
    },
}
_USAGE_EVENT: Final = {
    **_object(
        "UsageBoxEvent",
        ["subscription_id", "meter_id", "quantity"],
        subscription_id=_TEXT,
        meter_id=_TEXT,
        quantity=_NUMBER,
        occurred_at=_TIME,
    ),
    "example": {
        "subscription_id": "sub_123",
        "meter_id": "mtr_compute",
        "quantity": 150,
        "occurred_at": "2024-05-01T12:00:00Z",
    },
}
TRACK: Final = {
    **_object(
        "UsageFlowEvent",
        ["metric", "amount", "customerId"],
        metric=_TEXT,
        amount={**_NUMBER, "description": "A quantity, not money."},
        customerId=_TEXT,
        metadata=_FREE,
    ),
    "example": {
        "metric": "API_CALL",
        "amount": 1000,
        "customerId": "user_123",
        "metadata": {"endpoint": "/v1/chat"},
    },
}


def _list(most: int, *shapes: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "maxItems": most, "items": {"oneOf": list(shapes)}}


def _batch(most: int, *shapes: dict[str, Any]) -> dict[str, Any]:
    events = _list(most, *shapes)
    return {"oneOf": [{"type": "object", "required": ["events"], "properties": {"events": events}}, events]}


def _body(schema: dict[str, Any], **examples: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": schema}
    if examples:
        content["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


CLOUD_EVENT: Final = {
    **_object(
        "CloudEvent",
        ["specversion", "id", "source", "type"],
        specversion={"const": "1.0"},
        id={**_TEXT, "description": "Together with `source` the idempotency key."},
        source=_TEXT,
        type={**_TEXT, "description": "The metric."},
        subject={**_TEXT, "description": "The customer."},
        subscriptionid={**_TEXT, "description": "Extension: the subscription, instead of the customer or beside it."},
        time=_TIME,
        datacontenttype={"const": "application/json"},
        data={"description": "The value, or the properties.", "anyOf": [{"type": "number"}, _FREE]},
    ),
    "example": {
        "specversion": "1.0",
        "id": "7f8a9b2c",
        "source": "/api/gateway-1",
        "type": "api_calls",
        "subject": "cust_acme",
        "time": "2026-04-03T09:30:00Z",
        "data": {"value": 1, "region": "eu"},
    },
}


def _or_cloud_events(body: dict[str, Any], most: int) -> dict[str, Any]:
    """Add the CloudEvents forms to what a route takes."""
    example = CLOUD_EVENT["example"]
    content = {
        **body["requestBody"]["content"],
        "application/cloudevents+json": {"schema": CLOUD_EVENT, "examples": {"one": {"value": example}}},
        "application/cloudevents-batch+json": {
            "schema": _list(most, CLOUD_EVENT),
            "examples": {"batch": {"value": [example]}},
        },
    }
    return {"requestBody": {"required": True, "content": content}}


def _key_header(description: str) -> dict[str, Any]:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "schema": _TEXT,
        "description": description,
    }


_NAMES_THE_EVENT: Final = {
    "parameters": [_key_header("Names the event, unless its body does: sent again, it counts once.")]
}
SINGLE_BODY: Final = {
    **_or_cloud_events(
        _body(
            {"oneOf": [ABAXUS_EVENT, BOXBILLING_EVENT]},
            abaxus=ABAXUS_EVENT["example"],
            boxbilling=BOXBILLING_EVENT["example"],
        ),
        1000,
    ),
    **_NAMES_THE_EVENT,
}
_OF_BATCH: Final = {
    "parameters": [
        {
            "name": "partial",
            "in": "query",
            "required": False,
            "schema": {"type": "boolean", "default": False},
            "description": "Store the good events of a batch and list the others, instead of refusing them all.",
        },
        _key_header(
            "Names the events that have no key of their own, each by its place in the batch: the request sent again "
            "counts once."
        ),
    ]
}
BATCH_BODY: Final = {
    **_or_cloud_events(
        _body(
            _batch(1000, ABAXUS_EVENT, BOXBILLING_EVENT),
            abaxus={"events": [ABAXUS_EVENT["example"]]},
            boxbilling={"events": [BOXBILLING_EVENT["example"]]},
            bare_list=[ABAXUS_EVENT["example"]],
        ),
        1000,
    ),
    **_OF_BATCH,
}
USAGE_BODY: Final = {
    **_body(
        _batch(1000, _INGEST_KEYS, _USAGE_EVENT),
        ingest_keys=[_INGEST_KEYS["example"]],
        ids={"events": [_USAGE_EVENT["example"]]},
    ),
    **_OF_BATCH,
}
TRACK_BODY: Final = {**_body(TRACK), **_NAMES_THE_EVENT}
