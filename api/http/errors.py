"""Every refusal and failure as one shape: RFC 9457 ``application/problem+json``."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from adapters.postgres.database import is_connection_loss
from adapters.postgres.failures import is_unstorable
from api.http.responses import reply
from billing.invoice import TooManyGroups
from models.problems import FieldError, Problem, unavailable

MEDIA_TYPE = "application/problem+json"
_MOST_ERRORS = 20
_LONGEST_MESSAGE = 300
_log = structlog.get_logger("durabill.api")


class FieldErrorDocument(BaseModel):
    """One wrong field of a request."""

    field: str = Field(examples=["tiers.1.up_to"])
    message: str = Field(examples=["must be more than the tier before"])
    code: str = Field(examples=["invalid"])


class ProblemDocument(BaseModel):
    """A refusal: ``code`` is stable, ``detail`` says what is wrong and what to do."""

    model_config = ConfigDict(extra="allow")
    type: str = Field(examples=["urn:durabill:problem:customer_not_found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["No customer 'cust_acme' in this project."])
    code: str = Field(examples=["customer_not_found"])
    errors: list[FieldErrorDocument] = Field(default_factory=list, examples=[[]])


def _documented(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: _documented("The body is not JSON."),
    401: _documented("The API key is missing, unknown, expired or revoked."),
    403: _documented("The key's role, kind or projects do not allow this."),
    404: _documented("There is no such thing in this project."),
    409: _documented("It contradicts what exists, or the same Idempotency-Key is being handled."),
    413: _documented("The body is too large."),
    422: _documented("The body, the query or the path is invalid; `errors` names the fields."),
    429: _documented("Too many API keys failed; `Retry-After` says when to try again."),
    503: _documented("Postgres or Temporal cannot be reached; `Retry-After` says when to try again."),
}
"""The refusals that any route may give, for OpenAPI."""


def problem_response(problem: Problem) -> Response:
    """Render a refusal."""
    document = {
        **problem.extra,
        "type": f"urn:durabill:problem:{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "errors": [vars(error) for error in problem.errors],
    }
    answer = reply(document, problem.status, problem.headers)
    answer.headers["content-type"] = MEDIA_TYPE
    return answer


def validation_problem(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """Turn pydantic's errors into 422 ``validation_failed``: dotted path, message and code of each field."""
    fields = tuple(_field_error(error) for error in errors[:_MOST_ERRORS])
    detail = "; ".join(f"{field.field}: {field.message}" for field in fields[:3]) or "The request is invalid."
    return Problem(422, "validation_failed", detail, errors=fields)


def _field_error(error: Mapping[str, Any]) -> FieldError:
    location = [str(part) for part in error["loc"]]
    if len(location) > 1 and location[0] in ("body", "query", "path", "header"):
        location = location[1:]
    message = str(error["msg"]).removeprefix("Value error, ")
    return FieldError(".".join(location), _bounded(message), str(error["type"]))


def _bounded(text: str) -> str:
    # What a client sent may be quoted in the message; it must be printable as UTF-8.
    return text[:_LONGEST_MESSAGE].encode("utf-8", "replace").decode()


def as_problem(error: Exception) -> Problem:
    """Turn any exception into a problem; what nobody foresaw is logged and becomes 500 without a trace (C10)."""
    match error:
        case Problem():
            return error
        case RequestValidationError() | ValidationError():
            return validation_problem(error.errors())
        case HTTPException():
            return _http_problem(error)
        case TooManyGroups():
            return Problem(422, "too_many_groups", f"{error}; group the charge by a property with fewer values.")
    found = _database_problem(error)
    if found is not None:
        return found
    _log.error("request_failed", exc_info=error)
    return Problem(500, "internal_error", "Something went wrong on our side; the log has the details.")


def _database_problem(error: Exception) -> Problem | None:
    if is_connection_loss(error):
        return unavailable("database_unavailable", "Postgres cannot be reached; try again.")
    if is_unstorable(error):
        return Problem(422, "value_out_of_range", "A value is too large, too long or holds a forbidden character.")
    return None


_HTTP_DETAILS = {
    404: ("route_not_found", "There is no such route; /docs lists them all."),
    405: ("method_not_allowed", "This route does not have that method; the Allow header lists those it has."),
    413: ("body_too_large", "The body is too large; send less at a time."),
}


def _http_problem(error: HTTPException) -> Problem:
    phrase = HTTPStatus(error.status_code).phrase
    code, detail = _HTTP_DETAILS.get(error.status_code, (phrase.lower().replace(" ", "_"), str(error.detail)))
    return Problem(error.status_code, code, detail, headers=dict(error.headers or {}))


async def _render(request: Request, error: Exception) -> Response:
    problem = as_problem(error)
    if problem.status == 405:
        problem.headers["Allow"] = ", ".join(_allowed(request))
    return problem_response(problem)


def _allowed(request: Request) -> list[str]:
    """List the methods of a path; each may be a route of its own, and the router names only the first one's."""
    routes = request.app.router.routes
    return [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


def install(app: FastAPI) -> None:
    """Make the application render every exception as a problem."""
    for kind in (Problem, RequestValidationError, ValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _render)
