"""The recipes of CONTRIBUTING, carried out in a copy of the tree: one new file each, and its lines in the registry."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("activities", "adapters", "api", "billing", "models", "operations", "web", "workflows")
MODULES = ("app.py", "settings.py")

FILES = {
    "billing/charges/dozen.py": '''
from decimal import ROUND_CEILING
from typing import ClassVar, Literal

from billing.numbers import UnitPrice
from billing.pricing import PricingModel, Step
from billing.usage import Usage


class Dozen(PricingModel):
    """Price started dozens."""

    plan_names: ClassVar[dict[str, str]] = {"dozen_price": "price_of_a_dozen"}

    kind: Literal["dozen"] = "dozen"
    dozen_price: UnitPrice

    def steps(self, usage: Usage) -> tuple[Step, ...]:
        dozens = (usage.billable / 12).to_integral_value(ROUND_CEILING)
        return (Step.of("started dozens", units=dozens, unit_price=self.dozen_price),)
''',
    "billing/aggregations/spread.py": '''
from typing import ClassVar, Literal

from billing.aggregating import Aggregation, values


class Spread(Aggregation):
    """Take the distance between the largest and the smallest value."""

    needs_field: ClassVar[bool] = True
    from_events: ClassVar[str] = "coalesce(max(value) - min(value), 0)"

    kind: Literal["spread"] = "spread"

    def _fold(self, events, period):
        found = values(events)
        return max(found) - min(found) if found else 0
''',
    "adapters/payments/barter.py": '''
from adapters.payment_port import declined


class BarterPayments:
    """Take goods."""

    name = "barter"
    serves_live = True

    @classmethod
    def configured(cls, setup):
        return cls()

    async def charge(self, request):
        return declined("no_goods", "There are no goods.")

    async def find(self, request):
        return None

    async def abandon(self, request):
        return await self.charge(request)
''',
    "api/catalogue/greetings.py": '''
from api.http.routing import resource_router

router = resource_router("Greetings")


@router.get("/greetings", operation_id="get_greeting", summary="Get greeting")
async def get_greeting() -> dict[str, str]:
    """Greet."""
    return {"greeting": "hello"}
''',
}
#: The lines that registries get: the file, what a line follows or is followed by, and what it becomes.
LINES = (
    ("billing/charges/__init__.py", "from billing.charges.dynamic", "from billing.charges.dozen import Dozen\n{}"),
    ("billing/charges/__init__.py", " | Dynamic,", " | Dynamic | Dozen,"),
    (
        "billing/aggregations/__init__.py",
        "from billing.aggregations.sum",
        "from billing.aggregations.spread import Spread\n{}",
    ),
    ("billing/aggregations/__init__.py", " | Expression,", " | Expression | Spread,"),
    (
        "adapters/payments/registry.py",
        "from adapters.payments.manual",
        "from adapters.payments.barter import BarterPayments\n{}",
    ),
    (
        "adapters/payments/registry.py",
        "SandboxPayments, ManualPayments)",
        "SandboxPayments, ManualPayments, BarterPayments)",
    ),
    ("api/routers.py", "from api.catalogue import ", "from api.catalogue import greetings, "),
    ("api/routers.py", "    plans.router,\n", "    greetings.router,\n{}"),
    (
        "models/webhook_types.py",
        "    INVOICE_DELETED = ",
        '    INVOICE_LOST = "invoice.lost", "Nobody knows where it is.", {{"invoice_id": "inv_01jz"}}\n{}',
    ),
)

RUN = """
import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from adapters.payments.registry import PROVIDERS
from adapters.payments.setup import ProviderSetup
from adapters.postgres.metric_aggregation import configured
from api.catalogue.boxbilling_charge_shapes import charge_model_of
from api.catalogue.charge_shapes import ChargeBody, priced
from api.catalogue.metric_shapes import MetricBody, new_columns
from api.catalogue.plan_responses import abaxus_fields
from api.catalogue.plan_shapes import PlanBody
from api.customers.customer_shapes import CustomerBody
from app import create_app
from billing.aggregations import EventValue
from billing.charges import Charge
from billing.period import Period
from billing.rating import rate
from billing.usage import Usage
from models.webhook_types import WebhookType
from settings import Settings

ID = UUID(int=1)
AT = datetime(2026, 4, 1, tzinfo=UTC)
APRIL = Period(start=AT, end=datetime(2026, 5, 1, tzinfo=UTC))
charge = {"metric_key": "eggs", "pricing_model": "dozen", "price_of_a_dozen": "3.00"}
plan = PlanBody.model_validate({"name": "Eggs", "currency": "usd", "charges": [charge]})
model = priced(plan.charges[0], "charges.0").model
by_properties = {"metric_key": "eggs", "charge_model": "dozen", "properties": {"dozen_price": "3.00"}}
same = priced(ChargeBody.model_validate(by_properties), "charges.0").model
(line,) = rate(
    [Charge(id=ID, metric_id=ID, metric_key="eggs", metric_name="Eggs", unit="egg", model=model)],
    {ID: Usage(quantity=Decimal(25), events=25)},
    period=APRIL,
    full_period=APRIL,
    currency="usd",
)
columns = new_columns(MetricBody.model_validate({"name": "Heat", "aggregation": "spread", "field_name": "degrees"}))
events = [EventValue(key=str(n), value=n, occurred_at=AT, received_at=AT) for n in (5, 2, 9)]
nowhere = {"DATABASE_URL": "postgresql://nobody@nowhere/none", "TEMPORAL_ADDRESS": "127.0.0.1:9"}
app = create_app(Settings.model_validate(nowhere))
document = app.openapi()
setup = ProviderSetup(database=None, stripe_api_key=None, stripe_api_base=None, timeout_seconds=1)
print(json.dumps({
    "amount": line.amount_minor,
    "same": same == model,
    "shown": abaxus_fields(model),
    "properties": charge_model_of(model),
    "quantity": configured("spread", "degrees", None).fold(events, APRIL),
    "aggregation": columns["aggregation"],
    "provider": CustomerBody.model_validate({"name": "Hen", "payment_provider": "barter"}).payment_provider,
    "served": next(type(each.configured(setup)).__name__ for each in PROVIDERS if each.name == "barter"),
    "route": "/v1/greetings" in document["paths"],
    "webhook": "invoice.lost" in document["webhooks"],
    "type": WebhookType("invoice.lost").when,
}, default=str))
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Carry out all recipes in a copy of the tree, and run what they added."""
    tree = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    for module in MODULES:
        shutil.copy(ROOT / module, tree / module)
    for name, source in FILES.items():
        assert not (tree / name).exists()
        (tree / name).write_text(f'"""Added by a test."""\n{source}')
    for name, found, line in LINES:
        before = (tree / name).read_text()
        assert before.count(found) == 1, (name, found)
        (tree / name).write_text(before.replace(found, line.format(found)))
    (tree / "run.py").write_text(RUN)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=tree, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_a_charge_model_is_one_file_and_its_line(ran: dict[str, Any]) -> None:
    """25 eggs are three started dozens at 3.00; both ways to write the charge follow from the class."""
    assert ran["amount"] == 900
    assert ran["same"]
    assert ran["shown"] == {"pricing_model": "dozen", "price_of_a_dozen": "3.00"}
    assert ran["properties"] == ["dozen", {"dozen_price": "3"}]


def test_an_aggregation_is_one_file_and_its_line(ran: dict[str, Any]) -> None:
    assert (ran["quantity"], ran["aggregation"]) == ("7", "spread")


def test_a_payment_provider_is_one_file_and_its_line(ran: dict[str, Any]) -> None:
    assert (ran["provider"], ran["served"]) == ("barter", "BarterPayments")


def test_a_route_is_one_file_and_its_line(ran: dict[str, Any]) -> None:
    assert ran["route"]


def test_a_webhook_type_is_one_line(ran: dict[str, Any]) -> None:
    assert ran["webhook"]
    assert ran["type"] == "Nobody knows where it is."
