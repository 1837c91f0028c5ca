"""Wallets as rows: made, read, changed, terminated, and what went in and out of them (B132)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Date, Select, cast, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.audit_store import changes_between
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of
from adapters.postgres.rows import record, records
from adapters.postgres.subscriptions import alert_signal_store
from adapters.postgres.wallets.wallet_move_store import Kind, Move, WalletRecord, locked, move
from billing.wallets import value_of
from models.identifiers import new_id, parse_id
from models.problems import conflict, not_found
from models.tables import customers, test_clocks, wallet_transactions, wallets

_ORDERABLE: Final[Mapping[str, ColumnElement[Any]]] = {
    "updated_at": wallets.c.updated_at,
    "name": wallets.c.name,
    "priority": wallets.c.priority,
    "credits_balance": wallets.c.credits_balance,
    "status": wallets.c.status,
}


@dataclass(frozen=True)
class WalletFilter:
    """Which wallets a list is about; None means any."""

    customer_id: UUID | None = None
    status: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of a row."""
        wanted = {wallets.c.customer_id: self.customer_id, wallets.c.status: self.status}
        return [column == value for column, value in wanted.items() if value is not None]


@dataclass(frozen=True, slots=True)
class CustomerWallet(WalletRecord):
    """A wallet with its customer's name, and the time that the customer lives in."""

    name: str | None
    code: str | None
    consumed_credits: Decimal
    consumed_minor: int
    terminated_at: datetime | None
    updated_at: datetime
    customer_code: str
    customer_code_chosen: bool
    customer_now: datetime

    @property
    def worth(self) -> Decimal:
        """Its credits in minor units, unrounded."""
        return value_of(self.credits_balance, self.rate_amount)


@dataclass(frozen=True, slots=True)
class WalletTransaction:
    """One movement of credits; `amount_minor` is what an invoice got or gave back for them."""

    id: UUID
    wallet_id: UUID
    direction: Literal["inbound", "outbound"]
    kind: Kind
    source: str
    credits: Decimal
    amount_minor: int | None
    invoice_id: UUID | None
    created_at: datetime


def _viewed() -> Select[Any]:
    """Read a wallet with its customer's name, and the time that the customer lives in."""
    joined = wallets.join(customers, customers.c.id == wallets.c.customer_id).outerjoin(
        test_clocks, test_clocks.c.id == customers.c.test_clock_id
    )
    return select(
        wallets,
        customers.c.code.label("customer_code"),
        customers.c.code_chosen.label("customer_code_chosen"),
        func.coalesce(test_clocks.c.frozen_time, func.clock_timestamp()).label("customer_now"),
    ).select_from(joined)


async def view(connection: AsyncConnection, project_id: UUID, ref: str) -> CustomerWallet:
    """Read a wallet by `wal_...` or uuid, terminated ones too. Raises `Problem` 404 `wallet_not_found`."""
    statement = _viewed().where(wallets.c.project_id == project_id, wallets.c.id == parse_id(ref))
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("wallet", ref)
    return record(CustomerWallet, row)


async def view_locked(connection: AsyncConnection, project_id: UUID, ref: str) -> CustomerWallet:
    """Read a wallet as `view` does, after its lock was taken."""
    found = parse_id(ref)
    if found is not None:
        await locked(connection, wallets.c.project_id == project_id, wallets.c.id == found)
    return await view(connection, project_id, ref)


async def listed(
    connection: AsyncConnection, project_id: UUID, wanted: WalletFilter, page: Page
) -> tuple[Sequence[CustomerWallet], int]:
    """List wallets, newest first, and count all that the filter matches."""
    conditions = [wallets.c.project_id == project_id, *wanted.conditions()]
    rows, total = await page_of(connection, wallets, page, *conditions, rows=_viewed(), orderable=_ORDERABLE)
    return records(CustomerWallet, rows), total


async def create(tx: Transaction, values: Mapping[str, object], granted: Decimal) -> CustomerWallet:
    """Make a wallet; `values` are columns, `granted` the credits that it starts with.

    Raises `Problem` 409 `wallet_exists` when an active wallet of the customer has the code.
    """
    statement = insert(wallets).values(id=new_id(), project_id=tx.scope.project_id, **values)
    statement = statement.on_conflict_do_nothing()
    made = await tx.connection.scalar(statement.returning(wallets.c.id))
    if made is None:
        raise conflict("wallet_exists", f"The customer has an active wallet with the code {values['code']!r} already.")
    row = await view(tx.connection, tx.scope.project_id, str(made))
    await _audit(tx, row, action="created")
    if granted > 0:
        await grant(tx, row, credits=granted)
    return await view(tx.connection, tx.scope.project_id, str(made))


async def grant(
    tx: Transaction,
    row: CustomerWallet,
    *,
    credits: Decimal,
    source: str = "manual",
) -> None:
    """Put credits into a locked wallet. Raises `Problem` 409 `too_many_credits`."""
    change = Move(kind="granted", source=source, credits=credits, at=row.customer_now)
    await move(tx, row, change)


async def change(tx: Transaction, row: CustomerWallet, values: Mapping[str, object]) -> CustomerWallet:
    """Change columns of a locked wallet."""
    changes = changes_between({name: getattr(row, name) for name in values}, values)
    if not changes:
        return row
    await _set(tx.connection, row.id, **values)
    await _audit(tx, row, action="updated", changes=changes)
    return await view(tx.connection, tx.scope.project_id, str(row.id))


async def terminate(tx: Transaction, row: CustomerWallet) -> None:
    """End a locked wallet: it keeps its credits and stays readable. Raises `Problem` 409 `wallet_terminated`."""
    if row.status != "active":
        raise conflict("wallet_terminated", "The wallet is terminated already.")
    await _set(tx.connection, row.id, status="terminated", terminated_at=row.customer_now)
    await _audit(tx, row, action="terminated")
    await alert_signal_store.request_evaluation_for_wallet(tx.connection, row.customer_id)


async def _set(connection: AsyncConnection, wallet_id: UUID, **values: Any) -> None:
    statement = update(wallets).where(wallets.c.id == wallet_id)
    await connection.execute(statement.values(**values, updated_at=func.clock_timestamp()))


async def _audit(
    tx: Transaction,
    row: CustomerWallet,
    *,
    action: str,
    changes: Mapping[str, object] | None = None,
) -> None:
    await tx.at(row.customer_now).audit(
        resource_type="wallet",
        resource_id=row.id,
        action=action,
        title=f"Wallet {action}",
        changes=changes,
        data={"customer_id": row.customer_id, "credits_balance": row.credits_balance, "currency": row.currency},
    )


async def transactions(
    connection: AsyncConnection, wallet_id: UUID, page: Page
) -> tuple[Sequence[WalletTransaction], int]:
    """List what went in and out of a wallet, newest first, and count it all."""
    mine = wallet_transactions.c.wallet_id == wallet_id
    rows, total = await page_of(connection, wallet_transactions, page, mine)
    return records(WalletTransaction, rows), total


@dataclass(frozen=True)
class Day:
    """What a UTC day, in the customer's time, did to a wallet; `balance` is that at its end, in credits."""

    day: date
    inbound: Decimal
    outbound: Decimal
    balance: Decimal


async def timeline(
    connection: AsyncConnection, wallet_id: UUID, *, start: datetime | None, end: datetime | None
) -> list[Day]:
    """Return the days from start to end, both included, on which something moved, oldest first.

    None leaves a side open.
    """
    moved = wallet_transactions.c
    day = cast(func.timezone("UTC", moved.moved_at), Date).label("day")
    inbound = func.coalesce(func.sum(moved.credits).filter(moved.direction == "inbound"), 0).label("inbound")
    outbound = func.coalesce(func.sum(moved.credits).filter(moved.direction == "outbound"), 0).label("outbound")
    days = select(day, inbound, outbound).where(moved.wallet_id == wallet_id).group_by(day).subquery()
    balance = func.sum(days.c.inbound - days.c.outbound).over(order_by=days.c.day).label("balance")
    rows = await connection.execute(select(days, balance).order_by(days.c.day))
    return [
        Day(row.day, row.inbound, row.outbound, row.balance)
        for row in rows
        if (start is None or row.day >= start.date()) and (end is None or row.day <= end.date())
    ]


async def consumed_since(connection: AsyncConnection, wallet_id: UUID, since: datetime) -> int:
    """Return what invoices took after an instant of the customer's time, less what they gave back, in minor units."""
    moved = wallet_transactions.c
    took = func.coalesce(func.sum(moved.amount_minor).filter(moved.direction == "outbound"), 0)
    gave = func.coalesce(func.sum(moved.amount_minor).filter(moved.direction == "inbound"), 0)
    statement = select(took - gave).where(
        moved.wallet_id == wallet_id, moved.amount_minor.is_not(None), moved.moved_at > since
    )
    return int(await connection.scalar(statement) or 0)
