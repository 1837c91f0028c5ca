"""The catalogue of webhooks names what the code sends, and the documents show it."""

import ast
from pathlib import Path
from typing import get_args

from adapters.postgres.invoices.invoice_change_store import InvoiceAction
from adapters.postgres.journal.change_webhooks import TOLD
from adapters.postgres.payments.offline_payment_store import PaymentAction
from models.webhook_types import WebhookType
from tests.api.conftest import application

ROOT = Path(__file__).resolve().parents[2]
NAMES = {kind.value for kind in WebhookType}


def test_every_type_of_the_catalogue_is_sent() -> None:
    """Those of changes (`TOLD`) are sent over HTTP in tests/behaviours/test_webhooks_of_changes.py."""
    layers = ("adapters", "operations", "activities")
    files = [path for layer in layers for path in (ROOT / layer).rglob("*.py")]
    used = {
        node.attr
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "WebhookType"
    }
    sent = {WebhookType[name] for name in used if name != "of"}
    sent |= {WebhookType.of(kind, told) for kind, actions in TOLD.items() for told in actions.values()}
    sent |= {WebhookType.of("invoice", action) for action in get_args(InvoiceAction)}
    sent |= {WebhookType.of("payment", action) for action in get_args(PaymentAction)}
    assert sorted(set(WebhookType) - sent) == []


def test_openapi_and_the_manual_show_every_type() -> None:
    webhooks = application(None).openapi()["webhooks"]
    assert set(webhooks) == NAMES
    for name, methods in webhooks.items():
        content = methods["post"]["requestBody"]["content"]["application/json"]
        assert content["example"]["type"] == name
        assert set(content["schema"]["required"]) == set(content["example"])
    manual = (ROOT / "docs" / "webhooks.md").read_text()
    assert [name for name in sorted(NAMES) if f"`{name}`" not in manual] == []
