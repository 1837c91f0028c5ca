"""Connections to Temporal: one data converter, one way to authenticate."""

from datetime import timedelta

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import OpenTelemetryConfig, PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RetryConfig, TLSConfig

from settings import Settings

_GIVE_UP_AFTER = timedelta(seconds=3)


async def connect(settings: Settings, *, lazy: bool = False, runtime: Runtime | None = None) -> Client:
    """Connect to the Temporal server or cloud of the settings.

    ``lazy`` opens the connection with the first call, so that a process can start while Temporal is down; a worker
    needs one that is open. Raises RuntimeError when the server cannot be reached.
    """
    key = settings.temporal_api_key
    return await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        api_key=key.get_secret_value() if key else None,
        tls=TLSConfig() if settings.temporal_tls or key else False,
        data_converter=pydantic_data_converter,
        # A command that cannot be sent soon is answered with 503; the relay tries again for ever.
        retry_config=RetryConfig(max_elapsed_time_millis=int(_GIVE_UP_AFTER.total_seconds() * 1000), max_retries=5),
        lazy=lazy,
        runtime=runtime,
    )


def metrics_runtime(port: int) -> Runtime:
    """Make the SDK publish its metrics for Prometheus on a port of this machine's own address."""
    metrics: PrometheusConfig | OpenTelemetryConfig = PrometheusConfig(bind_address=f"127.0.0.1:{port}")
    return Runtime(telemetry=TelemetryConfig(metrics=metrics))
