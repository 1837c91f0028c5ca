"""What a key may do: scopes such as `invoices:read`, of which every route needs one (least privilege)."""

from collections.abc import Sequence
from typing import Final

AREAS: Final = frozenset(
    {
        "activity",
        "add_ons",
        "api_keys",
        "audit_logs",
        "billing_entities",
        "corrections",
        "coupons",
        "customers",
        "entitlements",
        "events",
        "features",
        "fees",
        "integrations",
        "invoices",
        "limits",
        "members",
        "metrics",
        "notifications",
        "organizations",
        "payment_methods",
        "payment_providers",
        "payments",
        "plans",
        "portal",
        "products",
        "projects",
        "subscriptions",
        "test_clocks",
        "thresholds",
        "usage",
        "usage_alerts",
        "wallets",
        "webhooks",
    }
)
"""What scopes are named after; `events:write` is ingestion, `usage:read` reads events and quantities."""

EVERYTHING: Final = "*"
INGEST_SCOPES: Final = ("events:write", "usage:read")
"""What an ingest key may do."""
SCOPES: Final = frozenset({EVERYTHING, *(f"{area}:{act}" for area in AREAS for act in ("read", "write"))})

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: The areas whose own word on the API's pages is another.
_SYNONYMS: Final = {"meters": "metrics", "billable_metrics": "metrics", "price_plans": "plans"}


def area_of(tag: str) -> str:
    """Return the area of a group of routes; one outside `AREAS` is for keys with all scopes alone."""
    name = tag.lower().replace(" ", "_").replace("-", "_")
    return _SYNONYMS.get(name, name)


def needed(area: str, method: str) -> str:
    """Return the scope that a request needs."""
    return f"{area}:{'read' if method in _READING else 'write'}"


def default_scopes(kind: str) -> tuple[str, ...]:
    """Return what a key may do that was made without naming scopes."""
    return INGEST_SCOPES if kind == "ingest" else (EVERYTHING,)


def missing(held: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return the wanted scopes that are not held, sorted."""
    return [] if EVERYTHING in held else sorted(set(wanted) - set(held))
