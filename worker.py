"""The only place that builds Temporal workers: which workflows, which activities, how many at once.

Run it with ``python -m worker``. The process also carries the relay (adapters/temporal/relay.py); with several workers
one of them leads. SIGTERM and SIGINT let running steps finish first.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, TypeVar

import httpx
import structlog
import uvloop
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities.after_end import AfterEndActivities
from activities.alerting import AlertActivities
from activities.clock import ClockActivities
from activities.closing import ClosingActivities
from activities.collecting import CollectingActivities
from activities.lifecycle import LifecycleActivities
from activities.upkeep import MaintenanceActivities
from activities.webhooks import WebhookActivities
from adapters.collector import freeze_gc
from adapters.payments.registry import payment_providers
from adapters.postgres.database import SYSTEM, Database
from adapters.secret_box import SecretBox
from adapters.telemetry import logs
from adapters.telemetry.metrics_server import serve_metrics
from adapters.temporal import client as temporal
from adapters.temporal.interceptor import ActivityEdge
from adapters.temporal.relay import Relay
from adapters.temporal.sandbox import runner
from adapters.temporal.schedules import ensure_schedules
from adapters.webhooks.slots import AT_ONCE as WEBHOOKS_AT_ONCE
from models.problems import Problem
from settings import Settings, settings
from workflows.after_end import AfterEndWorkflow
from workflows.invoice import InvoiceWorkflow
from workflows.subscription import SubscriptionWorkflow
from workflows.upkeep import CheckUsageWorkflow, ReprocessEventsWorkflow
from workflows.webhook_delivery import WebhookDeliveryWorkflow

WORKFLOWS: Final[tuple[type, ...]] = (
    SubscriptionWorkflow,
    InvoiceWorkflow,
    WebhookDeliveryWorkflow,
    AfterEndWorkflow,
    CheckUsageWorkflow,
    ReprocessEventsWorkflow,
)

_LOG = structlog.get_logger("durabill.worker")
_GRACE: Final = timedelta(seconds=15)
_LONGEST_PAUSE_SECONDS: Final = 10.0
#: Connections that the relay needs for itself at the same time: its leadership, delivery, usage, and for webhooks the
#: look at what is due and the one writer of outcomes. Pruning, once an hour, may wait for one.
_RELAY_CONNECTIONS: Final = 5
_TASKS_PER_PROCESSOR: Final = 8
_COLLECTOR_THRESHOLDS: Final = (20_000, 20, 50)
_T = TypeVar("_T")


def activities(database: Database, configuration: Settings) -> list[Callable[..., Any]]:
    """List every activity, bound to what it works on."""
    key = configuration.stripe_api_key
    providers = payment_providers(
        database,
        box=SecretBox([each.get_secret_value() for each in configuration.encryption_keys]),
        stripe_api_key=key.get_secret_value() if key else None,
        stripe_api_base=configuration.stripe_api_base,
        timeout_seconds=configuration.payment_timeout_seconds,
        production=configuration.production,
        return_url=configuration.payment_return_url or configuration.public_url,
    )
    lifecycle = LifecycleActivities(database)
    upkeep = MaintenanceActivities(database)
    return [
        ClosingActivities(database).close_periods,
        CollectingActivities(database, providers).collect_invoice,
        lifecycle.record_lifecycle,
        lifecycle.find_invoice,
        ClockActivities(database).report_clock,
        AfterEndActivities(database).bill_after_end,
        upkeep.list_projects,
        upkeep.check_usage,
        upkeep.reprocess_events,
        AlertActivities(database).evaluate_alerts,
        WebhookActivities(database, configuration).attempt_webhook,
    ]


def build_worker(client: Client, database: Database, configuration: Settings) -> Worker:
    """Build the worker of the settings' task queue; it runs inside ``async with``."""
    # More steps at once than connections would only wait for each other.
    steps_at_once = max(2, configuration.database_pool_size - _RELAY_CONNECTIONS)
    return Worker(
        client,
        task_queue=configuration.temporal_task_queue,
        workflows=WORKFLOWS,
        activities=activities(database, configuration),
        workflow_runner=runner(),
        interceptors=[ActivityEdge()],
        build_id=configuration.build_id,
        max_cached_workflows=configuration.max_cached_workflows,
        # Tasks wait at the server, where their time limit does not run, rather than here for a processor or a slot.
        max_concurrent_workflow_tasks=min(2 * steps_at_once, _TASKS_PER_PROCESSOR * (os.cpu_count() or 1)),
        # Receivers of webhooks may be slow: they take none of the slots that payments need.
        max_concurrent_activities=configuration.max_concurrent_activities + WEBHOOKS_AT_ONCE,
        max_concurrent_local_activities=min(configuration.max_concurrent_local_activities, steps_at_once),
        graceful_shutdown_timeout=_GRACE,
    )


async def main(configuration: Settings) -> None:
    """Connect, work until SIGTERM or SIGINT, let running steps finish, and close."""
    stopping = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stopping.set)
    database = Database.configured(configuration)
    sdk_port = None if configuration.worker_metrics_port is None else _free_port()
    runtime = None if sdk_port is None else temporal.metrics_runtime(sdk_port)
    metrics = None if sdk_port is None else await _serve_metrics(configuration, sdk_port)
    try:
        ready = await _until_stopped(stopping, _connected(database, configuration, runtime))
        if ready is not None:
            await _work(ready, database, configuration, stopping)
    finally:
        if metrics is not None:
            metrics.close()
        await database.close()
    _LOG.info("worker_stopped")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _serve_metrics(configuration: Settings, sdk_port: int) -> asyncio.Server:
    """Serve our counters together with the SDK's metrics, to the bearer of the token where one is set."""

    async def of_the_sdk() -> bytes:
        try:
            async with httpx.AsyncClient(timeout=2, verify=False) as client:  # noqa: S501 - plain HTTP to ourselves
                return (await client.get(f"http://127.0.0.1:{sdk_port}/metrics")).content
        except httpx.HTTPError:
            return b""

    token, port = configuration.metrics_token, configuration.worker_metrics_port
    assert port is not None, "the worker's metrics have a port"
    secret = None if token is None else token.get_secret_value()
    return await serve_metrics("0.0.0.0", port, token=secret, more=of_the_sdk)  # noqa: S104 - scraped from elsewhere


async def _work(client: Client, database: Database, configuration: Settings, stopping: asyncio.Event) -> None:
    async with build_worker(client, database, configuration):
        freeze_gc(_COLLECTOR_THRESHOLDS)
        relay = asyncio.create_task(Relay(client, database, configuration).run())
        await ensure_schedules(client, configuration.temporal_task_queue)
        _LOG.info("worker_polls", queue=configuration.temporal_task_queue, temporal=configuration.temporal_address)
        await stopping.wait()
        _LOG.info("worker_stops")
        relay.cancel()
        # What it was delivering is delivered again by the next leader, so nobody has to wait for it longer.
        await asyncio.wait({relay}, timeout=_GRACE.total_seconds())


async def _connected(database: Database, configuration: Settings, runtime: Any) -> Client:
    """Wait for Postgres and Temporal, trying again with growing pauses."""

    async def postgres_is_reachable() -> None:
        async with database.transaction(SYSTEM):
            _LOG.debug("postgres_answers")

    await _patiently("Postgres", postgres_is_reachable)
    return await _patiently("Temporal", lambda: temporal.connect(configuration, runtime=runtime))


async def _patiently(what: str, connect: Callable[[], Awaitable[_T]]) -> _T:
    pause_seconds = 0.2
    while True:
        try:
            return await connect()
        except (Problem, OSError, RuntimeError, RPCError) as error:
            _LOG.warning("not_reachable", what=what, tries_again_in_seconds=pause_seconds, error=str(error))
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)


async def _until_stopped(stopping: asyncio.Event, work: Awaitable[_T]) -> _T | None:
    """Wait for some work, or give up on it when the process is told to stop."""
    working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if working.done():
        return working.result()
    working.cancel()
    return None


if __name__ == "__main__":
    # The sandbox loads a workflow's module anew for each instance: it must find it compiled.
    sys.dont_write_bytecode = False
    logs.set_up(settings().log_level, settings().log_format)
    uvloop.run(main(settings()))
