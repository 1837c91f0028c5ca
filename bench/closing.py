"""Subscriptions created/s with workflows running, and periods closed to issued invoices/s when all are due at once.

Real servers on files as ``make up`` has them, the real worker as a process of its own. The limit beside the close is a
workflow that does the least a close could do: bench/empty_workflow.py.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import insert
from temporalio.client import Client

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.journal import outbox_store
from adapters.postgres.migrate import create_database, upgrade
from adapters.temporal.client import connect
from api.http.commands import Commands
from bench import empty_workflow
from bench.empty_workflow import Due, EmptyWorkflow
from bench.report import Row
from billing.period import BillingCycle
from billing.subscriptions import lifecycle
from billing.subscriptions.subscription import SubscriptionState
from devstack.embedded_postgres import EmbeddedPostgres
from devstack.temporal_server import TemporalServer
from models.identifiers import new_id
from models.messages.base import SubscriptionRef
from models.tables import customers, metrics, organizations, plan_charges, plan_versions, plans, projects, subscriptions
from settings import Settings

ROOT = Path(__file__).resolve().parent.parent
SUBSCRIPTIONS = 500
ROUNDS = 3
AT_ONCE = 16
#: From the creation of the first subscription to the end of everybody's period.
LEAD_SECONDS = 25.0
PATIENCE_SECONDS = 180.0
DATABASE = "bench_closing"


@dataclass
class Servers:
    """A Postgres with our schema and a Temporal server, both durable."""

    postgres: EmbeddedPostgres
    temporal: TemporalServer
    database: Database
    client: Client
    configuration: Settings

    @property
    def admin_url(self) -> str:
        """Return the owner's URL of the database."""
        return self.postgres.url(DATABASE)


async def run(*, quick: bool = False) -> list[Row]:
    """Measure creations and closes, each round beside a round of its limit."""
    rounds = 1 if quick else ROUNDS
    created, closed, limits = [], [], []
    for _ in range(rounds):
        async with servers() as running:
            limits.append(await empty_round(running))
        async with servers() as running:
            creations, closes = await closing_round(running)
        created.append(creations)
        closed.append(closes)
    return [
        Row("subscriptions created (workflow running)", "subscriptions/s", tuple(created)),
        Row(
            f"periods closed to an issued invoice, {SUBSCRIPTIONS} due at once",
            "invoices/s",
            tuple(closed),
            "empty workflow, one local activity, one INSERT",
            tuple(limits),
            "40% of its limit, more than 50/s",
        ),
    ]


@contextlib.asynccontextmanager
async def servers() -> AsyncIterator[Servers]:
    """Start fresh servers, migrate, connect; stop them at the end."""
    with tempfile.TemporaryDirectory() as directory:
        postgres = EmbeddedPostgres(Path(directory) / "postgres")
        temporal = TemporalServer(Path(directory) / "temporal")
        try:
            postgres.start()
            temporal.start()
            create_database(postgres.url(), DATABASE)
            upgrade(postgres.url(DATABASE))
            url = postgres.url(DATABASE, user="durabill")
            configuration = Settings(DATABASE_URL=url, TEMPORAL_ADDRESS=temporal.address, log_level="WARNING")
            database = Database(url, pool_size=AT_ONCE + 2)
            yield Servers(postgres, temporal, database, await connect(configuration), configuration)
            await database.close()
        finally:
            temporal.stop()
            postgres.stop()


@contextlib.contextmanager
def process(arguments: list[str], environment: dict[str, str]) -> Iterator[None]:
    """Run a worker as a process of its own, its output to a file."""
    with tempfile.NamedTemporaryFile("ab", suffix=".log") as log:
        child = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **environment}, stdout=log, stderr=log
        )
        try:
            yield
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(timeout=60)


async def at_once(work: Iterable[Awaitable[Any]]) -> None:
    """Run many awaitables, a few at a time."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(item: Awaitable[Any]) -> None:
        async with slots:
            await item

    await asyncio.gather(*(one(item) for item in work))


async def count_until(count: Callable[[], Awaitable[tuple[int, datetime | None]]], wanted: int) -> datetime:
    """Count again and again until all are there; returns when the last one was made."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found, last = await count()
        if found >= wanted and last is not None:
            return last
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {found} of {wanted} within {PATIENCE_SECONDS} s")
        await asyncio.sleep(0.25)


async def made(servers: Servers, table: str, column: str) -> tuple[int, datetime | None]:
    """Count a table's rows and give the newest one's time."""
    async with await psycopg.AsyncConnection.connect(servers.admin_url) as connection:
        cursor = await connection.execute(f"SELECT count(*), max({column}) FROM {table}".encode())
        row = await cursor.fetchone()
    assert row is not None, "an aggregate has one row"
    return int(row[0]), row[1]


async def empty_round(servers: Servers) -> float:
    """Return how many empty workflows per second do their one INSERT when all are due at once."""
    with psycopg.connect(servers.admin_url, autocommit=True) as connection:
        connection.execute(empty_workflow.CREATE.encode())
        connection.execute(empty_workflow.GRANT.encode())
    url = servers.configuration.database_url.get_secret_value()
    arguments = ["-m", "bench.empty_worker", servers.temporal.address, "empty", url]
    with process(arguments, {}):
        due = Due(at=datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS))
        await at_once(
            servers.client.start_workflow(EmptyWorkflow.run, due, id=f"empty/{n}", task_queue="empty")
            for n in range(SUBSCRIPTIONS)
        )
        assert datetime.now(UTC) < due.at, "every workflow waits before the first one is due"
        last = await count_until(lambda: made(servers, "bench_closes", "at"), SUBSCRIPTIONS)
    return SUBSCRIPTIONS / (last - due.at).total_seconds()


async def closing_round(servers: Servers) -> tuple[float, float]:
    """Return subscriptions created per second, and invoices issued per second when all periods end at once."""
    url = servers.configuration.database_url.get_secret_value()
    environment = {"DATABASE_URL": url, "TEMPORAL_ADDRESS": servers.temporal.address, "DURABILL_LOG_LEVEL": "WARNING"}
    commands = await Commands.connect(servers.database, servers.configuration)
    with process(["-m", "worker"], environment):
        await until_polling(commands)
        states = await subscribers(servers.database)
        due = next(state.period.end for state in states if state.period)
        began = time.perf_counter()
        await at_once(create(servers.database, commands, state) for state in states)
        creations = SUBSCRIPTIONS / (time.perf_counter() - began)
        assert datetime.now(UTC) < due, "every subscription runs before the first period ends"
        last = await count_until(lambda: made(servers, "invoices", "issued_at"), SUBSCRIPTIONS)
        _, last_row = await made(servers, "invoices", "created_at")
    return creations, SUBSCRIPTIONS / (max(last, last_row or last) - due).total_seconds()


async def until_polling(commands: Commands) -> None:
    """Wait until the worker asks for work."""
    for _ in range(600):
        if await commands.healthy():
            return
        await asyncio.sleep(0.1)
    raise RuntimeError("the worker does not poll")


async def create(database: Database, commands: Commands, state: SubscriptionState) -> None:
    """Create one subscription as the API does: its row and its start in one transaction, then deliver."""
    scope = ProjectScope(state.organization_id, state.project_id)
    ref = SubscriptionRef(
        organization_id=state.organization_id, project_id=state.project_id, subscription_id=state.subscription_id
    )
    async with database.transaction(scope) as connection:
        await connection.execute(insert(subscriptions).values(**row_of(state)))
        await outbox_store.enqueue_subscription_start(connection, state)
    await commands.start_subscription(ref)


async def subscribers(database: Database) -> list[SubscriptionState]:
    """Write one plan (a metered charge and a fee) and its customers; give the states of subscriptions soon due."""
    scope = ProjectScope(new_id(), new_id())
    plan_id, version_id, metric_id = new_id(), new_id(), new_id()
    project = {"project_id": scope.project_id}
    version = {"plan_version_id": version_id, "plan_id": plan_id, **project}
    people = [{"id": new_id(), "code": f"customer-{n}", **project} for n in range(SUBSCRIPTIONS)]
    tiers = [{"up_to": "1000", "unit_price": "0.01"}, {"up_to": None, "unit_price": "0.005"}]
    names = {"version": 1, "name": "Growth", "currency": "usd", "interval": "monthly"}
    metered = {"id": new_id(), "position": 0, "metric_id": metric_id, "model": {"kind": "graduated", "tiers": tiers}}
    fee = {"id": new_id(), "position": 1, "metric_id": None, "model": {"kind": "flat", "amount": "49.00"}}
    async with database.transaction(SYSTEM) as connection:
        organization = {"id": scope.organization_id, "name": "Bench", "slug": "bench"}
        await connection.execute(insert(organizations).values(**organization))
        default = {"id": scope.project_id, "organization_id": scope.organization_id, "name": "Default"}
        await connection.execute(insert(projects).values(**default))
        await connection.execute(insert(metrics).values(id=metric_id, key="calls", name="Calls", **project))
        await connection.execute(insert(plans).values(id=plan_id, code="growth", **project))
        await connection.execute(insert(plan_versions).values(id=version_id, plan_id=plan_id, **names, **project))
        await connection.execute(insert(plan_charges), [{**metered, **version}, {**fee, **version}])
        await connection.execute(insert(customers), people)
    return [state_of(scope, person["id"], plan_id, version_id) for person in people]


def state_of(scope: ProjectScope, customer_id: Any, plan_id: Any, version_id: Any) -> SubscriptionState:
    """Return the state of a subscription whose first period ends after the lead time."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=LEAD_SECONDS)
    cycle = BillingCycle(interval="weekly", anchor=end - timedelta(days=7), timezone="UTC", alignment="anniversary")
    bare = SubscriptionState(
        organization_id=scope.organization_id,
        project_id=scope.project_id,
        subscription_id=new_id(),
        customer_id=customer_id,
        plan_id=plan_id,
        plan_code="growth",
        plan_version_id=version_id,
        plan_version=1,
        cycle=cycle,
        status="pending",
        starts_at=cycle.anchor,
        bills_automatically_from=cycle.anchor,
    )
    return lifecycle.created(bare, at=datetime.now(UTC))


def row_of(state: SubscriptionState) -> dict[str, Any]:
    """Return the subscription's row."""
    assert state.period is not None, "it has begun"
    return {
        "id": state.subscription_id,
        "project_id": state.project_id,
        "customer_id": state.customer_id,
        "plan_id": state.plan_id,
        "plan_version_id": state.plan_version_id,
        "plan_version": 1,
        "status": state.status,
        "interval": state.cycle.interval,
        "anchor": state.cycle.anchor,
        "starts_at": state.starts_at,
        "bills_automatically_from": state.bills_automatically_from,
        "current_period_start": state.period.start,
        "current_period_end": state.period.end,
    }


if __name__ == "__main__":
    print(asyncio.run(run(quick="--quick" in sys.argv)))
