"""GET / for people and scripts that only have the address (seed 004, conflicts C34)."""

from fastapi import Request, Response

from api.http.openapi import VERSION
from api.http.responses import reply
from api.http.routing import resource_router

router = resource_router("Operations", public=True)


@router.get("/", operation_id="get_root", summary="Say what this is", openapi_extra={"security": []})
async def get_root(request: Request) -> Response:
    """Name the service, its version and where to go on."""
    links = {name: f"{request.app.state.settings.address}/{path}" for name, path in _LINKS.items()}
    return reply({"name": "Durabill", "version": VERSION, "status": "ok", **links})


_LINKS = {"docs": "docs", "openapi": "openapi.json", "dashboard": "ui", "health": "healthz"}
