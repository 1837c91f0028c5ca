"""The only reader of the environment.

Every variable is named ``DURABILL_*`` except the three that other tools already define
(``DATABASE_URL``, ``TEMPORAL_ADDRESS``, ``STRIPE_API_KEY``).
"""

import os
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _networks(value: Any) -> tuple[str, ...]:
    """Read networks, separated by commas; raises ValueError for one that is none."""
    given = value.split(",") if isinstance(value, str) else value
    return tuple(str(ip_network(entry.strip())) for entry in given if entry.strip())


def _secrets(value: Any) -> tuple[SecretStr, ...]:
    """Read secrets, separated by commas."""
    given = value.split(",") if isinstance(value, str) else value
    return tuple(SecretStr(str(entry).strip()) for entry in given if str(entry).strip())


Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_secrets)]
Networks = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_networks)]


class Settings(BaseSettings):
    """What a deployment may set; the defaults are those of the embedded stack."""

    model_config = SettingsConfigDict(env_prefix="DURABILL_", extra="ignore", frozen=True)

    # Where things listen
    host: str = "127.0.0.1"
    port: int = 8000
    temporal_port: int = 7233
    temporal_ui_port: int = 8233
    home: Path = Path(".durabill")
    temporal_bin: str | None = None
    stripe_mock_bin: str | None = Field(default=None, description="Used by the tests only.")
    public_url: str | None = Field(
        default=None, description="Where people reach the API; links are built from it, never from a request's Host."
    )

    # Postgres: the application's two logins (row-level security applies) and the owner that migrates
    database_url: SecretStr = Field(
        default=SecretStr("postgresql://durabill@127.0.0.1:5432/durabill"),
        validation_alias=AliasChoices("DATABASE_URL", "DURABILL_DATABASE_URL"),
    )
    database_system_url: SecretStr | None = Field(
        default=None,
        description="The login for work across tenants; None: DATABASE_URL with `_system_login` behind its user.",
    )
    database_admin_url: SecretStr | None = None
    database_pool_size: int = Field(
        default=20, ge=4, le=200, description="Connections of one process, a quarter of them for work across tenants."
    )

    # Temporal
    temporal_address: str = Field(
        default="127.0.0.1:7233", validation_alias=AliasChoices("TEMPORAL_ADDRESS", "DURABILL_TEMPORAL_ADDRESS")
    )
    temporal_namespace: str = "default"
    temporal_task_queue: str = "durabill"
    temporal_tls: bool = False
    temporal_api_key: SecretStr | None = None
    temporal_ui_url: str | None = None
    build_id: str | None = None

    # Worker
    worker_metrics_port: int | None = Field(
        default=None, description="Where the worker serves /metrics; None: nowhere."
    )
    max_concurrent_activities: int = Field(default=50, ge=1)
    max_concurrent_local_activities: int = Field(default=50, ge=1)
    max_cached_workflows: int = Field(default=2000, ge=0)
    continue_as_new_after_events: int = Field(default=4000, ge=50, description="Our own continue-as-new counter.")
    usage_signal_quiet_ms: int = Field(default=250, ge=10, description="Flush delay of a quiet subscription.")
    usage_signal_busy_ms: int = Field(default=1000, ge=10, description="Flush interval of a busy subscription.")
    usage_signals_per_second: int = Field(
        default=50, ge=1, description="Most usage told in turn; what gets to an alert's line is told at once."
    )
    relay_poll_ms: int = Field(default=200, ge=10)
    late_usage_wait_seconds: int = Field(
        default=3600, ge=0, le=30 * 86_400, description="How long late usage of an ended subscription is gathered."
    )

    # Webhooks out
    webhook_allow_private: bool = Field(
        default=False, description="Deliver to loopback and private addresses too (never to link-local ones)."
    )
    webhook_allowed_networks: Networks = Field(
        default=(), description="Networks that are delivered to although they are not public: 10.1.0.0/16,fd12::/64"
    )
    webhook_timeout_seconds: int = Field(default=15, ge=1, le=60, description="Of one attempt, all of it.")
    webhook_first_retry_seconds: float = Field(default=5, gt=0, le=3600, description="The later pauses grow from it.")
    webhook_disable_after_hours: float = Field(
        default=120, gt=0, description="An endpoint that has accepted nothing for so long is disabled."
    )
    webhook_kept_days: int = Field(
        default=90, ge=14, le=3650, description="How long messages, deliveries and attempts are kept."
    )
    notifications_kept_days: int = Field(default=90, ge=1, description="How long read notifications are kept.")
    audit_log_kept_days: int | None = Field(
        default=None, ge=35, description="How long audit entries are kept; None: for ever."
    )
    event_keys_kept_days: int | None = Field(
        default=None, ge=35, description="For how long an idempotency key counts an event once; None: for ever."
    )
    webhook_concurrency: int = Field(default=4, ge=1, le=64, description="Messages on their way to one endpoint.")

    # Secrets
    bootstrap_key: SecretStr | None = Field(default=None, description="May only create and list organizations.")
    session_secret: SecretStr | None = Field(default=None, description="Signs the portal's links.")
    stripe_api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("STRIPE_API_KEY", "DURABILL_STRIPE_API_KEY")
    )
    stripe_api_base: str | None = None
    payment_return_url: str | None = Field(
        default=None, description="Where customers come back to who confirmed a payment; without it, the public URL."
    )
    encryption_keys: Secrets = Field(
        default=(),
        description="Encrypt the keys of payment providers, separated by commas: the first one encrypts, all decrypt.",
    )
    production: bool = Field(
        default=False, description="Refuses simulated payments in live projects, also for stripe without a key."
    )
    manual_webhook_secret: SecretStr | None = Field(
        default=None,
        description="Signs what is told of payments of the provider manual; without it nothing is believed.",
    )

    # Limits
    max_body_bytes: int = Field(default=5_000_000, ge=10_000)
    max_batch_events: int = Field(default=1000, ge=1, le=10_000)
    payment_timeout_seconds: int = Field(default=30, ge=1)
    command_timeout_seconds: int = Field(default=15, ge=1)

    # Logs and metrics
    log_level: str = "INFO"
    log_format: Literal["json", "console"] = Field(default="json", description="Console is a line for people.")
    log_ingestion_one_in: int = Field(
        default=100, ge=0, description="One in so many successful ingestion requests has a log line; 0: none."
    )
    metrics_token: SecretStr | None = Field(
        default=None, description="When set, /metrics answers 401 without this bearer token, here and in the worker."
    )

    @property
    def address(self) -> str:
        """Return the address of the API for links, without a slash at its end."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def is_https(self) -> bool:
        """Return whether people reach the API over TLS."""
        return self.address.startswith("https://")


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Read the environment once per process."""
    return Settings()


def environment_with(variables: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of this process's environment with some variables set, for a child process."""
    return {**os.environ, **variables}
