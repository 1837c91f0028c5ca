"""Wallets: prepaid credits that pay a customer's invoices before any card does (B132, B133)."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from fastapi import Path, Query, Request, Response

from adapters.postgres import resolver
from adapters.postgres.subscriptions.subscription_store import wanted_id
from adapters.postgres.wallets import wallet_move_store, wallet_store
from adapters.postgres.wallets.wallet_store import WalletFilter
from api.http.deps import Caller, CallerDep, DatabaseDep
from api.http.moments import InstantField
from api.http.pagination import LISTED, PageDep, listed, listed_as
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router
from api.payments.wallet_shapes import (
    ForecastDocument,
    TimelineDocument,
    TopUp,
    TransactionDocument,
    Transfer,
    TransferDocument,
    WalletBody,
    WalletChange,
    WalletDocument,
    WalletQuery,
)
from billing.numbers import plain
from billing.wallets import forecast
from models.problems import invalid

router = resource_router("Wallets")

WalletId = Annotated[str, Path(max_length=100)]


@router.post(
    "/wallets", status_code=201, response_model=WalletDocument, operation_id="create_wallet", summary="Create wallet"
)
async def create_wallet(body: WalletBody, caller: CallerDep, database: DatabaseDep) -> Response:
    """Make a wallet, with credits from the start if wanted; 409 when an active one of the customer has the code."""
    async with caller.begin(database) as tx:
        customer = await resolver.required(tx.connection, caller.project_id, resolver.CUSTOMER, body.customer_id)
        granted = body.initial_granted_credits or Decimal(0)
        values = body.columns(customer)
        row = await wallet_store.create(tx, values, granted)
    return created(WalletDocument.of(row))


@router.get(
    "/wallets",
    response_model=list[WalletDocument],
    responses=LISTED,
    operation_id="list_wallets",
    summary="List wallets",
)
async def list_wallets(
    request: Request, caller: CallerDep, database: DatabaseDep, page: PageDep, query: Annotated[WalletQuery, Query()]
) -> Response:
    """List wallets, newest first; an unknown customer has none."""
    async with database.transaction(caller.scope) as connection:
        owner = await wanted_id(connection, caller.project_id, resolver.CUSTOMER, query.customer_id)
        wanted = WalletFilter(customer_id=owner, status=query.status)
        rows, total = await wallet_store.listed(connection, caller.project_id, wanted, page)
    return listed_as(WalletDocument.of, page, rows, total, request)


@router.post(
    "/wallets/transfer",
    response_model=TransferDocument,
    operation_id="transfer_credits",
    summary="Transfer credits between wallets",
)
async def transfer_credits(body: Transfer, caller: CallerDep, database: DatabaseDep) -> Response:
    """Move credits, not money: the rates may differ. Too few are 409 and nothing moves (B132)."""
    project = caller.project_id
    async with caller.begin(database) as tx:
        source = await wallet_store.view(tx.connection, project, body.source_wallet_id)
        target = await wallet_store.view(tx.connection, project, body.target_wallet_id)
        if source.id == target.id:
            raise invalid("target_wallet_id", "must be another wallet")
        await wallet_move_store.transfer(
            tx,
            source_id=source.id,
            target_id=target.id,
            credits=body.credits,
            at=source.customer_now,
        )
        source = await wallet_store.view(tx.connection, project, str(source.id))
        target = await wallet_store.view(tx.connection, project, str(target.id))
    return reply(
        TransferDocument(
            source_wallet=WalletDocument.of(source),
            target_wallet=WalletDocument.of(target),
            credits_transferred=plain(body.credits),
        )
    )


@router.get("/wallets/{wallet_id}", response_model=WalletDocument, operation_id="get_wallet", summary="Get wallet")
async def get_wallet(wallet_id: WalletId, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read one wallet by its id or uuid, a terminated one too."""
    async with database.transaction(caller.scope) as connection:
        return reply(WalletDocument.of(await wallet_store.view(connection, caller.project_id, wallet_id)))


async def _change(wallet_id: str, body: WalletChange, caller: Caller, database: DatabaseDep) -> Response:
    async with caller.begin(database) as tx:
        row = await wallet_store.view_locked(tx.connection, caller.project_id, wallet_id)
        wallet_move_store.must_be_active((row,))
        changed = await wallet_store.change(tx, row, body.columns(row))
    return reply(WalletDocument.of(changed))


@router.put(
    "/wallets/{wallet_id}", response_model=WalletDocument, operation_id="update_wallet", summary="Update wallet"
)
async def update_wallet(wallet_id: WalletId, body: WalletChange, caller: CallerDep, database: DatabaseDep) -> Response:
    """Change the name, the expiry or the priority; what is not sent stays. A terminated wallet is 409."""
    return await _change(wallet_id, body, caller, database)


@router.patch(
    "/wallets/{wallet_id}", response_model=WalletDocument, operation_id="patch_wallet", summary="Update wallet"
)
async def patch_wallet(wallet_id: WalletId, body: WalletChange, caller: CallerDep, database: DatabaseDep) -> Response:
    """Change a wallet, as PUT does."""
    return await _change(wallet_id, body, caller, database)


@router.delete("/wallets/{wallet_id}", status_code=204, operation_id="terminate_wallet", summary="Terminate wallet")
async def terminate_wallet(wallet_id: WalletId, caller: CallerDep, database: DatabaseDep) -> Response:
    """End a wallet: it keeps its credits and stays readable, and nothing goes in or out any more."""
    async with caller.begin(database) as tx:
        row = await wallet_store.view_locked(tx.connection, caller.project_id, wallet_id)
        await wallet_store.terminate(tx, row)
    return no_content()


@router.post(
    "/wallets/{wallet_id}/top_up",
    response_model=WalletDocument,
    operation_id="top_up_wallet",
    summary="Top up wallet",
)
async def top_up_wallet(wallet_id: WalletId, body: TopUp, caller: CallerDep, database: DatabaseDep) -> Response:
    """Grant credits; a terminated wallet takes none: 409."""
    async with caller.begin(database) as tx:
        row = await wallet_store.view_locked(tx.connection, caller.project_id, wallet_id)
        wallet_move_store.must_be_active((row,))
        await wallet_store.grant(tx, row, credits=body.credits, source=body.source)
        return reply(WalletDocument.of(await wallet_store.view(tx.connection, caller.project_id, wallet_id)))


@router.get(
    "/wallets/{wallet_id}/transactions",
    response_model=list[TransactionDocument],
    responses=LISTED,
    operation_id="list_wallet_transactions",
    summary="List wallet transactions",
)
async def list_transactions(
    request: Request, wallet_id: WalletId, caller: CallerDep, database: DatabaseDep, page: PageDep
) -> Response:
    """List what went in and out, newest first; their sum is the balance."""
    async with database.transaction(caller.scope) as connection:
        wallet = await wallet_store.view(connection, caller.project_id, wallet_id)
        rows, total = await wallet_store.transactions(connection, wallet.id, page)
    documents = [TransactionDocument.of(row, wallet) for row in rows]
    return listed(page, documents, total, request, last=rows[-1].id if rows else None)


@router.get(
    "/wallets/{wallet_id}/balance_timeline",
    response_model=TimelineDocument,
    operation_id="get_wallet_balance_timeline",
    summary="Get wallet balance timeline",
)
async def get_timeline(
    wallet_id: WalletId,
    caller: CallerDep,
    database: DatabaseDep,
    start_date: Annotated[InstantField | None, Query()] = None,
    end_date: Annotated[InstantField | None, Query()] = None,
) -> Response:
    """Return the days on which credits moved, both ends included, with the balance at each one's end."""
    async with database.transaction(caller.scope) as connection:
        wallet = await wallet_store.view(connection, caller.project_id, wallet_id)
        days = await wallet_store.timeline(connection, wallet.id, start=start_date, end=end_date)
    return reply(TimelineDocument.of(wallet, days))


@router.get(
    "/wallets/{wallet_id}/depletion_forecast",
    response_model=ForecastDocument,
    operation_id="get_wallet_depletion_forecast",
    summary="Get wallet depletion forecast",
)
async def get_forecast(
    wallet_id: WalletId,
    caller: CallerDep,
    database: DatabaseDep,
    days: Annotated[int, Query(ge=1, le=365, description="How far back consumption is averaged.")] = 30,
) -> Response:
    """Return when the wallet runs out if invoices go on taking what they took in the last days, on average."""
    async with database.transaction(caller.scope) as connection:
        wallet = await wallet_store.view(connection, caller.project_id, wallet_id)
        since = wallet.customer_now - timedelta(days=days)
        consumed = await wallet_store.consumed_since(connection, wallet.id, since)
    return reply(ForecastDocument.of(wallet, forecast(balance=wallet.worth, consumed=consumed, days=days)))
