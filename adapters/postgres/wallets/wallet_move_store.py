"""Moving credits: every change of a wallet's balance is a row, written under the wallet's lock (B132, B133).

Several wallets are locked in the order of their ids, so that transfers and invoices never wait in a circle.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.rows import records
from adapters.postgres.subscriptions import alert_signal_store
from adapters.postgres.wallets import settlement_store
from billing.numbers import plain
from billing.wallets import LARGEST_CREDITS, Draw, Wallet, split_across_wallets, value_of
from models.identifiers import new_id, shown_id
from models.problems import conflict
from models.tables import wallet_transactions, wallets
from models.webhook_types import WebhookType

Kind = Literal["granted", "invoiced", "transferred", "returned"]


@dataclass(frozen=True)
class Move:
    """Credits into or out of one wallet; `amount_minor` is what an invoice got or gave back for them."""

    kind: Kind
    source: str
    credits: Decimal
    at: datetime
    inbound: bool = True
    amount_minor: int | None = None
    invoice_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class WalletRecord:
    """A wallet as its row has it; one credit is worth `rate_amount` minor units."""

    id: UUID
    customer_id: UUID
    status: str
    currency: str
    rate_amount: Decimal
    credits_balance: Decimal
    priority: int
    expires_at: datetime | None
    created_at: datetime

    @property
    def balance(self) -> Wallet:
        """What an invoice may draw on."""
        return Wallet(
            id=self.id,
            currency=self.currency,
            rate_amount=self.rate_amount,
            credits=self.credits_balance,
            priority=self.priority,
            created_at=self.created_at,
            expires_at=self.expires_at,
        )


async def locked(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> Sequence[WalletRecord]:
    """Read wallets and keep others from moving their credits until the transaction ends.

    A transaction that draws a number of an invoice, too, locks its wallets before that.
    """
    statement = select(wallets).where(*conditions).order_by(wallets.c.id).with_for_update(key_share=True)
    return records(WalletRecord, await connection.execute(statement))


async def _read(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> Sequence[WalletRecord]:
    statement = select(wallets).where(*conditions).order_by(wallets.c.id)
    return records(WalletRecord, await connection.execute(statement))


async def move(tx: Transaction, wallet: WalletRecord, change: Move) -> UUID:
    """Change a locked wallet's balance; returns the transaction's id.

    Raises `Problem` 409 `insufficient_credits`, and `too_many_credits` for more than a wallet holds.
    """
    balance = wallet.credits_balance + (change.credits if change.inbound else -change.credits)
    if balance < 0:
        raise conflict("insufficient_credits", f"The wallet holds {plain(wallet.credits_balance)} credits.")
    if change.inbound and change.kind != "returned" and balance > LARGEST_CREDITS:
        raise conflict("too_many_credits", f"A wallet holds {LARGEST_CREDITS} credits at most.")
    identity = new_id()
    added = insert(wallet_transactions).values(
        id=identity,
        project_id=tx.scope.project_id,
        wallet_id=wallet.id,
        direction="inbound" if change.inbound else "outbound",
        kind=change.kind,
        source=change.source,
        credits=change.credits,
        amount_minor=change.amount_minor,
        invoice_id=change.invoice_id,
        moved_at=change.at,
    )
    await tx.connection.execute(added)
    await tx.connection.execute(update(wallets).where(wallets.c.id == wallet.id).values(_after(change)))
    await _record_move(tx, wallet, identity=identity, change=change)
    if not change.inbound:
        await alert_signal_store.request_evaluation_for_wallet(tx.connection, wallet.customer_id)
    return identity


def _after(change: Move) -> dict[str, Any]:
    signed = change.credits if change.inbound else -change.credits
    values: dict[str, Any] = {
        "credits_balance": wallets.c.credits_balance + signed,
        "updated_at": func.clock_timestamp(),
    }
    if change.amount_minor is not None:
        minor = change.amount_minor if change.inbound else -change.amount_minor
        values["consumed_credits"] = wallets.c.consumed_credits - signed
        values["consumed_minor"] = wallets.c.consumed_minor - minor
    return values


async def _record_move(tx: Transaction, wallet: WalletRecord, *, identity: UUID, change: Move) -> None:
    """Write the audit entry and the webhook of a movement."""
    data = {
        "transaction_id": shown_id("wallet_transaction", identity),
        "credits": plain(change.credits),
        "amount_cents": plain(
            value_of(change.credits, wallet.rate_amount)
            if change.amount_minor is None
            else Decimal(change.amount_minor)
        ),
        "currency": wallet.currency,
        "invoice_id": None if change.invoice_id is None else shown_id("invoice", change.invoice_id),
    }
    kind = WebhookType.WALLET_CREDITED if change.inbound else WebhookType.WALLET_DEBITED
    tx = tx.at(change.at)
    await tx.audit(
        resource_type="wallet",
        resource_id=wallet.id,
        action="credited" if change.inbound else "debited",
        title=f"Credits {change.kind}",
        data=data,
    )
    await tx.webhook(
        kind,
        {"wallet_id": shown_id("wallet", wallet.id), "reason": change.kind, **data},
        ordering_key=f"webhook/wallet/{wallet.id}",
    )


@dataclass(frozen=True)
class WalletDraw:
    """What an invoice takes from its customer's wallets, which are locked."""

    draws: tuple[Draw, ...]
    wallets: Sequence[WalletRecord]

    @property
    def total_minor(self) -> int:
        """The sum, in minor units."""
        return sum(draw.amount_minor for draw in self.draws)


NO_WALLET_DRAW: Final = WalletDraw((), ())


async def wallet_draw_for(
    connection: AsyncConnection,
    customer_id: UUID,
    *,
    due_minor: int,
    currency: str,
    at: datetime,
    lock: bool = True,
) -> WalletDraw:
    """Return what an invoice of `due_minor` takes from each of the customer's wallets; nothing is written (B133).

    `lock` keeps others from moving their credits until the transaction ends.
    """
    if due_minor <= 0:
        return NO_WALLET_DRAW
    mine = [wallets.c.customer_id == customer_id, wallets.c.status == "active", wallets.c.credits_balance > 0]
    found = await (locked(connection, *mine) if lock else _read(connection, *mine))
    candidates = [wallet.balance for wallet in found]
    return WalletDraw(split_across_wallets(candidates, due_minor=due_minor, currency=currency, at=at), found)


async def _settle_by(tx: Transaction, wallet: WalletRecord, change: Move, *, minor: int) -> None:
    """Move credits for the invoice that the change names, which is settled by `minor` units with them."""
    assert change.invoice_id is not None, "the move belongs to an invoice"
    source = await move(tx, wallet, change)
    await settlement_store.record(
        tx.connection,
        tx.scope.project_id,
        change.invoice_id,
        kind=settlement_store.WALLET_CREDIT,
        source_id=source,
        amount=minor,
        at=change.at,
    )


async def apply_draw(tx: Transaction, invoice_id: UUID, *, drawn: WalletDraw, at: datetime) -> None:
    """Take a draw from its wallets; the invoice, issued in this transaction with these sums, gets its settlements."""
    by_id = {row.id: row for row in drawn.wallets}
    for draw in drawn.draws:
        change = Move(
            kind="invoiced",
            source="invoice",
            credits=draw.credits,
            at=at,
            inbound=False,
            amount_minor=draw.amount_minor,
            invoice_id=invoice_id,
        )
        await _settle_by(tx, by_id[draw.wallet_id], change, minor=draw.amount_minor)


async def restore_adjustments(tx: Transaction, invoice_id: UUID, at: datetime) -> None:
    """Return what a locked invoice took to the wallets it came from, terminated ones too.

    The caller sets the invoice's sums to 0 in the same transaction.
    """
    statement = (
        select(wallet_transactions)
        .where(wallet_transactions.c.invoice_id == invoice_id, wallet_transactions.c.kind == "invoiced")
        .order_by(wallet_transactions.c.id)
    )
    taken = (await tx.connection.execute(statement)).all()
    by_id = {row.id: row for row in await locked(tx.connection, wallets.c.id.in_({row.wallet_id for row in taken}))}
    for row in taken:
        change = Move(
            kind="returned",
            source="invoice",
            credits=row.credits,
            at=at,
            amount_minor=row.amount_minor,
            invoice_id=invoice_id,
        )
        await _settle_by(tx, by_id[row.wallet_id], change, minor=-row.amount_minor)


async def transfer(
    tx: Transaction,
    *,
    source_id: UUID,
    target_id: UUID,
    credits: Decimal,
    at: datetime,
) -> None:
    """Move credits, not money, from one wallet to another: their rates may differ (B132).

    Raises `Problem` 409 `wallet_terminated`, `currency_mismatch`, `insufficient_credits`.
    """
    found = {row.id: row for row in await locked(tx.connection, wallets.c.id.in_((source_id, target_id)))}
    source, target = found[source_id], found[target_id]
    must_be_active((source, target))
    if source.currency.upper() != target.currency.upper():
        raise conflict("currency_mismatch", f"Credits in {source.currency} cannot become credits in {target.currency}.")
    change = Move(kind="transferred", source="transfer", credits=credits, at=at, inbound=False)
    await move(tx, source, change)
    change = Move(kind="transferred", source="transfer", credits=credits, at=at)
    await move(tx, target, change)


def must_be_active(rows: Collection[WalletRecord]) -> None:
    """Raise `Problem` 409 `wallet_terminated` if one of the wallets is."""
    if any(row.status != "active" for row in rows):
        raise conflict(
            "wallet_terminated",
            "A terminated wallet keeps its credits; nothing of it changes any more.",
        )
