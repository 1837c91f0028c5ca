"""Changes of resources that are told as webhooks: whatever the audit log says about them, receivers learn too."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from adapters.postgres.rows import Columns
from models.identifiers import PREFIXES, shown_id
from models.webhook_types import WebhookType


def _told(*actions: str, **otherwise: str) -> dict[str, str]:
    return {action: action for action in actions} | otherwise


#: By kind of resource: the actions of the audit log that are told, and what as: `{kind}.{...}`. What happens to
#: invoices, payments, credits in wallets, alerts and the life of subscriptions is told where it happens, with what
#: belongs to it. Organizations, their projects, members and keys belong to no one project, and endpoints do.
TOLD: Final[Mapping[str, Mapping[str, str]]] = {
    "customer": _told("created", "updated", "deleted"),
    "subscription": _told("created", "updated"),
    "metric": _told(
        "created",
        "updated",
        "deleted",
        filter_created="updated",
        filter_updated="updated",
        filter_deleted="updated",
    ),
    "product": _told("created"),
    "plan": _told("created", "updated", "deleted"),
    "feature": _told("created", "updated", "deleted"),
    "entitlement": _told("created", "updated", "deleted"),
    "wallet": _told("created", "updated", "terminated"),
    "payment_method": _told("created", "deleted", default_set="updated"),
    "applied_coupon": _told("created", terminated="deleted"),
    "coupon": _told("created", "updated"),
    "add_on": _told("created", "updated", "deleted"),
    "applied_add_on": _told("created"),
    "billing_entity": _told("created", "updated", "deleted"),
    "integration": _told("created", "updated", "deleted", mapped="updated"),
    "event": _told("amended", "voided", "reprocessed"),
    "event_backfill": _told(backfilled="completed"),
    "event_reprocessing": _told("started"),
    "test_clock": _told("created", "advanced", "deleted"),
    "usage_alert": _told("created", "updated", "deleted"),
    "usage_threshold": _told("created", "deleted"),
    "usage_limit": _told("created", "updated", "deleted"),
}
#: What changed where the action alone says it.
_CHANGED: Final = {
    "filter_created": ("filters",),
    "filter_updated": ("filters",),
    "filter_deleted": ("filters",),
    "default_set": ("is_default",),
    "mapped": ("mappings",),
}
#: What ids look like where the kind is called otherwise.
_SHOWN: Final = {"event_backfill": "backfill", "event_reprocessing": "reprocessing"}
#: What the id is called where it is not `{kind}_id`, as in the other messages about these.
_ID_OF: Final = {"usage_alert": "alert_id", "usage_threshold": "threshold_id"}
#: Where messages about a resource have an order already.
_ORDERS: Final = {
    "subscription": "subscription:{}",
    "usage_alert": "usage_alert:{}",
    "usage_threshold": "usage_threshold:{}",
    "wallet": "webhook/wallet/{}",
}


@dataclass(frozen=True)
class ChangeWebhook:
    """The webhook of a change: its type, its data and the key of its order."""

    kind: WebhookType
    data: dict[str, Any]
    ordering_key: str


def of_change(resource_type: str, resource_id: UUID, action: str, changes: Columns | None) -> ChangeWebhook | None:
    """Return the webhook of a change, None if it has none; the data names changed fields, never their values."""
    told = TOLD.get(resource_type, {}).get(action)
    if told is None:
        return None
    kind = _SHOWN.get(resource_type, resource_type)
    data = {
        _ID_OF.get(resource_type, f"{resource_type}_id"): shown_id(kind, resource_id)
        if kind in PREFIXES
        else str(resource_id),
        "changed": sorted(_CHANGED.get(action) or changes or ()),
    }
    ordering_key = _ORDERS.get(resource_type, f"webhook/{resource_type}/{{}}").format(resource_id)
    return ChangeWebhook(WebhookType.of(resource_type, told), data, ordering_key)
