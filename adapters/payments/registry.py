"""Which payment provider serves a customer. A new provider is one file here and one line in `PROVIDERS`."""

from collections.abc import Mapping
from typing import Any, Final, Protocol
from uuid import UUID

from adapters.payment_port import PaymentProvider
from adapters.payments.manual import ManualPayments
from adapters.payments.sandbox import SandboxPayments
from adapters.payments.setup import ProviderSetup
from adapters.payments.stripe import StripePayments
from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.payments import credential_store, payment_store
from adapters.postgres.rows import AsyncConnection
from adapters.secret_box import SecretBox
from models.problems import conflict


class _Registered(Protocol):
    """A provider's class: its name, and how one is made of the server's settings."""

    name: str

    @classmethod
    def configured(cls, setup: ProviderSetup) -> PaymentProvider:
        """Return what serves the customers of this provider on this server without a key of their project."""
        ...


PROVIDERS: Final[tuple[type[_Registered], ...]] = (StripePayments, SandboxPayments, ManualPayments)
"""The providers that Durabill speaks to; the API takes their names."""

PROVIDER_NAMES: Final = tuple(provider.name for provider in PROVIDERS)
"""What a customer's `payment_provider` may be."""

KEYED: Final[Mapping[str, type[StripePayments]]] = {StripePayments.name: StripePayments}
"""The providers that a project gives a key of its own."""

NOT_SPOKEN_TO: Final = ("ucp", "gocardless", "adyen")
"""Providers that clients may name where a session is asked for, and are told that they are not configured (B129)."""

LIVE: Final = "live"


class ProviderChoice(Protocol):
    """How collecting finds who is asked for money."""

    async def choose(
        self, connection: AsyncConnection, scope: ProjectScope, name: str, *, in_clock: bool
    ) -> PaymentProvider:
        """Return the provider that may charge a customer; `in_clock`: who lives in a test clock.

        Raises `Problem` 409 with the way out when none may.
        """
        ...


class PaymentProviders:
    """The providers of a server: with a project's own key, the deployment's, or simulated (C12)."""

    def __init__(self, setup: ProviderSetup, box: SecretBox) -> None:
        self._setup = setup
        self._box = box
        self._keyed: dict[tuple[str, str], StripePayments] = {}
        self._default_for: UUID | None = None

    async def choose(
        self, connection: AsyncConnection, scope: ProjectScope, name: str, *, in_clock: bool
    ) -> PaymentProvider:
        """Return the provider that may charge a customer: a test clock and a test project never get a live key.

        Raises `Problem` 409 `no_payment_provider`, `payment_provider_not_configured`, `live_key_on_test_clock`.
        """
        kind = next((each for each in PROVIDERS if each.name == name), None)
        if kind is None:
            raise conflict("no_payment_provider", "The customer has no payment provider to charge.")
        live_project = await payment_store.is_live(connection, scope.project_id)
        if name in KEYED:
            key = await self._key(connection, scope, name, live_project=live_project)
            is_live_key = key is not None and KEYED[name].key_mode(key) == LIVE
            if is_live_key and in_clock:
                raise _live_key_on_test_clock(name)
            if key is not None and (is_live_key == live_project or in_clock or not self._setup.production):
                return self.with_key(name, key)
        provider = kind.configured(self._setup)
        takes_real_money = live_project and not in_clock
        has_key = name in KEYED and self._setup.stripe_api_key is not None
        if takes_real_money and (has_key or not provider.serves_live):
            raise _not_configured(name)
        return provider

    async def allow_in_clock(self, connection: AsyncConnection, scope: ProjectScope, name: str | None) -> None:
        """Refuse a provider that would charge a customer in a test clock with a live key.

        Raises `Problem` 409 `live_key_on_test_clock`.
        """
        if name is not None and name in KEYED:
            await self.choose(connection, scope, name, in_clock=True)

    def with_key(self, name: str, key: str) -> StripePayments:
        """Return the provider of this name with a key; the same key gives the same one, which minds its rate limit."""
        made = self._keyed.get((name, key))
        if made is None:
            made = self._keyed[name, key] = KEYED[name].of_key(self._setup, key)
        return made

    def seal(self, scope: ProjectScope, name: str, key: str) -> str:
        """Return a project's key encrypted. Raises `Problem` 503 `encryption_key_missing`."""
        return self._box.seal(key, about=_about(scope, name))

    def opened(self, scope: ProjectScope, credential: credential_store.Credential) -> StripePayments:
        """Return the provider with a project's saved key. Raises `Problem` 503 `secret_unreadable`."""
        key = self._box.open(credential.sealed_key, about=_about(scope, credential.provider))
        return self.with_key(credential.provider, key)

    async def _key(
        self, connection: AsyncConnection, scope: ProjectScope, name: str, *, live_project: bool
    ) -> str | None:
        """Return the project's key, or the deployment's in the default organization's live project."""
        saved = await credential_store.find(connection, scope.project_id, name)
        if saved is not None:
            return self._box.open(saved.sealed_key, about=_about(scope, name))
        if not live_project or self._setup.stripe_api_key is None:
            return None
        if self._default_for is None:
            async with self._setup.database.transaction(SYSTEM) as system:
                self._default_for = await credential_store.default_organization(system)
        return self._setup.stripe_api_key if scope.organization_id == self._default_for else None


def payment_providers(database: Database, *, box: SecretBox | None = None, **settings: Any) -> PaymentProviders:
    """Build the providers; the settings are `ProviderSetup`'s."""
    return PaymentProviders(ProviderSetup(database=database, **settings), box or SecretBox())


def _about(scope: ProjectScope, name: str) -> str:
    return f"{scope.project_id}:{name}"


def _live_key_on_test_clock(name: str) -> Exception:
    return conflict(
        "live_key_on_test_clock",
        f"Customers in a test clock are never charged with a live key of {name}. Use the payment provider sandbox for "
        "them, or make them in a test project, whose key is one of the provider's test mode.",
    )


def _not_configured(name: str) -> Exception:
    way = f"Save the project's key with PUT /v1/payment_providers/{name}"
    return conflict(
        "payment_provider_not_configured",
        f"The payment provider {name} is not configured for this project, and simulated payments are refused in live "
        f"projects. {way} (STRIPE_API_KEY serves the default organization alone), then charge the invoice."
        if name in KEYED
        else f"The payment provider {name} takes no payments of live projects on this server. Choose another one.",
    )
