"""What the payment providers of a server are made of."""

from dataclasses import dataclass

from adapters.postgres.database import Database


@dataclass(frozen=True)
class ProviderSetup:
    """The settings of all providers; a provider takes what it needs."""

    database: Database
    stripe_api_key: str | None
    stripe_api_base: str | None
    timeout_seconds: int
    production: bool = False
