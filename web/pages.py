"""The dashboard's pages (conflicts C34, B20): log in with an API key, overview, API keys."""

from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from adapters.postgres.journal import audit_store
from adapters.postgres.journal.audit_store import AuditFilter
from adapters.postgres.paging import Page
from adapters.postgres.reports.overview_store import MOST_COUNTED, overview
from adapters.postgres.tenancy import key_store, organization_store
from api.http.auth import caller_with_guess
from api.tenancy.keys import make_key, revoke_key
from api.tenancy.tenancy_shapes import ApiKeyCreate
from models.problems import Problem
from models.scopes import EVERYTHING
from web import session as sessions
from web.rendering import STYLE, page
from web.session import Session

router = APIRouter(prefix="/ui", include_in_schema=False)

_LAST_CHANGES: Final = 10

Text = Annotated[str, Form()]


def _to(path: str) -> RedirectResponse:
    return RedirectResponse(path, status_code=303, headers={"Cache-Control": "no-store"})


def _from_elsewhere(request: Request) -> bool:
    """Return whether another site's page sent the form; browsers say so."""
    return request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")


@router.get("/style.css")
async def style() -> Response:
    """Return the one style sheet."""
    return Response(STYLE, media_type="text/css", headers={"Cache-Control": "max-age=300"})


@router.get("/login")
async def login_page() -> Response:
    """Ask for an API key."""
    return page("login.html")


@router.post("/login")
async def log_in(request: Request, key: Text = "") -> Response:
    """Begin a session with a key; only its id is remembered."""
    if _from_elsewhere(request):
        return page("login.html", 403, error="This form was sent by another site.")
    try:
        caller = await caller_with_guess(request, request.app.state.database, key.strip()[:512])
        caller.require_scopes(EVERYTHING)
    except Problem as problem:
        refusal = page("login.html", problem.status, error=problem.detail)
        refusal.headers.update(problem.headers)
        return refusal
    response = _to("/ui")
    await sessions.begin(request, response, caller)
    return response


@router.post("/logout")
async def log_out(request: Request, csrf: Text = "") -> Response:
    """End the session: from now on its cookie opens nothing, whoever has it."""
    session = await sessions.current(request)
    if session is not None and not session.accepts(csrf):
        return await _refused(request, session)
    response = _to("/ui/login")
    await sessions.end(request, response)
    return response


@router.get("")
async def overview_page(request: Request) -> Response:
    """Show how much there is, and the ways to the rest."""
    session = await sessions.current(request)
    if session is None:
        return _to("/ui/login")
    async with request.app.state.database.transaction(session.caller.scope) as connection:
        counts = await overview(connection)
        changes, _ = await audit_store.entries(connection, AuditFilter(), Page(limit=_LAST_CHANGES))
    shown = f"{counts.events:,}" + ("+" if counts.events >= MOST_COUNTED else "")
    return page(
        "overview.html",
        **await _frame(request, session),
        counts=counts,
        events=shown,
        changes=changes,
        temporal_url=_temporal_url(request, session),
    )


async def _frame(request: Request, session: Session) -> dict[str, Any]:
    caller = session.caller
    async with request.app.state.database.transaction(caller.scope) as connection:
        organization = await organization_store.get(connection, caller.organization_id)
        project = await organization_store.get_project(connection, caller.organization_id, str(caller.project_id))
    return {"organization": organization, "project": project, "csrf": session.csrf}


def _temporal_url(request: Request, session: Session) -> str:
    settings = request.app.state.settings
    base = settings.temporal_ui_url or f"http://{urlsplit(settings.address).hostname}:{settings.temporal_ui_port}"
    query = quote(f'DurabillProject="{session.caller.project_id}"')
    return f"{base.rstrip('/')}/namespaces/{settings.temporal_namespace}/workflows?query={query}"


async def _keys_page(request: Request, session: Session, status: int = 200, **values: Any) -> Response:
    caller = session.caller
    async with request.app.state.database.transaction(caller.scope) as connection:
        rows, total = await key_store.listing(connection, caller.organization_id, Page(), within=caller.project_ids)
    frame = await _frame(request, session)
    return page("keys.html", status, **frame, keys=rows, total=total, own=caller.key_id, **values)


async def _refused(request: Request, session: Session) -> Response:
    return await _keys_page(request, session, 403, error="The form has expired; please try again.")


@router.get("/keys")
async def keys_page(request: Request) -> Response:
    """List the keys, with a form to generate one (B20)."""
    session = await sessions.current(request)
    return _to("/ui/login") if session is None else await _keys_page(request, session)


@router.post("/keys")
async def generate_key(
    request: Request, csrf: Text = "", name: Text = "", kind: Text = "secret", environment: Text = "live"
) -> Response:
    """Generate a key and show it, this once."""
    session = await sessions.current(request)
    if session is None:
        return _to("/ui/login")
    if not session.accepts(csrf) or _from_elsewhere(request):
        return await _refused(request, session)
    try:
        wanted = {"name": name.replace("\x00", "").strip() or None, "kind": kind, "environment": environment}
        made = await make_key(request.app.state.database, session.caller, ApiKeyCreate.model_validate(wanted))
    except ValidationError:
        return await _keys_page(request, session, 422, error="Choose a name of at most 255 characters.")
    except Problem as problem:
        return await _keys_page(request, session, problem.status, error=problem.detail)
    return await _keys_page(request, session, made=made)


@router.post("/keys/{key_id}/revoke")
async def revoke(request: Request, key_id: str, csrf: Text = "") -> Response:
    """Revoke a key; it stops working at once."""
    session = await sessions.current(request)
    if session is None:
        return _to("/ui/login")
    if not session.accepts(csrf) or _from_elsewhere(request):
        return await _refused(request, session)
    try:
        await revoke_key(request.app.state.database, session.caller, key_id[:100])
    except Problem as problem:
        return await _keys_page(request, session, problem.status, error=problem.detail)
    return _to("/ui/keys")
