"""Which payment provider serves a customer. A new provider is one file here and one line in `payment_providers`."""

from collections.abc import Mapping

from adapters.payment_port import MANUAL, PaymentProvider
from adapters.payments.manual import ManualPayments
from adapters.payments.sandbox import SandboxPayments
from adapters.payments.stripe import StripePayments
from adapters.postgres.database import Database

Providers = Mapping[str, PaymentProvider]


def payment_providers(
    database: Database,
    *,
    stripe_api_key: str | None,
    stripe_api_base: str | None,
    timeout_seconds: int,
    production: bool = False,
) -> Providers:
    """Build the providers by the name that a customer's `payment_provider` holds.

    Without a Stripe key, `stripe` is served by the sandbox, so that everything works on a bare machine (B127). In
    production the sandbox serves test projects only: nothing of a live project is shown as paid by it.
    """
    sandbox = SandboxPayments(database, serves_live=not production)
    stripe = (
        StripePayments(stripe_api_key, api_base=stripe_api_base, timeout_seconds=timeout_seconds)
        if stripe_api_key
        else sandbox
    )
    return {"sandbox": sandbox, "stripe": stripe, MANUAL: ManualPayments()}
