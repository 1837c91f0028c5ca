"""What a payment provider can take of an amount: its minimum and its smallest step for a currency (R18, R26)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

_NO_LIMITS: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True)
class ProviderLimits:
    """A provider's limits in minor units of ISO 4217, by the currency's code in lower case.

    An amount is at least `minimum` and a multiple of `step`; a currency that is not named has no limit.
    """

    minimum: Mapping[str, int]
    step: Mapping[str, int]

    def collectable(self, amount_minor: int, currency: str) -> int:
        """Return the largest part of an amount that can be taken; 0 if that is under the minimum."""
        code = currency.lower()
        part = amount_minor - amount_minor % self.step.get(code, 1)
        return part if part >= self.minimum.get(code, 0) else 0


# docs.stripe.com/currencies: the minimum of a charge in each settlement currency; amounts with three decimals end in 0,
# and MGA has no decimals there.
_STRIPE: Final = ProviderLimits(
    minimum=MappingProxyType(
        {
            **dict.fromkeys(("aud", "brl", "cad", "chf", "eur", "inr", "jpy", "nzd", "sgd", "usd"), 50),
            **dict.fromkeys(("aed", "myr", "pln", "ron"), 200),
            **dict.fromkeys(("nok", "sek"), 300),
            **dict.fromkeys(("mxn", "thb"), 1000),
            "bgn": 100,
            "czk": 1500,
            "dkk": 250,
            "gbp": 30,
            "hkd": 400,
            "huf": 17500,
        }
    ),
    step=MappingProxyType({**dict.fromkeys(("bhd", "jod", "kwd", "omr", "tnd"), 10), "mga": 100}),
)
_LIMITS: Final = MappingProxyType({"stripe": _STRIPE})
_UNLIMITED: Final = ProviderLimits(minimum=_NO_LIMITS, step=_NO_LIMITS)


def collectable_minor(provider: str | None, amount_minor: int, currency: str) -> int:
    """Return how much of an amount, in minor units, a provider can take; all of it where nobody collects."""
    return _LIMITS.get(provider or "", _UNLIMITED).collectable(amount_minor, currency)
