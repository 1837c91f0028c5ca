"""Stripe: one PaymentIntent for each attempt, confirmed off session with the customer's saved method (B124, C7, R18).

The attempt's key is Stripe's `Idempotency-Key` and is also kept in the intent's metadata, because Stripe forgets keys
after 24 hours and an intent can then only be found by what it carries.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeVar

import stripe

from adapters.payment_port import (
    ChargeRequest,
    Outcome,
    PaymentProvider,
    RateLimited,
    RequiresAction,
    Unknown,
    declined,
    succeeded,
)
from adapters.payments.rate_limiter import Limited, RateLimiter
from adapters.payments.sandbox import SandboxPayments
from adapters.payments.setup import ProviderSetup

KEY_METADATA: Final = "durabill_key"
_NEEDS_CUSTOMER: Final = ("authentication_required", "payment_intent_authentication_failure")
# R18: what Stripe counts differently from ISO 4217.
_TWO_DECIMALS_AT_STRIPE: Final = ("isk", "ugx")
_NO_DECIMALS_AT_STRIPE: Final = ("mga",)
_LAST_DIGIT_ZERO: Final = ("bhd", "jod", "kwd", "omr", "tnd")
# An attempt is sent for the last time 23 hours after its start, and a search sees new payments within the hour.
_SURELY_VISIBLE: Final = timedelta(hours=24)
# Half of what Stripe allows an account in each mode.
_PER_SECOND: Final = {"live": 50.0, "test": 12.5}
_PAUSE_SECONDS: Final = 1.0
# How long one request may wait for its turn; a longer pause is told to the caller.
_LONGEST_WAIT_SECONDS: Final = 10.0
_T = TypeVar("_T")
Mode = Literal["live", "test"]


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


@dataclass(frozen=True)
class KeyCheck:
    """What Stripe says of a key: `ok` None when it could not be asked."""

    ok: bool | None
    account_id: str | None = None
    message: str | None = None


class StripePayments:
    """Charge the saved payment method of a Stripe customer."""

    name = "stripe"
    serves_live = True

    def __init__(
        self, api_key: str, *, api_base: str | None, timeout_seconds: int, return_url: str | None = None
    ) -> None:
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base} if api_base else None,
            http_client=stripe.HTTPXClient(timeout=timeout_seconds),
            # Retrying is decided by the attempt's row, which knows the 24-hour rule; the SDK does not.
            max_network_retries=0,
        )
        self._patience = min(timeout_seconds, _LONGEST_WAIT_SECONDS)
        self._return_url = return_url
        self._limiter = RateLimiter(_PER_SECOND[self.key_mode(api_key) or "test"])

    @classmethod
    def configured(cls, setup: ProviderSetup) -> PaymentProvider:
        """Return what stands in without a key: the sandbox, so that everything works on a bare machine (B127)."""
        return SandboxPayments.configured(setup)

    @classmethod
    def of_key(cls, setup: ProviderSetup, key: str) -> "StripePayments":
        """Return Stripe with a key."""
        return cls(
            key,
            api_base=setup.stripe_api_base,
            timeout_seconds=setup.timeout_seconds,
            return_url=setup.return_url,
        )

    @staticmethod
    def key_mode(key: str) -> Mode | None:
        """Return whether a secret or restricted key moves real money; None for a text that is no such key."""
        for mode in ("live", "test"):
            if key.startswith((f"sk_{mode}_", f"rk_{mode}_")):
                return mode
        return None

    async def check_key(self) -> KeyCheck:
        """Ask Stripe whose key this is; nothing is made or changed."""
        try:
            account = await self._send(self._client.v1.accounts.retrieve_current_async)
        except stripe.AuthenticationError as error:
            return KeyCheck(ok=False, message=_reason(error))
        except stripe.PermissionError:
            # A restricted key that may not read its account is still a key.
            return KeyCheck(ok=True)
        except (stripe.StripeError, Limited) as error:
            return KeyCheck(ok=None, message=_reason(error))
        return KeyCheck(ok=True, account_id=account.id)

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
        except Limited as error:
            return RateLimited(retry_after=error.retry_after)
        except stripe.IdempotencyError:
            # Sent before with another saved method: that first request is the one that counts.
            found = await self.find(request)
            return found or Unknown(reason="Stripe holds this key for another request that is not visible yet.")
        except stripe.StripeError as error:
            return await self._refusal(error, request)

    async def _charge(self, request: ChargeRequest, customer: str, amount: int) -> Outcome:
        method = request.method_ref or await self._saved_method(customer)
        if method is None:
            return declined("no_payment_method", f"The Stripe customer {customer} has no saved payment method.")
        intent = await self._send(
            lambda: self._client.v1.payment_intents.create_async(
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
        )
        return await self._outcome(intent, request)

    async def _saved_method(self, customer: str) -> str | None:
        """Return the id of the customer's default payment method, or of the first saved card."""
        found = await self._send(lambda: self._client.v1.customers.retrieve_async(customer))
        invoice_settings: Any = getattr(found, "invoice_settings", None)
        default = invoice_settings and invoice_settings["default_payment_method"]
        default = default or getattr(found, "default_source", None)
        if default:
            return str(default if isinstance(default, str) else default["id"])
        cards = await self._send(
            lambda: self._client.v1.payment_methods.list_async({"customer": customer, "type": "card", "limit": 1})
        )
        return str(cards.data[0].id) if cards.data else None

    async def find(self, request: ChargeRequest) -> Outcome | None:
        """Look the attempt up by its payment's id, else by its key in the metadata of the account's payments.

        A search may not see what was sent a moment ago, so that None is answered only a day after the attempt's start;
        `Unknown` before, and if Stripe cannot say.
        """
        try:
            intent = await self._intent(request)
            if intent is not None:
                return await self._outcome(intent, request)
        except Limited as error:
            return RateLimited(retry_after=error.retry_after)
        except stripe.StripeError as error:
            return Unknown(reason=_reason(error))
        return None if _surely_visible(request) else _not_visible()

    async def abandon(self, request: ChargeRequest) -> Outcome:
        """Cancel the attempt's intent; a later confirmation by the customer then fails."""
        try:
            intent = await self._intent(request)
            if intent is None:
                never = declined("abandoned", "Stripe never received this payment.")
                return never if _surely_visible(request) else _not_visible()
            if intent.status == "succeeded":
                return succeeded(intent.id, request.at)
            if intent.status != "canceled":
                await self._send(lambda: self._client.v1.payment_intents.cancel_async(intent.id))
        except Limited as error:
            return RateLimited(retry_after=error.retry_after)
        except stripe.StripeError as error:
            return Unknown(reason=_reason(error))
        return declined("canceled", "The payment was canceled.", intent.id)

    async def _intent(self, request: ChargeRequest) -> "stripe.PaymentIntent | None":
        """Read the attempt's intent by its id, or find the one that carries its key."""
        if request.payment_id is not None:
            known = request.payment_id
            return await self._send(lambda: self._client.v1.payment_intents.retrieve_async(known))
        query = f"metadata['{KEY_METADATA}']:'{request.key}'"
        page = await self._send(lambda: self._client.v1.payment_intents.search_async({"query": query, "limit": 1}))
        return page.data[0] if page.data else None

    async def _outcome(self, intent: "stripe.PaymentIntent", request: ChargeRequest) -> Outcome:
        match intent.status:
            case "succeeded":
                return succeeded(intent.id, request.at)
            case "requires_action":
                return RequiresAction(payment_id=intent.id, action_url=_link(intent))
            case "requires_payment_method":
                last: Any = getattr(intent, "last_payment_error", None)
                problem = last.to_dict() if last is not None else {}
                code = problem.get("decline_code") or problem.get("code") or "card_declined"
                if problem.get("code") in _NEEDS_CUSTOMER or code in _NEEDS_CUSTOMER:
                    return await self._on_session(intent.id, request, method=_method(problem))
                return declined(str(code), str(problem.get("message") or "The card was declined."), intent.id)
            case "canceled":
                return declined("canceled", "The payment was canceled.", intent.id)
            case other:
                return Unknown(reason=f"Stripe's payment {intent.id} is {other}.")

    async def _on_session(self, intent_id: str, request: ChargeRequest, *, method: str | None) -> Outcome:
        """Ask Stripe for the page on which the customer authenticates the same payment.

        Stripe refuses an authentication off session and leaves the payment without a page; confirming the same intent
        as one whose customer comes back makes one. Without an answer the payment waits without a link, and the next
        look-up asks again.
        """
        waiting = RequiresAction(payment_id=intent_id)
        method = request.method_ref or method
        if self._return_url is None or method is None:
            return waiting
        parameters: Any = {"payment_method": method, "return_url": self._return_url}
        try:
            intent = await self._send(lambda: self._client.v1.payment_intents.confirm_async(intent_id, parameters))
        except (stripe.StripeError, Limited):
            return waiting
        if intent.status == "succeeded":
            return succeeded(intent.id, request.at)
        return RequiresAction(payment_id=intent_id, action_url=_link(intent))

    async def _refusal(self, error: stripe.StripeError, request: ChargeRequest) -> Outcome:
        """Tell certain refusals from doubt: only what Stripe itself judged is a decline."""
        match error:
            case stripe.CardError():
                body: Any = error.json_body or {}
                problem = body.get("error", {})
                intent = problem.get("payment_intent") or {}
                code = problem.get("decline_code") or error.code or "card_declined"
                if error.code in _NEEDS_CUSTOMER or code in _NEEDS_CUSTOMER:
                    if intent.get("id") is None:
                        return RequiresAction(payment_id=None)
                    return await self._on_session(intent["id"], request, method=_method(problem))
                return declined(str(code), error.user_message or "The card was declined.", intent.get("id"))
            case stripe.InvalidRequestError() if error.http_status in (400, 404):
                return declined(error.code or "invalid_request", _reason(error))
            case _:
                return Unknown(reason=_reason(error))

    async def _send(self, request: Callable[[], Awaitable[_T]]) -> _T:
        """Send a request in its turn; one that the rate limit refused did nothing, and is sent again after the pause.

        Raises `Limited` when the pause is longer than a request may take.
        """
        until = time.monotonic() + self._patience
        while True:
            await self._limiter.turn(until=until)
            try:
                return await request()
            except stripe.RateLimitError as error:
                self._limiter.pause(_retry_after(error))


def _surely_visible(request: ChargeRequest) -> bool:
    return datetime.now(UTC) - request.started_at > _SURELY_VISIBLE


def _not_visible() -> Unknown:
    return Unknown(reason="Stripe does not show this payment yet; it may still appear.")


def _link(intent: "stripe.PaymentIntent") -> str | None:
    """Return the page on which the customer authenticates a payment, if Stripe hosts one."""
    action: Any = getattr(intent, "next_action", None)
    redirect = action.to_dict().get("redirect_to_url") if action is not None else None
    return str(redirect["url"]) if redirect and redirect.get("url") else None


def _method(problem: dict[str, Any]) -> str | None:
    """Return the method that a refused payment was tried with."""
    method = problem.get("payment_method")
    return str(method["id"]) if isinstance(method, dict) else method


def _retry_after(error: stripe.StripeError) -> float:
    """Return for how many seconds Stripe wants no requests."""
    headers = {str(name).lower(): value for name, value in (error.headers or {}).items()}
    try:
        return max(float(headers["retry-after"]), _PAUSE_SECONDS)
    except (KeyError, ValueError):
        return _PAUSE_SECONDS


def _reason(error: Exception) -> str:
    said = error.user_message if isinstance(error, stripe.StripeError) else str(error)
    return f"{type(error).__name__}: {said or 'no answer from Stripe'}"[:500]
