"""Stripe: one PaymentIntent for each attempt, confirmed off session with the customer's saved method (B124, C7, R18).

The attempt's key is Stripe's `Idempotency-Key` and is also kept in the intent's metadata, because Stripe forgets keys
after 24 hours and an intent can then only be found by what it carries.
"""

from datetime import timedelta
from typing import Any, Final

import stripe

from adapters.payment_port import ChargeRequest, Outcome, PaymentProvider, RequiresAction, Unknown, declined, succeeded
from adapters.payments.sandbox import SandboxPayments
from adapters.payments.setup import ProviderSetup

KEY_METADATA: Final = "durabill_key"
_NEEDS_CUSTOMER: Final = ("authentication_required", "payment_intent_authentication_failure")
# R18: what Stripe counts differently from ISO 4217.
_TWO_DECIMALS_AT_STRIPE: Final = ("isk", "ugx")
_NO_DECIMALS_AT_STRIPE: Final = ("mga",)
_LAST_DIGIT_ZERO: Final = ("bhd", "jod", "kwd", "omr", "tnd")
_CLOCK_SKEW: Final = timedelta(hours=1)
# An attempt is sent for the last time 23 hours after its start.
_LAST_SENT: Final = timedelta(hours=24)


class NotChargeable(ValueError):
    """Raised for an amount that Stripe cannot represent without changing it."""


def provider_amount(amount_minor: int, currency: str) -> int:
    """Turn ISO 4217 minor units into Stripe's units of the currency (R18).

    ISK and UGX have two decimals at Stripe; MGA has none; currencies with three decimals need a last digit of 0. Raises
    `NotChargeable` rather than charging another amount than the invoice's.
    """
    code = currency.lower()
    if code in _TWO_DECIMALS_AT_STRIPE:
        return amount_minor * 100
    if code in _NO_DECIMALS_AT_STRIPE:
        return _divisible(amount_minor, 100, code) // 100
    if code in _LAST_DIGIT_ZERO:
        return _divisible(amount_minor, 10, code)
    return amount_minor


def _divisible(amount_minor: int, by: int, code: str) -> int:
    if amount_minor % by:
        raise NotChargeable(f"Stripe charges {code.upper()} only in multiples of {by} minor units, not {amount_minor}.")
    return amount_minor


class StripePayments:
    """Charge the saved payment method of a Stripe customer."""

    name = "stripe"
    serves_live = True

    def __init__(self, api_key: str, *, api_base: str | None, timeout_seconds: int) -> None:
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base} if api_base else None,
            http_client=stripe.HTTPXClient(timeout=timeout_seconds),
            # Retrying is decided by the attempt's row, which knows the 24-hour rule; the SDK does not.
            max_network_retries=0,
        )

    @classmethod
    def configured(cls, setup: ProviderSetup) -> PaymentProvider:
        """Return Stripe; without a key the sandbox, so that everything works on a bare machine (B127)."""
        if not setup.stripe_api_key:
            return SandboxPayments.configured(setup)
        return cls(setup.stripe_api_key, api_base=setup.stripe_api_base, timeout_seconds=setup.timeout_seconds)

    async def charge(self, request: ChargeRequest) -> Outcome:
        """Create and confirm the attempt's intent; the same key again answers the same intent.

        A time-out or a failure at Stripe is `Unknown`. The attempt's method is used, else the default
        one of the Stripe customer, else a saved card.
        """
        try:
            amount = provider_amount(request.amount_minor, request.currency)
        except NotChargeable as error:
            return declined("amount_not_chargeable", str(error))
        if request.customer_ref is None:
            return declined("no_payment_method", "The customer has no payment_provider_customer_id.")
        try:
            return await self._charge(request, request.customer_ref, amount)
        except stripe.IdempotencyError:
            # Sent before with another saved method: that first request is the one that counts.
            found = await self.find(request)
            return found or Unknown(reason="Stripe holds this key for another request that is not visible yet.")
        except stripe.StripeError as error:
            return _refusal(error)

    async def _charge(self, request: ChargeRequest, customer: str, amount: int) -> Outcome:
        method = request.method_ref or await self._saved_method(customer)
        if method is None:
            return declined("no_payment_method", f"The Stripe customer {customer} has no saved payment method.")
        intent = await self._client.v1.payment_intents.create_async(
            {
                "amount": amount,
                "currency": request.currency.lower(),
                "customer": customer,
                "payment_method": method,
                "confirm": True,
                "off_session": True,
                "metadata": {
                    KEY_METADATA: request.key,
                    "invoice_id": str(request.invoice_id),
                    "attempt": str(request.attempt_no),
                },
            },
            {"idempotency_key": request.key},
        )
        return _outcome(intent, request)

    async def _saved_method(self, customer: str) -> str | None:
        """Return the id of the customer's default payment method, or of the first saved card."""
        found = await self._client.v1.customers.retrieve_async(customer)
        invoice_settings: Any = getattr(found, "invoice_settings", None)
        default = invoice_settings and invoice_settings["default_payment_method"]
        default = default or getattr(found, "default_source", None)
        if default:
            return str(default if isinstance(default, str) else default["id"])
        cards = await self._client.v1.payment_methods.list_async({"customer": customer, "type": "card", "limit": 1})
        return str(cards.data[0].id) if cards.data else None

    async def find(self, request: ChargeRequest) -> Outcome | None:
        """Look the attempt up by its key in the metadata of the customer's intents; `Unknown` if Stripe cannot say."""
        try:
            intent = await self._intent(request)
        except stripe.StripeError as error:
            return Unknown(reason=_reason(error))
        return None if intent is None else _outcome(intent, request)

    async def abandon(self, request: ChargeRequest) -> Outcome:
        """Cancel the attempt's intent; a later confirmation by the customer then fails."""
        try:
            intent = await self._intent(request)
            if intent is None:
                return declined("abandoned", "Stripe never received this payment.")
            if intent.status == "succeeded":
                return _outcome(intent, request)
            canceled = await self._client.v1.payment_intents.cancel_async(intent.id)
        except stripe.StripeError as error:
            return Unknown(reason=_reason(error))
        return _outcome(canceled, request)

    async def _intent(self, request: ChargeRequest) -> "stripe.PaymentIntent | None":
        """Find the attempt's intent, of the customer or else of any: the customer may have been another one then."""
        since = int((request.started_at - _CLOCK_SKEW).timestamp())
        until = int((request.started_at + _LAST_SENT).timestamp())
        created = {"gte": since, "lte": until}
        for customer in [request.customer_ref, None] if request.customer_ref else [None]:
            found = await self._listed(request.key, {"customer": customer} if customer else {}, created)
            if found is not None:
                return found
        return None

    async def _listed(
        self, key: str, customer: dict[str, str], created: dict[str, int]
    ) -> "stripe.PaymentIntent | None":
        """Look through the intents of a time, of one customer or of all, for the one that carries the key."""
        parameters: Any = {**customer, "created": created, "limit": 100}
        page = await self._client.v1.payment_intents.list_async(parameters)
        async for intent in page.auto_paging_iter():
            if KEY_METADATA in intent.metadata and intent.metadata[KEY_METADATA] == key:
                return intent
        return None


def _outcome(intent: "stripe.PaymentIntent", request: ChargeRequest) -> Outcome:
    match intent.status:
        case "succeeded":
            return succeeded(intent.id, request.at)
        case "requires_action":
            return RequiresAction(payment_id=intent.id)
        case "requires_payment_method":
            last: Any = getattr(intent, "last_payment_error", None)
            problem = last.to_dict() if last is not None else {}
            code = problem.get("decline_code") or problem.get("code") or "card_declined"
            return declined(str(code), str(problem.get("message") or "The card was declined."), intent.id)
        case "canceled":
            return declined("canceled", "The payment was canceled.", intent.id)
        case other:
            return Unknown(reason=f"Stripe's payment {intent.id} is {other}.")


def _refusal(error: stripe.StripeError) -> Outcome:
    """Tell certain refusals from doubt: only what Stripe itself judged is a decline."""
    match error:
        case stripe.CardError():
            body: Any = error.json_body or {}
            intent = body.get("error", {}).get("payment_intent") or {}
            if error.code in _NEEDS_CUSTOMER:
                return RequiresAction(payment_id=intent.get("id"))
            code = getattr(error.error, "decline_code", None) or error.code or "card_declined"
            return declined(str(code), error.user_message or "The card was declined.", intent.get("id"))
        case stripe.InvalidRequestError() if error.http_status in (400, 404):
            return declined(error.code or "invalid_request", _reason(error))
        case _:
            return Unknown(reason=_reason(error))


def _reason(error: stripe.StripeError) -> str:
    return f"{type(error).__name__}: {error.user_message or 'no answer from Stripe'}"[:500]
