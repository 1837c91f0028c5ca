"""Keys of payment providers as rows: sealed, one for each provider and project (C12)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.invoices.payment_attempt_store import OPEN
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.rows import record, records
from models.identifiers import new_id
from models.problems import conflict, not_found
from models.tables import organizations, payment_attempts, payment_credentials

_DEFAULT_SLUG = "default"


@dataclass(frozen=True, slots=True)
class Credential:
    """A provider's key of one project; `mode` says whether it moves real money."""

    id: UUID
    provider: str
    mode: str
    sealed_key: str
    last_four: str
    account_id: str | None
    verified_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NewCredential:
    """What is saved of a key; `account_id` None and `verified` False when the provider could not be asked."""

    provider: str
    mode: str
    sealed_key: str
    last_four: str
    account_id: str | None
    verified: bool


def _of(project_id: UUID) -> Select[Any]:
    return select(payment_credentials).where(payment_credentials.c.project_id == project_id)


async def find(connection: AsyncConnection, project_id: UUID, provider: str) -> Credential | None:
    """Return a project's credential with a provider, None without one."""
    found = await connection.execute(_of(project_id).where(payment_credentials.c.provider == provider))
    row = found.one_or_none()
    return None if row is None else record(Credential, row)


async def required(connection: AsyncConnection, project_id: UUID, provider: str) -> Credential:
    """Return a project's credential with a provider. Raises `Problem` 404 `payment_provider_not_found`."""
    found = await find(connection, project_id, provider)
    if found is None:
        raise not_found("payment_provider", provider)
    return found


async def listed(connection: AsyncConnection, project_id: UUID) -> Sequence[Credential]:
    """Return a project's credentials in the order of the providers' names."""
    found = await connection.execute(_of(project_id).order_by(payment_credentials.c.provider))
    return records(Credential, found)


async def save(tx: Transaction, new: NewCredential) -> Credential:
    """Save a provider's key, in place of the one before.

    Raises `Problem` 409 `payments_open` for a key of another account while charges of the old one are under way: only
    the account that was charged can say what became of them.
    """
    before = await find(tx.connection, tx.scope.project_id, new.provider)
    if before is not None and None not in (before.account_id, new.account_id) and before.account_id != new.account_id:
        await _no_open_charge(tx, new.provider)
    values = {
        "mode": new.mode,
        "sealed_key": new.sealed_key,
        "last_four": new.last_four,
        "account_id": new.account_id,
        "verified_at": func.clock_timestamp() if new.verified else None,
    }
    statement = insert(payment_credentials).values(
        id=new_id(), project_id=tx.scope.project_id, provider=new.provider, **values
    )
    statement = statement.on_conflict_do_update(
        index_elements=["project_id", "provider"], set_={**values, "updated_at": func.clock_timestamp()}
    )
    saved = record(Credential, (await tx.connection.execute(statement.returning(payment_credentials))).one())
    await _audit(tx, saved, "created" if before is None else "updated")
    return saved


async def remove(tx: Transaction, provider: str) -> None:
    """Forget a provider's key. Raises `Problem` 404, and 409 `payments_open` while a charge with it is under way."""
    found = await required(tx.connection, tx.scope.project_id, provider)
    await _no_open_charge(tx, provider)
    await tx.connection.execute(delete(payment_credentials).where(payment_credentials.c.id == found.id))
    await _audit(tx, found, "deleted")


async def default_organization(connection: AsyncConnection) -> UUID | None:
    """Return the organization that the deployment's own keys are for: the default one, else the oldest."""
    order = ((organizations.c.slug != _DEFAULT_SLUG), organizations.c.created_at)
    alive = organizations.c.deleted_at.is_(None)
    found: UUID | None = await connection.scalar(select(organizations.c.id).where(alive).order_by(*order).limit(1))
    return found


async def _no_open_charge(tx: Transaction, provider: str) -> None:
    statement = select(func.count()).where(
        payment_attempts.c.project_id == tx.scope.project_id,
        payment_attempts.c.provider == provider,
        payment_attempts.c.status.in_(OPEN),
    )
    under_way = await tx.connection.scalar(statement)
    if under_way:
        raise conflict(
            "payments_open",
            f"{under_way} charges with this key are under way; try again when they are settled.",
            open_payments=under_way,
        )


async def _audit(tx: Transaction, credential: Credential, action: str) -> None:
    await tx.audit(
        resource_type="payment_provider",
        resource_id=credential.id,
        action=action,
        title=f"Key of {credential.provider} {action}",
        data={"provider": credential.provider, "mode": credential.mode, "last_four": credential.last_four},
    )
