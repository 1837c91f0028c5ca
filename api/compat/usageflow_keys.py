"""API keys as UsageFlow's dashboard makes them: ``uf_live_...`` (seed 003, B15)."""

from fastapi import Response

from api.http.deps import CallerDep, DatabaseDep
from api.http.responses import created
from api.http.routing import resource_router
from api.tenancy.keys import make_key
from api.tenancy.tenancy_shapes import ApiKeyCreate, ApiKeyCreateResponse

# The answer holds a secret, which must not be stored for a replay.
router = resource_router("UsageFlow", area="", idempotent=False)


@router.post(
    "/api-keys",
    operation_id="usageflow_create_key",
    summary="Generate a key",
    status_code=201,
    response_model=ApiKeyCreateResponse,
)
async def create_key(caller: CallerDep, database: DatabaseDep, body: ApiKeyCreate | None = None) -> Response:
    """Make an ingest key; the secret is in ``key``, shown only here."""
    return created(await make_key(database, caller, body or ApiKeyCreate(), kind="ingest"))
