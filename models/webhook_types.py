"""The catalogue of outgoing webhooks: every type, when it is sent, what its data hold; OpenAPI's `webhooks`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_INVOICE: Final = {
    "invoiceId": "inv_01jz0z59kgf3qsr6sa7n75yr3h",
    "invoice_id": "inv_01jz0z59kgf3qsr6sa7n75yr3h",
    "amount": 120,
    "amount_cents": "12000",
    "currency": "usd",
    "customer_id": "cust_acme",
    "subscription_id": "sub_01jz0z59kgf3qsr6sa7n75yr3h",
    "status": "issued",
}
_NUMBER: Final = {"invoice_number": "INV-20260501-0001"}
_PAYMENT: Final = {**_INVOICE, "payment_id": "pay_01jz0z59kgf3qsr6sa7n75yr3h"}
_SUBSCRIPTION: Final = {
    "subscription_id": "sub_01jz0z59kgf3qsr6sa7n75yr3h",
    "status": "active",
    "at": "2026-05-01T00:00:00+00:00",
}
_CREDITS: Final = {
    "wallet_id": "wal_01jz0z59kgf3qsr6sa7n75yr3h",
    "reason": "granted",
    "transaction_id": "wtx_01jz0z59kgf3qsr6sa7n75yr3h",
    "credits": "50",
    "amount_cents": "5000",
    "currency": "usd",
    "invoice_id": None,
}
_ALERT: Final = {
    "alert_id": "0197c1f2-a4d8-7c2f-9c1b-2a3d4e5f6071",
    "trigger_id": "0197c1f2-b1aa-7c2f-9c1b-2a3d4e5f6071",
    "name": "API calls",
    "kind": "usage",
    "subscription_id": "sub_01jz0z59kgf3qsr6sa7n75yr3h",
    "metric_code": "api_calls",
    "current_usage": "10250",
    "threshold_value": "10000",
    "level": 100,
    "level_value": "10000",
    "recurring": False,
    "triggered_at": "2026-05-12T09:30:00Z",
    "billing_period_start": "2026-05-01T00:00:00Z",
}
_THRESHOLD: Final = {
    "threshold_id": "0197c1f2-a4d8-7c2f-9c1b-2a3d4e5f6071",
    "threshold_display_name": "First 100",
    "subscription_id": "sub_01jz0z59kgf3qsr6sa7n75yr3h",
    "amount_cents": "10000",
    "current_usage_amount_cents": "10250",
    "currency": "usd",
    "recurring": False,
    "invoice_id": "inv_01jz0z59kgf3qsr6sa7n75yr3h",
    "reached_at": "2026-05-12T09:30:00Z",
    "billing_period_start": "2026-05-01T00:00:00Z",
}
_UUID: Final = "0197c1f2-a4d8-7c2f-9c1b-2a3d4e5f6071"
_DISABLED: Final = {
    "webhook_endpoint_id": _UUID,
    "url": "https://acme.io/hooks",
    "status": "disabled",
    "reason": "it has accepted nothing since 2026-05-01T00:00:00Z; the last attempt: answered 500",
    "failing_since": "2026-05-01T00:00:00Z",
}


def _changed(resource: str, shown: str, *fields: str) -> dict[str, Any]:
    return {f"{resource}_id": shown, "changed": list(fields)}


def _alert_changed(*fields: str) -> dict[str, Any]:
    return {"alert_id": _ALERT["alert_id"], "changed": list(fields)}


def _threshold_changed() -> dict[str, Any]:
    return {"threshold_id": _THRESHOLD["threshold_id"], "changed": []}


@dataclass(frozen=True)
class EventType:
    """One type of webhook: when it is sent, and an example of its data."""

    name: str
    when: str
    data: Mapping[str, Any]


EVENT_TYPES: Final = (
    EventType("invoice.created", "An invoice was made, as a draft or issued at once.", {**_INVOICE, **_NUMBER}),
    EventType("invoice.issued", "It got its number and cannot be changed any more.", {**_INVOICE, **_NUMBER}),
    EventType(
        "invoice.paid",
        "A charge succeeded, it was marked paid, or nothing was due.",
        {**_INVOICE, **_NUMBER, "status": "paid"},
    ),
    EventType(
        "invoice.failed",
        "A charge was declined; it may be tried again.",
        {**_INVOICE, **_NUMBER, "failure_code": "card_declined", "failure_message": "The card was declined."},
    ),
    EventType(
        "invoice.action_required",
        "A charge waits for the customer to confirm it.",
        {**_INVOICE, **_NUMBER, "reason": "The bank asks for a confirmation."},
    ),
    EventType("invoice.voided", "It bills nothing any more.", {**_INVOICE, **_NUMBER, "status": "voided"}),
    EventType(
        "invoice.updated",
        "A due date moved, or a draft's line has other words; `changed` names the fields.",
        {**_INVOICE, "invoice_number": None, "changed": ["due_date"]},
    ),
    EventType("invoice.deleted", "A draft is gone.", {**_INVOICE, "invoice_number": None, "status": "deleted"}),
    EventType("payment.created", "A payment outside Durabill is waited for.", {**_PAYMENT, "status": "created"}),
    EventType("payment.succeeded", "It came.", {**_PAYMENT, "status": "succeeded"}),
    EventType("payment.failed", "It will not come.", {**_PAYMENT, "status": "failed"}),
    EventType("payment.retried", "It is waited for again.", {**_PAYMENT, "status": "retried"}),
    EventType("payment.deleted", "It is waited for no more.", {**_PAYMENT, "status": "deleted"}),
    EventType("payment.refunded", "It was given back, in part or in full.", {**_PAYMENT, "status": "refunded"}),
    EventType(
        "payment.unapplied",
        "A charge succeeded after its invoice had been settled otherwise: give it back.",
        {**_PAYMENT, "status": "paid", "unapplied_amount_cents": "12000"},
    ),
    EventType("subscription.created", "It was made.", _changed("subscription", _SUBSCRIPTION["subscription_id"])),
    EventType(
        "subscription.updated",
        "Its name, metadata or terms changed.",
        _changed("subscription", _SUBSCRIPTION["subscription_id"], "name"),
    ),
    EventType("subscription.started", "It became active.", _SUBSCRIPTION),
    EventType("subscription.trial_ended", "Its trial is over.", _SUBSCRIPTION),
    EventType("subscription.paused", "It is paused: usage is kept, nothing is billed.", _SUBSCRIPTION),
    EventType("subscription.resumed", "It is active again.", _SUBSCRIPTION),
    EventType(
        "subscription.suspended",
        "Its service is withheld: somebody asked for it, or every payment attempt of an invoice failed.",
        {
            **_SUBSCRIPTION,
            "status": "suspended",
            "reason": "Every scheduled payment attempt failed for INV-20260501-0001.",
        },
    ),
    EventType("subscription.reinstated", "Its service is given back.", _SUBSCRIPTION),
    EventType(
        "subscription.plan_change_scheduled",
        "Another plan version follows with the next period.",
        {**_SUBSCRIPTION, "requested_plan_version": 2},
    ),
    EventType("subscription.plan_changed", "It is on another plan version.", {**_SUBSCRIPTION, "plan_version": 2}),
    EventType(
        "subscription.cancel_scheduled",
        "It ends with its period.",
        {**_SUBSCRIPTION, "cancel_at": "2026-06-01T00:00:00+00:00"},
    ),
    EventType("subscription.canceled", "It ended with its period.", {**_SUBSCRIPTION, "status": "canceled"}),
    EventType("subscription.terminated", "It ended at once.", {**_SUBSCRIPTION, "status": "terminated"}),
    EventType(
        "subscription.needs_attention",
        "A step of its billing could not be done and was set aside.",
        {**_SUBSCRIPTION, "needs_attention": "ValueError: the plan has no price in usd"},
    ),
    EventType(
        "subscription.attention_resolved", "What was set aside was taken up again, or skipped by hand.", _SUBSCRIPTION
    ),
    EventType("usage_alert.created", "Something is watched.", _alert_changed()),
    EventType("usage_alert.updated", "Its threshold, levels, name or recurrence changed.", _alert_changed("name")),
    EventType("usage_alert.deleted", "It never fires again.", _alert_changed()),
    EventType("usage_alert.triggered", "Usage, spend or a balance reached the line of an alert.", _ALERT),
    EventType("usage_threshold.created", "Reaching it will make an invoice.", _threshold_changed()),
    EventType("usage_threshold.deleted", "It makes no more invoices.", _threshold_changed()),
    EventType("usage_threshold.reached", "Spending reached a threshold; an invoice follows at once.", _THRESHOLD),
    EventType("usage_limit.created", "A cap holds for a subscription.", _changed("usage_limit", "lim_01jz")),
    EventType("usage_limit.updated", "It has another cap.", _changed("usage_limit", "lim_01jz", "cap")),
    EventType("usage_limit.deleted", "It is lifted.", _changed("usage_limit", "lim_01jz")),
    EventType("wallet.created", "It was made.", _changed("wallet", "wal_01jz")),
    EventType("wallet.updated", "Its name, priority or expiry changed.", _changed("wallet", "wal_01jz", "name")),
    EventType("wallet.terminated", "It is closed.", _changed("wallet", "wal_01jz", "status")),
    EventType("wallet.credited", "Credits went into it; `reason` says why.", _CREDITS),
    EventType("wallet.debited", "Credits went out of it; `reason` says why.", {**_CREDITS, "reason": "invoiced"}),
    EventType("customer.created", "Somebody new is billed.", _changed("customer", "cus_01jz")),
    EventType("customer.updated", "`changed` names the fields.", _changed("customer", "cus_01jz", "email")),
    EventType("customer.deleted", "It is gone.", _changed("customer", "cus_01jz")),
    EventType("metric.created", "It can be measured.", _changed("metric", "met_01jz")),
    EventType("metric.updated", "`changed` names the fields, or `filters`.", _changed("metric", "met_01jz", "name")),
    EventType("metric.deleted", "It is measured no more.", _changed("metric", "met_01jz")),
    EventType("product.created", "Plans can belong to it.", _changed("product", "prod_01jz")),
    EventType("feature.created", "Plans can grant it.", _changed("feature", "feat_01jz")),
    EventType("feature.updated", "`changed` names the fields.", _changed("feature", "feat_01jz", "name")),
    EventType("feature.deleted", "It is gone.", _changed("feature", "feat_01jz")),
    EventType("entitlement.created", "A plan grants a feature.", _changed("entitlement", "entl_01jz")),
    EventType("entitlement.updated", "It has another value.", _changed("entitlement", "entl_01jz", "value")),
    EventType("entitlement.deleted", "A plan grants a feature no more.", _changed("entitlement", "entl_01jz")),
    EventType("plan.created", "It can be subscribed to.", _changed("plan", "plan_01jz")),
    EventType("plan.updated", "It has another name, or a new version.", _changed("plan", "plan_01jz", "version")),
    EventType("plan.deleted", "Nobody can subscribe to it any more.", _changed("plan", "plan_01jz")),
    EventType("payment_method.created", "A way to pay was saved.", _changed("payment_method", "pm_01jz")),
    EventType(
        "payment_method.updated", "It became the default one.", _changed("payment_method", "pm_01jz", "is_default")
    ),
    EventType("payment_method.deleted", "A way to pay was removed.", _changed("payment_method", "pm_01jz")),
    EventType("applied_coupon.created", "A coupon was applied to a customer.", _changed("applied_coupon", "acpn_01jz")),
    EventType("applied_coupon.deleted", "It was taken away.", _changed("applied_coupon", "acpn_01jz")),
    EventType("coupon.created", "It can be applied.", _changed("coupon", "cpn_01jz")),
    EventType(
        "coupon.updated", "`changed` names the fields; it may have ended.", _changed("coupon", "cpn_01jz", "status")
    ),
    EventType("add_on.created", "It can be applied.", _changed("add_on", "aon_01jz")),
    EventType("add_on.updated", "`changed` names the fields.", _changed("add_on", "aon_01jz", "name")),
    EventType("add_on.deleted", "It cannot be applied any more.", _changed("add_on", "aon_01jz")),
    EventType(
        "applied_add_on.created", "An add-on was applied to a customer.", _changed("applied_add_on", "aaon_01jz")
    ),
    EventType("billing_entity.created", "It can issue invoices.", _changed("billing_entity", "be_01jz")),
    EventType("billing_entity.updated", "`changed` names the fields.", _changed("billing_entity", "be_01jz", "name")),
    EventType("billing_entity.deleted", "It issues no more invoices.", _changed("billing_entity", "be_01jz")),
    EventType("integration.created", "It was set up.", _changed("integration", _UUID)),
    EventType("integration.updated", "It, or what it maps, changed.", _changed("integration", _UUID, "mappings")),
    EventType("integration.deleted", "It is gone.", _changed("integration", _UUID)),
    EventType("event.amended", "A counted event has another value.", _changed("event", "evt_01jz", "value")),
    EventType("event.voided", "It counts no more.", _changed("event", "evt_01jz", "status")),
    EventType("event.reprocessed", "One that was skipped counts.", _changed("event", "evt_01jz", "status")),
    EventType(
        "event_backfill.completed", "The events of a window were replaced.", _changed("event_backfill", "bkf_01jz")
    ),
    EventType(
        "event_reprocessing.started", "Skipped events are looked at again.", _changed("event_reprocessing", "rep_01jz")
    ),
    EventType("test_clock.created", "A time that waits to be advanced.", _changed("test_clock", "clock_01jz")),
    EventType("test_clock.advanced", "It is later there.", _changed("test_clock", "clock_01jz", "frozen_time")),
    EventType("test_clock.deleted", "It is gone with what lived in it.", _changed("test_clock", "clock_01jz")),
    EventType("webhook_endpoint.disabled", "An endpoint that accepted nothing for days was given up.", _DISABLED),
)

TYPE_NAMES: Final = tuple(kind.name for kind in EVENT_TYPES)

_HEADERS: Final = {
    "webhook-id": "What `id` says: the same on every attempt and at every endpoint.",
    "webhook-timestamp": "Of this attempt, in seconds since 1970.",
    "webhook-signature": "One or more `v1,` signatures, as the Standard Webhooks specification says.",
}


def openapi_webhooks() -> dict[str, Any]:
    """Give the `webhooks` of the OpenAPI document: one operation for each type."""
    return {kind.name: {"post": _operation(kind)} for kind in EVENT_TYPES}


def _operation(kind: EventType) -> dict[str, Any]:
    data = {
        "type": "object",
        "properties": {name: _schema(value) for name, value in kind.data.items()},
        "required": sorted(kind.data),
    }
    schema = {
        "type": "object",
        "required": ["id", "type", "created_at", "sequence", "data"],
        "properties": {
            "id": {"type": "string", "description": "Keep it: a message may come twice."},
            "type": {"const": kind.name},
            "created_at": {"type": "string", "format": "date-time", "description": "In the subscription's time."},
            "sequence": {"type": "integer", "minimum": 1, "description": "Counts the messages about one resource."},
            "data": data,
        },
    }
    example = {
        "id": "msg_0197c1f2a4d87c2f9c1b2a3d4e5f6071",
        "type": kind.name,
        "created_at": "2026-05-01T00:00:00Z",
        "sequence": 1,
        "data": dict(kind.data),
    }
    return {
        "operationId": f"webhook_{kind.name.replace('.', '_')}",
        "tags": ["Webhooks"],
        "summary": kind.name,
        "description": kind.when,
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": told}
            for name, told in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}},
        "responses": {"2XX": {"description": "Accepted; anything else is tried again for about three days."}},
    }


def _schema(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "number"}
        case list():
            return {"type": "array", "items": {"type": "string"}}
    return {"type": ["string", "null"]}
