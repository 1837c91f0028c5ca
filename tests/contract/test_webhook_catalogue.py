"""The catalogue of webhooks names what the code sends, and the documents show it."""

import re
from pathlib import Path

from adapters.postgres.change_webhooks import TOLD
from api.webhook_catalogue import EVENT_TYPES
from tests.api.conftest import application

ROOT = Path(__file__).resolve().parents[2]
NAMES = {kind.name for kind in EVENT_TYPES}
#: What looks like a type in the source and is not one.
_NO_TYPES = {"payment.id"}
_LITERAL = re.compile(
    r'"((?:invoice|payment|subscription|wallet|usage_alert|usage_threshold|webhook_endpoint)\.[a-z_]+)"'
)


def test_every_type_that_the_code_sends_is_in_the_catalogue() -> None:
    files = [*ROOT.glob("adapters/**/*.py"), *ROOT.glob("activities/*.py")]
    said = {name for path in files for name in _LITERAL.findall(path.read_text())} - _NO_TYPES
    assert len(said) > 10
    assert said <= NAMES
    assert {f"{kind}.{action}" for kind, actions in TOLD.items() for action in actions} <= NAMES


def test_openapi_and_the_manual_show_every_type() -> None:
    webhooks = application(None).openapi()["webhooks"]
    assert set(webhooks) == NAMES
    for name, methods in webhooks.items():
        content = methods["post"]["requestBody"]["content"]["application/json"]
        assert content["example"]["type"] == name
        assert set(content["schema"]["required"]) == set(content["example"])
    manual = (ROOT / "docs" / "webhooks.md").read_text()
    assert [name for name in sorted(NAMES) if f"`{name}`" not in manual] == []
