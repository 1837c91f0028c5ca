"""Item 8: a request field is honoured or refused with its reason; none is accepted and ignored (C16)."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.subscriptions.catalogue import post
from tests.support.core_world import ACME, APRIL, JANUARY, UNIT, core_world, fee, off

ROOT: Final = Path(__file__).resolve().parents[2]
PRODUCT: Final = ("api", "web", "workflows", "activities", "adapters", "billing", "models")

ALLOWED: Final[dict[str, str]] = {
    "description": "words for people, shown again",
    "metadata": "the caller's own notes, shown again",
    "contract": "the caller's own contract terms, shown again (UsageBox)",
    "external_reference": "the caller's own name; subscriptions are found by it",
    "corporate_id": "the caller's own note of a customer (UsageBox)",
    "domain": "the caller's own note of a customer (UsageBox)",
    "reference": "the caller's own note of a payment",
    "code": "a name that things are found by",
    "name": "words for people, shown again",
    **dict.fromkeys(
        ("address_line1", "address_line2", "city", "country", "zip_code", "legal_name", "tax_id", "invoice_footer"),
        "what the issuer prints on its invoices, shown on its billing entity (BoxBilling)",
    ),
    **dict.fromkeys(
        ("integration_type", "external_data"), "what a third party calls things, shown to whoever syncs (BoxBilling)"
    ),
    **dict.fromkeys(("success_url", "cancel_url"), "required by BoxBilling's checkout; the manual one has no page"),
    "logo_url": "a picture of the organization, shown again (UsageFlow)",
    "threshold_display_name": "words for people, shown again (seed 002)",
}
"""Fields that are only kept and shown again, as the source documents have them, and why that is all they are for."""


def _names(schema: Any, components: dict[str, Any], seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """Give the names of all properties of a request's schema, at any depth."""
    if isinstance(schema, list):
        for part in schema:
            yield from _names(part, components, seen)
    if not isinstance(schema, dict):
        return
    ref = schema.get("$ref", "").rpartition("/")[2]
    if ref and ref not in seen:
        yield from _names(components[ref], components, seen | {ref})
    for name, part in schema.get("properties", {}).items():
        yield name
        yield from _names(part, components, seen)
    for word in ("items", "anyOf", "oneOf", "allOf", "additionalProperties"):
        yield from _names(schema.get(word), components, seen)


def _request_fields(document: dict[str, Any]) -> dict[str, set[str]]:
    """Give every field of every request body and query, with the operations that take it."""
    fields: dict[str, set[str]] = {}
    components = document["components"]["schemas"]
    for path in document["paths"].values():
        for operation in (one for one in path.values() if isinstance(one, dict)):
            content = operation.get("requestBody", {}).get("content", {})
            names = {name for body in content.values() for name in _names(body.get("schema"), components)}
            names |= {one["name"] for one in operation.get("parameters", ()) if one.get("in") == "query"}
            for name in names:
                fields.setdefault(name, set()).add(operation["operationId"])
    return fields


class _Reads(ast.NodeVisitor):
    """Counts the names that code reads, without the declarations of shapes and what merely shows a field again."""

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()
        self.declared_as: dict[str, set[str]] = {}

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in node.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                self._aliases(part.target.id, part)
            elif not _is_config(part):
                self.visit(part)

    def _aliases(self, name: str, declaration: ast.AnnAssign) -> None:
        for node in ast.walk(declaration):
            if isinstance(node, ast.keyword) and node.arg in ("alias", "validation_alias"):
                for text in (one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)):
                    self.declared_as.setdefault(str(text), set()).add(name)

    def visit_Dict(self, node: ast.Dict) -> None:
        """Leave out `"name": row.name`: that shows or stores a field under its own name and does nothing with it."""
        for key, value in zip(node.keys, node.values, strict=True):
            label = key.value if isinstance(key, ast.Constant) else None
            if label is not None and isinstance(value, ast.Attribute) and value.attr == label:
                if isinstance(value.value, ast.Name) and value.value.id == "body":
                    self.visit(value)
                continue
            if key is not None and label is None:
                self.visit(key)
            self.visit(value)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.read[node.attr] += 1
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.read[node.id] += 1

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.read[node.value] += 1
            if ":" in node.value or "SELECT" in node.value:
                self.read.update(node.value.replace(".", " ").replace(":", " ").replace(",", " ").split())

    def visit_Call(self, node: ast.Call) -> None:
        """Leave out the declaration of a column."""
        if isinstance(node.func, ast.Name) and node.func.id == "Column":
            return
        self.generic_visit(node)


def _is_config(part: ast.stmt) -> bool:
    return isinstance(part, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "model_config" for target in part.targets
    )


def _product_reads() -> _Reads:
    reads = _Reads()
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            reads.visit(ast.parse(path.read_text()))
    return reads


@pytest.mark.stack
async def test_item_8_every_request_field_is_read_by_some_code(client: httpx.AsyncClient) -> None:
    """A field that the API takes and no code reads is accepted and ignored; what is only kept is in `ALLOWED`."""
    document = (await client.get("/openapi.json")).json()
    fields, reads = _request_fields(document), _product_reads()
    assert len(fields) > 200, "the document was not understood"
    unread = {
        name: sorted(operations)
        for name, operations in sorted(fields.items())
        if name not in ALLOWED and not any(reads.read[one] for one in {name, *reads.declared_as.get(name, ())})
    }
    assert unread == {}, "\n".join(f"{name}: {', '.join(operations)}" for name, operations in unread.items())


def _refused(answer: httpx.Response, field: str) -> None:
    """Insist on a 422 that names the field and gives the reason."""
    assert answer.status_code == 422, f"{answer.status_code} {answer.text[:300]}"
    errors = [error for error in answer.json()["errors"] if error["field"].split(".")[0] == field]
    assert errors, answer.text
    assert errors[0]["message"], answer.text


_TARGETS: Final = {"plan_codes": ["plan_core"]}


@pytest.mark.stack
@pytest.mark.parametrize(
    ("path", "base", "field", "value"),
    [
        ("/v1/subscriptions", {}, "pay_in_advance", True),
        ("/v1/subscriptions", {}, "quantity", 3),
        ("/v1/subscriptions", {}, "plan_overrides", {"amount_cents": 100}),
        ("/v1/subscriptions", {}, "on_termination_action", "generate_credit_note"),
        ("/v1/coupons", off("C", percent="10"), "applies_to", _TARGETS),
        ("/v1/wallets", {"customer_id": ACME}, "recurring_transaction_rules", [{"trigger": "interval"}]),
        ("/v1/wallets", {"customer_id": ACME}, "applies_to", {"fee_types": ["charge"]}),
        ("/v1/wallets", {"customer_id": ACME}, "paid_credits", "100"),
        ("/v1/wallets", {"customer_id": ACME}, "granted_credits", "100"),
        ("/v1/metrics", {"key": "m", "name": "M", "aggregation": "sum"}, "prorated", True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_item_8_a_field_without_effect_is_refused(
    client: httpx.AsyncClient, path: str, base: dict[str, Any], field: str, value: Any
) -> None:
    """422 with the reason until it is built; the same body without the field is taken."""
    await core_world(client, UNIT)
    if path == "/v1/subscriptions":
        base = {"customer_id": ACME, "plan_id": "plan_core", "start_date": APRIL}
    _refused(await client.post(path, json={**base, field: value}), field)
    assert (await client.post(path, json=base)).status_code == 201


@pytest.mark.stack
@pytest.mark.parametrize(
    ("target", "field", "value"),
    [
        ("subscription", "pay_in_advance", True),
        ("subscription", "quantity", 3),
        ("subscription", "plan_overrides", {"amount_cents": 100}),
        ("subscription", "on_termination_action", "generate_credit_note"),
        ("/v1/coupons/OFF", "applies_to", _TARGETS),
        ("wallet", "recurring_transaction_rules", [{"trigger": "interval"}]),
        ("wallet", "applies_to", {"fee_types": ["charge"]}),
        ("/v1/metrics/u", "prorated", True),
    ],
)
async def test_item_8_a_change_without_effect_is_refused(
    client: httpx.AsyncClient, target: str, field: str, value: Any
) -> None:
    world = await core_world(client, UNIT, coupon=off(percent="10"))
    wallet = await post(client, "/v1/wallets", {"customer_id": ACME})
    path = {"subscription": world.path, "wallet": f"/v1/wallets/{wallet['id']}"}.get(target, target)
    _refused(await client.patch(path, json={field: value}), field)


@pytest.mark.stack
@pytest.mark.parametrize("way", ["DELETE", "cancel", "bulk"])
async def test_item_8_a_credit_note_at_the_end_is_refused(client: httpx.AsyncClient, way: str) -> None:
    """It was taken for an invoice. 422, and the subscription goes on."""
    world = await core_world(client, fee("30.00"))
    query = {"on_termination_action": "generate_credit_note"}
    if way == "DELETE":
        answer = await client.delete(world.path, params=query)
    elif way == "cancel":
        answer = await client.post(f"{world.path}/cancel", params=query)
    else:
        body = {"subscription_ids": [world.subscription], **query}
        answer = await client.post("/v1/subscriptions/bulk_terminate", json=body)
    assert (answer.status_code, (await world.shown())["status"]) == (422, "active"), answer.text


@pytest.mark.stack
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_item_8_a_changed_grace_reaches_running_subscriptions(client: httpx.AsyncClient, method: str) -> None:
    """Grace from 0 to 5 days on 10 January: January's 31.00 comes on 6 February (or the change is refused, 422)."""
    world = await core_world(client, fee("31.00"), at=JANUARY)
    await world.to("2025-01-10T00:00:00Z")
    answer = await client.request(method, f"/v1/customers/{ACME}", json={"invoice_grace_period": 5})
    if answer.status_code != 200:
        _refused(answer, "invoice_grace_period")
        return
    await world.to("2025-02-05T00:00:00Z")
    assert await world.totals() == []
    await world.to("2025-02-06T00:00:00Z")
    assert await world.totals() == [3100]


@pytest.mark.stack
async def test_item_8_a_shorter_grace_reaches_running_subscriptions_too(client: httpx.AsyncClient) -> None:
    """Grace from 10 to 0 days on 10 January: January's 31.00 comes on 1 February (or the change is refused, 422)."""
    world = await core_world(client, fee("31.00"), at=JANUARY, customer={"invoice_grace_period": 10})
    await world.to("2025-01-10T00:00:00Z")
    answer = await client.patch(f"/v1/customers/{ACME}", json={"invoice_grace_period": 0})
    if answer.status_code != 200:
        _refused(answer, "invoice_grace_period")
        return
    await world.to("2025-02-01T00:00:00Z")
    assert await world.totals() == [3100]
