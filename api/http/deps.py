"""What a route may ask for: the caller, the database, the commands to workflows."""

from typing import Annotated

from fastapi import Depends, Request

from adapters.payments.registry import PaymentProviders
from adapters.postgres.database import Database
from api.http.auth import Caller, Operator, authenticate
from api.http.commands import Commands
from api.http.request_log import note_caller
from models.problems import Problem

__all__ = [
    "AnyCallerDep",
    "Caller",
    "CallerDep",
    "CommandsDep",
    "DatabaseDep",
    "Operator",
    "OperatorDep",
    "ProvidersDep",
    "authenticated_caller",
]

_MEMO = "durabill_caller"


def _database(request: Request) -> Database:
    database = request.app.state.database
    assert isinstance(database, Database)
    return database


DatabaseDep = Annotated[Database, Depends(_database)]


async def authenticated_caller(request: Request) -> Caller | Operator:
    """Authenticate a request once, however often it is asked for."""
    known = request.scope.get(_MEMO)
    if known is None:
        known = request.scope[_MEMO] = await authenticate(request, _database(request))
        if isinstance(known, Caller):
            note_caller(request.scope, known)
    assert isinstance(known, Caller | Operator)
    return known


AnyCallerDep = Annotated[Caller | Operator, Depends(authenticated_caller)]


async def _caller(who: AnyCallerDep) -> Caller:
    if isinstance(who, Operator):
        raise Problem(403, "bootstrap_key_forbidden", "The bootstrap key may only manage /v1/organizations.")
    return who


CallerDep = Annotated[Caller, Depends(_caller)]


async def _operator(who: AnyCallerDep) -> Operator:
    if isinstance(who, Caller):
        raise Problem(403, "bootstrap_key_required", "Only the bootstrap key may do this.")
    return who


OperatorDep = Annotated[Operator, Depends(_operator)]


def _commands(request: Request) -> Commands:
    commands = request.app.state.commands
    assert isinstance(commands, Commands)
    return commands


CommandsDep = Annotated[Commands, Depends(_commands)]


def _providers(request: Request) -> PaymentProviders:
    providers = request.app.state.providers
    assert isinstance(providers, PaymentProviders)
    return providers


ProvidersDep = Annotated[PaymentProviders, Depends(_providers)]
