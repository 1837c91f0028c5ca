"""What the payment providers of a server are made of."""

from dataclasses import dataclass

from adapters.postgres.database import Database


@dataclass(frozen=True)
class ProviderSetup:
    """The settings of all providers; a provider takes what it needs.

    `stripe_api_key` serves the live project of the default organization alone; `return_url` is where customers come
    back to after they confirmed a payment.
    """

    database: Database
    stripe_api_key: str | None
    stripe_api_base: str | None
    timeout_seconds: int
    production: bool = False
    return_url: str | None = None
