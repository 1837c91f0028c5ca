"""Changes of resources that are told as webhooks: whatever the audit log says about them, receivers learn too."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import outbox_store
from models.identifiers import PREFIXES, shown_id

#: By kind of resource: the actions that are told as `{kind}.{action}`. What happens to invoices, payments, credits in
#: wallets, alerts and the life of subscriptions is told where it happens, with what belongs to it.
TOLD: Final[Mapping[str, frozenset[str]]] = {
    "customer": frozenset({"created", "updated", "deleted"}),
    "subscription": frozenset({"created", "updated"}),
    "plan": frozenset({"created", "updated", "deleted"}),
    "wallet": frozenset({"created", "updated", "terminated"}),
    "payment_method": frozenset({"created", "deleted"}),
    "applied_coupon": frozenset({"created", "deleted"}),
    "coupon": frozenset({"created", "updated"}),
    "add_on": frozenset({"created", "updated", "deleted"}),
    "usage_alert": frozenset({"created", "updated", "deleted"}),
    "usage_threshold": frozenset({"created", "deleted"}),
    "usage_limit": frozenset({"created", "updated", "deleted"}),
}
#: What the id is called where it is not `{kind}_id`, as in the other messages about these.
_ID_OF: Final = {"usage_alert": "alert_id", "usage_threshold": "threshold_id"}
#: Where messages about a resource have an order already.
_ORDERS: Final = {"subscription": "subscription:{}", "usage_alert": "usage_alert:{}", "wallet": "webhook/wallet/{}"}


async def announce(
    connection: AsyncConnection,
    project_id: UUID,
    *,
    resource_type: str,
    resource_id: UUID,
    action: str,
    changes: Mapping[str, Any] | None,
    occurred_at: datetime | None,
) -> None:
    """Write the webhook of a change, if it is one that is told; values stay out of it, the names of fields do not."""
    if action not in TOLD.get(resource_type, ()):
        return
    known = resource_type in PREFIXES
    data = {
        _ID_OF.get(resource_type, f"{resource_type}_id"): shown_id(resource_type, resource_id)
        if known
        else str(resource_id),
        "changed": sorted(changes or ()),
    }
    moment = {} if occurred_at is None else {"created_at": occurred_at.isoformat().replace("+00:00", "Z")}
    await outbox_store.enqueue(
        connection,
        project_id=project_id,
        topic=outbox_store.WEBHOOK,
        ordering_key=_ORDERS.get(resource_type, f"webhook/{resource_type}/{{}}").format(resource_id),
        payload={"type": f"{resource_type}.{action}", **moment, "data": data},
    )
