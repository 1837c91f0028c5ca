"""What a plan would cost for hypothetical usage; nothing is stored (B43)."""

from fastapi import Response

from adapters.postgres.catalogue import plan_store
from adapters.postgres.resolver import PLAN, required, resolve_metrics
from api.catalogue.simulation_shapes import SimulationAnswer, SimulationBody, simulated
from api.http.deps import CallerDep, DatabaseDep
from api.http.fields import Ref
from api.http.responses import reply
from api.http.routing import resource_router
from models.problems import not_found

router = resource_router("Plans")


@router.post(
    "/plans/{plan_id}/simulate",
    response_model=SimulationAnswer,
    operation_id="simulate_plan",
    summary="Simulate plan pricing",
)
@router.post(
    "/price-plans/{plan_id}/simulate",
    response_model=SimulationAnswer,
    operation_id="simulate_price_plan",
    summary="Simulate price plan pricing",
)
async def simulate(plan_id: Ref, body: SimulationBody, caller: CallerDep, database: DatabaseDep) -> Response:
    """Rate hypothetical usage as an invoice for one full period would: 1,200,000 calls on plan_growth are 14900."""
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, PLAN, plan_id)
        found = await plan_store.detail(connection, row.id, body.version)
        metrics = await resolve_metrics(connection, caller.project_id, body.usage or ())
    for ref in body.usage or ():
        if ref not in metrics:
            raise not_found("metric", ref)
    return reply(simulated(found, body, metrics))
