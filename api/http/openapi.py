"""The OpenAPI document: what it says about the API as a whole."""

from typing import Any

from fastapi import FastAPI

from api.http.errors import FieldErrorDocument, ProblemDocument
from api.http.webhook_operations import openapi_webhooks

VERSION = "0.1.0"

_DESCRIPTION = """
Usage billing in which every subscription is one durable, queryable Temporal workflow.

* **Keys** go into `Authorization: Bearer`, `x-api-key` or `x-usageflow-api-key`; the same keys everywhere.
* **Prefix**: every `/v1` route answers under `/api/v1` as well; `/api/...` is the camelCase surface of UsageFlow.
* **Errors** are `application/problem+json` with a stable `code`.
* **Lists** are bare arrays with `X-Total-Count`; `skip` and `limit`, or the cursor of the `Link` header.
* **Idempotency-Key** on POST: the first answer is replayed for at least 24 hours.
* **Numbers** are exact: send as many digits as you need, in a JSON number or a string.
"""

_TAGS = [
    {"name": "Events", "description": "Send usage (ABAXUS, BoxBilling), and look at what became of it."},
    {"name": "Usage", "description": "Send usage in UsageBox's two shapes, and read what it adds up to."},
    {"name": "Activity", "description": "What happened, accepted and skipped events with their reasons included."},
    {"name": "Products", "description": "What is sold; the parent of plans."},
    {"name": "Plans", "description": "Pricing; each change makes a new version, and subscriptions stay on theirs."},
    {"name": "Features", "description": "What plans can grant: switches, limits, texts."},
    {"name": "Entitlements", "description": "What a plan grants of a feature; the plan shows them as one object."},
    {"name": "Customers", "description": "Who is billed."},
    {"name": "Usage Alerts", "description": "Who is told when usage, spend or a wallet reaches a value."},
    {"name": "Thresholds", "description": "Spending amounts that make an invoice in the middle of a period."},
    {"name": "Coupons", "description": "What takes a part off a customer's invoices."},
    {"name": "Add-ons", "description": "One-time fees on a customer's next invoice."},
    {"name": "Billing Entities", "description": "Who issues invoices, each with a number series of its own."},
    {"name": "subscriptions", "description": "One durable workflow each: it accumulates usage, closes and collects."},
    {"name": "Limits", "description": "Caps on usage and spend, and quantities reserved before the work is done."},
    {"name": "invoices", "description": "Closed by the subscription's timer or on demand, explained line by line."},
    {"name": "fees", "description": "The lines of invoices (BoxBilling)."},
    {"name": "Payments", "description": "Recorded by hand or taken by a provider; what settles an invoice."},
    {"name": "Payment Methods", "description": "Saved ways to pay; the default one is charged."},
    {"name": "Wallets", "description": "Prepaid credits, drawn on before anything is charged."},
    {"name": "test clocks", "description": "Time that you advance, on the real engine."},
    {"name": "Webhooks", "description": "What is told to you, signed and retried."},
    {"name": "Notifications", "description": "What the people of a project should look at, each until it was read."},
    {"name": "Integrations", "description": "Third-party systems, and what things are called there."},
    {"name": "Organizations", "description": "Tenants. The bootstrap key creates them; their own keys use them."},
    {"name": "Projects", "description": "Isolated environments of an organization, live or test."},
    {"name": "API keys", "description": "Shown once, stored hashed, restricted to projects, rotated and revoked."},
    {"name": "Audit Logs", "description": "One entry for every change."},
    {"name": "Portal", "description": "What one customer sees of itself, with a token that opens nothing else."},
    {"name": "UsageFlow", "description": "The camelCase surface under /api."},
    {"name": "Operations", "description": "Is it up?"},
]

METADATA: dict[str, Any] = {
    "title": "Durabill",
    "version": VERSION,
    "summary": "Workflow-orchestrated usage billing.",
    "description": _DESCRIPTION,
    "openapi_tags": _TAGS,
    "license_info": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    "docs_url": "/docs",
    "redoc_url": None,
}

_SECURITY = {
    "Bearer": {"type": "http", "scheme": "bearer"},
    "XApiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "XUsageflowApiKey": {"type": "apiKey", "in": "header", "name": "x-usageflow-api-key"},
}

_PROJECT_HEADER = {
    "name": "X-Project-Id",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 100},
    "description": "Works in this project (its id or uuid) for one request, in place of the key's active one.",
}


def install(app: FastAPI) -> None:
    """Complete FastAPI's document with the ways to authenticate and the shape of problems."""
    generated = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(generated())
        return app.openapi_schema

    setattr(app, "openapi", complete)  # noqa: B010 - FastAPI's documented way, which mypy takes for a method


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for model in (ProblemDocument, FieldErrorDocument):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        schemas[model.__name__] = schema
    components["securitySchemes"] = _SECURITY
    components.setdefault("parameters", {})["XProjectId"] = _PROJECT_HEADER
    document["security"] = [{name: []} for name in _SECURITY]
    document["webhooks"] = openapi_webhooks()
    for path in document["paths"].values():
        path["parameters"] = [{"$ref": "#/components/parameters/XProjectId"}]
    return document
