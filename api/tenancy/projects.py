"""Projects, and which of them a key works in (seed 000; conflicts C10, C18)."""

from typing import Annotated

from fastapi import Path, Request, Response

from adapters.postgres.database import Database
from adapters.postgres.tenancy import key_store, organization_store
from api.http.auth import project_forbidden
from api.http.deps import Caller, CallerDep, DatabaseDep
from api.http.pagination import LISTED, PageDep, listed
from api.http.responses import created, reply
from api.http.routing import resource_router
from api.tenancy.tenancy_shapes import (
    PROJECT_SETTINGS,
    ProjectChange,
    ProjectCreate,
    ProjectResponse,
    ProjectSelect,
)
from models.problems import Problem, invalid

router = resource_router("Projects")


@router.get(
    "/projects",
    operation_id="list_projects",
    summary="List projects",
    response_model=list[ProjectResponse],
    responses=LISTED,
)
async def list_projects(request: Request, caller: CallerDep, database: DatabaseDep, page: PageDep) -> Response:
    """Return the projects that the key may serve, the oldest first; exactly one is active (B4)."""
    async with database.transaction(caller.scope) as connection:
        rows, total = await organization_store.list_projects(
            connection, caller.organization_id, page, caller.project_ids
        )
    shown = [ProjectResponse.of(row, active_project_id=caller.project_id) for row in rows]
    return listed(page, shown, total, request)


@router.post(
    "/projects",
    operation_id="create_project",
    summary="Create a project",
    status_code=201,
    response_model=ProjectResponse,
)
async def create_project(caller: CallerDep, database: DatabaseDep, body: ProjectCreate) -> Response:
    """Make a project; the key goes on working where it is."""
    caller.require("ADMIN")
    if caller.project_ids:
        raise Problem(403, "project_forbidden", "This key is restricted to projects; it may not make others.")
    values = {
        "name": body.name,
        "environment": body.environment,
        "timezone": body.timezone,
        "settings": {} if body.id is None else {"code": body.id},
    }
    async with database.transaction(caller.scope) as connection:
        row = await organization_store.add_project(connection, caller.actor, caller.organization_id, values)
    return created(ProjectResponse.of(row, active_project_id=caller.project_id))


@router.patch(
    "/projects", operation_id="select_project", summary="Select the active project", response_model=ProjectResponse
)
async def select_project(caller: CallerDep, database: DatabaseDep, body: ProjectSelect) -> Response:
    """Let the calling key work in another project from now on (B2, B5)."""
    reference = body.project_id or body.id or body.code
    if reference is None:
        raise invalid("project_id", "name the project", "missing")
    return await _change(caller, database, reference, body.model_copy(update={"active": body.active is not False}))


@router.patch(
    "/projects/{id}", operation_id="update_project", summary="Update a project", response_model=ProjectResponse
)
async def update_project(
    caller: CallerDep, database: DatabaseDep, id: Annotated[str, Path(max_length=100)], body: ProjectChange
) -> Response:
    """Rename a project, set its time zone or the accepted time of events, or select it with ``active: true``."""
    return await _change(caller, database, id, body)


async def _change(caller: Caller, database: Database, reference: str, body: ProjectChange) -> Response:
    values = {
        name: value
        for name, value in body.model_dump(exclude_unset=True, include={"name", "timezone"}).items()
        if value is not None or name == "timezone"
    }
    kept = body.model_dump(exclude_unset=True, include=set(PROJECT_SETTINGS))
    if values or kept:
        caller.require("ADMIN")
    async with database.transaction(caller.scope) as connection:
        row = await organization_store.get_project(connection, caller.organization_id, reference)
        if caller.project_ids and row.id not in caller.project_ids:
            raise project_forbidden(row.id)
        if body.active is False and row.id == caller.project_id:
            raise invalid("active", "a key always works in one project; select another one instead")
        if kept:
            merged = {**row.settings, **kept}
            values["settings"] = {name: value for name, value in merged.items() if value is not None}
        row = await organization_store.change_project(connection, caller.actor, row, values)
        if body.active and caller.key_id is not None:
            await key_store.select_project(connection, caller.key_id, row.id)
    active = row.id if body.active else caller.project_id
    return reply(ProjectResponse.of(row, active_project_id=active))
