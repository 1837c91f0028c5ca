"""Which payment provider serves a customer. A new provider is one file here and one line in `PROVIDERS`."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from adapters.payment_port import PaymentProvider
from adapters.payments.manual import ManualPayments
from adapters.payments.sandbox import SandboxPayments
from adapters.payments.setup import ProviderSetup
from adapters.payments.stripe import StripePayments
from adapters.postgres.database import Database


class _Registered(Protocol):
    """A provider's class: its name, and how one is made of the server's settings."""

    name: str

    @classmethod
    def configured(cls, setup: ProviderSetup) -> PaymentProvider:
        """Return what serves the customers of this provider on this server."""
        ...


PROVIDERS: Final[tuple[type[_Registered], ...]] = (StripePayments, SandboxPayments, ManualPayments)
"""The providers that Durabill speaks to; the API takes their names."""

PROVIDER_NAMES: Final = tuple(provider.name for provider in PROVIDERS)
"""What a customer's `payment_provider` may be."""

NOT_SPOKEN_TO: Final = ("ucp", "gocardless", "adyen")
"""Providers that clients may name where a session is asked for, and are told that they are not configured (B129)."""

Providers = Mapping[str, PaymentProvider]


def payment_providers(database: Database, **settings: Any) -> Providers:
    """Build the providers by the names that customers' `payment_provider` has; the settings are `ProviderSetup`'s."""
    setup = ProviderSetup(database=database, **settings)
    return {provider.name: provider.configured(setup) for provider in PROVIDERS}
