"""The catalogue of webhooks names what the code sends, and the documents show it."""

import re
from pathlib import Path

from adapters.postgres.journal.change_webhooks import TOLD
from models.webhook_types import WebhookType
from tests.api.conftest import application

ROOT = Path(__file__).resolve().parents[2]
NAMES = {kind.value for kind in WebhookType}
#: What looks like a type in the source and is not one.
_NO_TYPES = {"payment.id"}
_LITERAL = re.compile(
    r'"((?:invoice|payment|subscription|wallet|usage_alert|usage_threshold|webhook_endpoint)\.[a-z_]+)"'
)
_INVOICE_LOG = re.compile(r'await log\(connection, scope, actor, row, "([a-z]+)"')
_PAYMENT_NOTE = re.compile(r'action="([a-z]+)"')


def test_every_type_that_the_code_sends_is_in_the_catalogue() -> None:
    files = [*ROOT.glob("adapters/**/*.py"), *ROOT.glob("activities/*.py")]
    said = {name for path in files for name in _LITERAL.findall(path.read_text())} - _NO_TYPES
    assert len(said) > 10
    assert said <= NAMES
    assert {f"{kind}.{told}" for kind, actions in TOLD.items() for told in actions.values()} <= NAMES


def test_every_type_of_the_catalogue_is_sent() -> None:
    """What is told of changes (`TOLD`) is sent over HTTP in tests/behaviours/test_webhooks_of_changes.py."""
    source = {path: path.read_text() for path in [*ROOT.glob("adapters/**/*.py"), *ROOT.glob("activities/*.py")]}
    sent = {name for text in source.values() for name in _LITERAL.findall(text)}
    sent |= {f"{kind}.{told}" for kind, actions in TOLD.items() for told in actions.values()}
    sent |= {f"invoice.{name}" for text in source.values() for name in _INVOICE_LOG.findall(text)}
    sent |= {"invoice.created", "invoice.issued"}  # of `invoice_write_store._actions`
    moves = source[ROOT / "adapters" / "postgres" / "wallets" / "wallet_move_store.py"]
    sent |= {f"wallet.{action}" for action in ("credited", "debited") if f'"{action}"' in moves}
    payments = source[ROOT / "adapters" / "postgres" / "payments" / "offline_payment_store.py"]
    sent |= {f"payment.{action}" for action in _PAYMENT_NOTE.findall(payments)}
    assert sorted(NAMES - sent) == []


def test_openapi_and_the_manual_show_every_type() -> None:
    webhooks = application(None).openapi()["webhooks"]
    assert set(webhooks) == NAMES
    for name, methods in webhooks.items():
        content = methods["post"]["requestBody"]["content"]["application/json"]
        assert content["example"]["type"] == name
        assert set(content["schema"]["required"]) == set(content["example"])
    manual = (ROOT / "docs" / "webhooks.md").read_text()
    assert [name for name in sorted(NAMES) if f"`{name}`" not in manual] == []
