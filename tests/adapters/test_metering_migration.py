"""What plans stored before filters were combinations is read as combinations afterwards, and back."""

import importlib.util
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from adapters.postgres.catalogue.plan_store import combination_of
from adapters.postgres.database import Database, ProjectScope
from billing.scope import Combination, PropertyMatch
from models.identifiers import new_id
from models.tables import plan_charges, plan_versions, plans

REVISION = Path(__file__).resolve().parents[2] / "migrations" / "versions" / "0002_metering.py"
MODEL = {"kind": "per_unit", "unit_price": "1"}


def older(key: str, *values: str) -> dict[str, Any]:
    match = {"key": key, "values": list(values)}
    return {
        "metric_filter_id": str(new_id()),
        "match": match,
        "model": MODEL,
        "supplied": {"amount": "1"},
        "name": None,
    }


async def test_filters_of_one_property_become_combinations_and_back(database: Database, tenant: ProjectScope) -> None:
    spec = importlib.util.spec_from_file_location("metering_revision", REVISION)
    assert spec is not None
    assert spec.loader is not None
    revision = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(revision)
    plan, version, charge, project = new_id(), new_id(), new_id(), {"project_id": tenant.project_id}
    written = [older("region", "eu", "us"), older("tier", "gold")]
    owner = {"plan_id": plan, "plan_version_id": version, **project}
    filters = select(plan_charges.c.filters).where(plan_charges.c.id == charge)
    async with database.transaction(tenant) as connection:
        await connection.execute(plans.insert().values(id=plan, code="p", **project))
        await connection.execute(
            plan_versions.insert().values(
                id=version, plan_id=plan, version=1, name="P", currency="usd", interval="monthly", **project
            )
        )
        for own, position, stored in ((charge, 1, written), (new_id(), 2, [])):
            await connection.execute(
                plan_charges.insert().values(id=own, position=position, model=MODEL, filters=stored, **owner)
            )
        await connection.execute(text(revision._FILTERS_TO_COMBINATIONS))
        found = (await connection.execute(filters)).scalar_one()
        assert [combination_of(item) for item in found] == [
            Combination(matches=(PropertyMatch(key="region", values=("eu", "us")),)),
            Combination(matches=(PropertyMatch(key="tier", values=("gold",)),)),
        ]
        declared = [item["matches"][0]["metric_filter_id"] for item in found]
        assert declared == [item["metric_filter_id"] for item in written]
        await connection.execute(text(revision._COMBINATIONS_TO_FILTERS))
        assert (await connection.execute(filters)).scalar_one() == written
        untouched = await connection.execute(select(plan_charges.c.filters).where(plan_charges.c.position == 2))
        assert untouched.scalar_one() == []
