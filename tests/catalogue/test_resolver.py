"""One resolver finds a row by every name it has, and never a row of another project (conflicts C4, B7)."""

from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.resolver import (
    CUSTOMER,
    METRIC,
    PLAN,
    PRODUCT,
    SUBSCRIPTION,
    Kind,
    resolve_many,
    resolve_metrics,
)
from models.identifiers import new_id, shown_id
from models.tables import customers, metrics, plan_versions, plans, products, subscriptions

START = datetime(2026, 4, 1, tzinfo=UTC)

_Record = TypeVar("_Record")


async def found_by(connection: AsyncConnection, project_id: UUID, kind: Kind[_Record], ref: str) -> _Record | None:
    return (await resolve_many(connection, project_id, kind, (ref,))).get(ref)


async def _insert(connection: AsyncConnection, table: Any, scope: ProjectScope, **values: Any) -> UUID:
    row_id = new_id()
    await connection.execute(table.insert().values(id=row_id, project_id=scope.project_id, **values))
    return row_id


async def test_a_metric_is_found_by_each_of_its_names(database: Database, tenant: ProjectScope) -> None:
    async with database.transaction(tenant) as connection:
        metric = await _insert(connection, metrics, tenant, key="api_calls", name="API Calls")
        for ref in (
            shown_id("metric", metric),
            str(metric),
            "api_calls",
            "meter.api-calls",
            "meter.api_calls",
            f"meter.{metric}",
        ):
            row = await found_by(connection, tenant.project_id, METRIC, ref)
            assert row is not None, ref
            assert row.id == metric


async def test_unknown_and_unstorable_references_name_nothing(database: Database, tenant: ProjectScope) -> None:
    async with database.transaction(tenant) as connection:
        await _insert(connection, metrics, tenant, key="api_calls", name="API Calls")
        for ref in ("", "meter.", "api-calls", "nul\x00", "\ud800", "x" * 5000, str(new_id()), "%", "API_CALLS"):
            assert await found_by(connection, tenant.project_id, METRIC, ref) is None, ref


async def test_a_batch_is_resolved_at_once(database: Database, tenant: ProjectScope) -> None:
    async with database.transaction(tenant) as connection:
        calls = await _insert(connection, metrics, tenant, key="api_calls", name="API Calls")
        size = await _insert(connection, metrics, tenant, key="gb-stored", name="GB stored")
        found = await resolve_metrics(connection, tenant.project_id, ["api_calls", "meter.gb_stored", "none"])
        assert {ref: row.id for ref, row in found.items()} == {"api_calls": calls, "meter.gb_stored": size}


async def test_products_plans_and_customers_are_found_by_code(database: Database, tenant: ProjectScope) -> None:
    own_uuid = "0b0e5a53-6e1b-4b6c-9d53-7e1d9c0b8f11"
    async with database.transaction(tenant) as connection:
        product = await _insert(connection, products, tenant, code="pro_api", name="Pro API")
        plan = await _insert(connection, plans, tenant, code="plan_growth")
        acme = await _insert(connection, customers, tenant, code="cust_acme", corporate_id="C-1001", domain="acme.io")
        other = await _insert(connection, customers, tenant, code=own_uuid)
        for ref in ("pro_api", "item.pro-api", shown_id("product", product)):
            assert (row := await found_by(connection, tenant.project_id, PRODUCT, ref)) is not None, ref
            assert row.id == product
        for ref in ("plan_growth", shown_id("plan", plan), str(plan)):
            assert (sold := await found_by(connection, tenant.project_id, PLAN, ref)) is not None, ref
            assert sold.id == plan
        for ref in ("cust_acme", "C-1001", "acme.io", shown_id("customer", acme)):
            assert (payer := await found_by(connection, tenant.project_id, CUSTOMER, ref)) is not None, ref
            assert payer.id == acme
        assert (payer := await found_by(connection, tenant.project_id, CUSTOMER, own_uuid)) is not None
        assert payer.id == other


async def _subscribe(connection: AsyncConnection, scope: ProjectScope, **values: Any) -> UUID:
    customer = await _insert(connection, customers, scope, code=str(new_id()))
    plan = await _insert(connection, plans, scope, code=str(new_id()))
    version = await _insert(
        connection, plan_versions, scope, plan_id=plan, version=1, name="P", currency="usd", interval="monthly"
    )
    return await _insert(
        connection,
        subscriptions,
        scope,
        customer_id=customer,
        plan_id=plan,
        plan_version_id=version,
        plan_version=1,
        interval="monthly",
        anchor=START,
        starts_at=START,
        bills_automatically_from=START,
        **values,
    )


async def test_a_subscription_is_found_by_each_of_its_names(database: Database, tenant: ProjectScope) -> None:
    async with database.transaction(tenant) as connection:
        ended = await _subscribe(connection, tenant, status="terminated", external_reference="crm_789")
        living = await _subscribe(connection, tenant, status="active", external_reference="crm_789", external_id="s-1")
        shown = shown_id("subscription", living)
        for ref in (shown, str(living), "s-1", "crm_789", "sub.crm-789", "sub.s_1", f"sub.{shown}", "sub." + shown[4:]):
            assert (row := await found_by(connection, tenant.project_id, SUBSCRIPTION, ref)) is not None, ref
            assert row.id == living, ref
        assert (row := await found_by(connection, tenant.project_id, SUBSCRIPTION, str(ended))) is not None
        assert row.id == ended


async def test_b7_another_project_is_never_found(database: Database, tenant: ProjectScope) -> None:
    async with database.transaction(tenant) as connection:
        metric = await _insert(connection, metrics, tenant, key="api_calls", name="API Calls")
    stranger = ProjectScope(organization_id=new_id(), project_id=new_id())
    for scope in (stranger, SYSTEM):
        async with database.transaction(scope) as connection:
            for ref in (str(metric), "api_calls", "meter.api-calls"):
                assert await found_by(connection, stranger.project_id, METRIC, ref) is None


async def test_a_deleted_row_is_not_found_and_its_code_is_free(database: Database, tenant: ProjectScope) -> None:
    async with database.transaction(tenant) as connection:
        gone = await _insert(connection, metrics, tenant, key="api_calls", name="API Calls", deleted_at=START)
        assert await found_by(connection, tenant.project_id, METRIC, str(gone)) is None
        fresh = await _insert(connection, metrics, tenant, key="api_calls", name="API Calls")
        assert (row := await found_by(connection, tenant.project_id, METRIC, "api_calls")) is not None
        assert row.id == fresh
