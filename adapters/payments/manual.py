"""Money that arrives outside Durabill (bank transfer, cheque): never collected automatically."""

from adapters.payment_port import MANUAL, ChargeRequest, Outcome, PaymentProvider, declined
from adapters.payments.setup import ProviderSetup


class ManualPayments:
    """Refuse to charge: an invoice of such a customer waits until it is marked paid."""

    name = MANUAL
    serves_live = True

    @classmethod
    def configured(cls, setup: ProviderSetup) -> PaymentProvider:
        """Return the provider, which needs no settings."""
        del setup
        return cls()

    async def charge(self, request: ChargeRequest) -> Outcome:
        """Say that nothing can be charged; the invoice stays open."""
        del request
        return declined("manual_payment", "This customer pays outside Durabill: mark the invoice paid instead.")

    async def find(self, request: ChargeRequest) -> Outcome | None:
        """Nothing was ever sent."""
        del request
        return None

    async def abandon(self, request: ChargeRequest) -> Outcome:
        """Nothing was ever sent, so nothing can succeed."""
        return await self.charge(request)
