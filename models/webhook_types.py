"""The catalogue of outgoing webhooks: every type, when it is sent, what its data hold."""

from collections.abc import Mapping
from enum import StrEnum, unique
from typing import Any, Final, Self

_SUBSCRIPTION_ID: Final = "sub_01jz0z59kgf3qsr6sa7n75yr3h"
_INVOICE: Final[Mapping[str, Any]] = {
    "invoiceId": "inv_01jz0z59kgf3qsr6sa7n75yr3h",
    "invoice_id": "inv_01jz0z59kgf3qsr6sa7n75yr3h",
    "amount": 120,
    "amount_cents": "12000",
    "currency": "usd",
    "customer_id": "cust_acme",
    "subscription_id": _SUBSCRIPTION_ID,
    "status": "issued",
}
_NUMBER: Final[Mapping[str, Any]] = {"invoice_number": "INV-20260501-0001"}
_PAYMENT: Final[Mapping[str, Any]] = {**_INVOICE, "payment_id": "pay_01jz0z59kgf3qsr6sa7n75yr3h"}
_SUBSCRIPTION: Final[Mapping[str, Any]] = {
    "subscription_id": _SUBSCRIPTION_ID,
    "status": "active",
    "at": "2026-05-01T00:00:00+00:00",
}
_CREDITS: Final[Mapping[str, Any]] = {
    "wallet_id": "wal_01jz0z59kgf3qsr6sa7n75yr3h",
    "reason": "granted",
    "transaction_id": "wtx_01jz0z59kgf3qsr6sa7n75yr3h",
    "credits": "50",
    "amount_cents": "5000",
    "currency": "usd",
    "invoice_id": None,
}
_ALERT: Final[Mapping[str, Any]] = {
    "alert_id": "0197c1f2-a4d8-7c2f-9c1b-2a3d4e5f6071",
    "trigger_id": "0197c1f2-b1aa-7c2f-9c1b-2a3d4e5f6071",
    "name": "API calls",
    "kind": "usage",
    "subscription_id": _SUBSCRIPTION_ID,
    "metric_code": "api_calls",
    "current_usage": "10250",
    "threshold_value": "10000",
    "level": 100,
    "level_value": "10000",
    "recurring": False,
    "triggered_at": "2026-05-12T09:30:00Z",
    "billing_period_start": "2026-05-01T00:00:00Z",
}
_THRESHOLD: Final[Mapping[str, Any]] = {
    "threshold_id": "0197c1f2-a4d8-7c2f-9c1b-2a3d4e5f6071",
    "threshold_display_name": "First 100",
    "subscription_id": _SUBSCRIPTION_ID,
    "amount_cents": "10000",
    "current_usage_amount_cents": "10250",
    "currency": "usd",
    "recurring": False,
    "invoice_id": "inv_01jz0z59kgf3qsr6sa7n75yr3h",
    "reached_at": "2026-05-12T09:30:00Z",
    "billing_period_start": "2026-05-01T00:00:00Z",
}
_UUID: Final = "0197c1f2-a4d8-7c2f-9c1b-2a3d4e5f6071"
_DISABLED: Final[Mapping[str, Any]] = {
    "webhook_endpoint_id": _UUID,
    "url": "https://acme.io/hooks",
    "status": "disabled",
    "reason": "it has accepted nothing since 2026-05-01T00:00:00Z; the last attempt: answered 500",
    "failing_since": "2026-05-01T00:00:00Z",
}


def _alert_changed(*fields: str) -> dict[str, Any]:
    return {"alert_id": _ALERT["alert_id"], "changed": list(fields)}


def _threshold_changed() -> dict[str, Any]:
    return {"threshold_id": _THRESHOLD["threshold_id"], "changed": []}


@unique
class WebhookType(StrEnum):
    """A type of webhook, as whoever writes one names it: when it is sent, and an example of its data."""

    when: str
    data: Mapping[str, Any]

    def __new__(cls, value: str, when: str, data: Mapping[str, Any] | str, *changed: str) -> Self:
        """Make a member whose value is the type's name on the wire.

        In place of the data, a change of a resource gives the resource's id and the names of the changed fields.
        """
        member = str.__new__(cls, value)
        member._value_ = value
        resource = value.partition(".")[0]
        member.when = when
        member.data = {f"{resource}_id": data, "changed": list(changed)} if isinstance(data, str) else data
        return member

    @classmethod
    def of(cls, resource: str, action: str) -> "WebhookType":
        """Return the type of an action on a kind of resource. Raises KeyError for one that is not in the catalogue."""
        return _BY_NAME[f"{resource}.{action}"]

    INVOICE_CREATED = "invoice.created", "An invoice was made, as a draft or issued at once.", {**_INVOICE, **_NUMBER}
    INVOICE_ISSUED = "invoice.issued", "It got its number and cannot be changed any more.", {**_INVOICE, **_NUMBER}
    INVOICE_PAID = (
        "invoice.paid",
        "A charge succeeded, it was marked paid, or nothing was due.",
        {**_INVOICE, **_NUMBER, "status": "paid"},
    )
    INVOICE_FAILED = (
        "invoice.failed",
        "A charge was declined; it may be tried again.",
        {**_INVOICE, **_NUMBER, "failure_code": "card_declined", "failure_message": "The card was declined."},
    )
    INVOICE_ACTION_REQUIRED = (
        "invoice.action_required",
        "A charge waits for the customer to confirm it.",
        {
            **_INVOICE,
            **_NUMBER,
            "reason": "The bank asks for a confirmation.",
            "action_url": "https://hooks.stripe.com/3d_secure_2/hosted?source=src_1Pabc",
        },
    )
    INVOICE_VOIDED = "invoice.voided", "It bills nothing any more.", {**_INVOICE, **_NUMBER, "status": "voided"}
    INVOICE_UPDATED = (
        "invoice.updated",
        "A due date moved, or a draft's line has other words; `changed` names the fields.",
        {**_INVOICE, "invoice_number": None, "changed": ["due_date"]},
    )
    INVOICE_DELETED = "invoice.deleted", "A draft is gone.", {**_INVOICE, "invoice_number": None, "status": "deleted"}
    PAYMENT_CREATED = "payment.created", "A payment outside Durabill is waited for.", {**_PAYMENT, "status": "created"}
    PAYMENT_SUCCEEDED = "payment.succeeded", "It came.", {**_PAYMENT, "status": "succeeded"}
    PAYMENT_FAILED = "payment.failed", "It will not come.", {**_PAYMENT, "status": "failed"}
    PAYMENT_RETRIED = "payment.retried", "It is waited for again.", {**_PAYMENT, "status": "retried"}
    PAYMENT_DELETED = "payment.deleted", "It is waited for no more.", {**_PAYMENT, "status": "deleted"}
    PAYMENT_REFUNDED = "payment.refunded", "It was given back, in part or in full.", {**_PAYMENT, "status": "refunded"}
    PAYMENT_UNAPPLIED = (
        "payment.unapplied",
        "Money came for an invoice that needed less or nothing of it by then: give it back.",
        {**_PAYMENT, "status": "paid", "unapplied_amount_cents": "12000"},
    )
    SUBSCRIPTION_CREATED = "subscription.created", "It was made.", _SUBSCRIPTION_ID
    SUBSCRIPTION_UPDATED = "subscription.updated", "Its name, metadata or terms changed.", _SUBSCRIPTION_ID, "name"
    SUBSCRIPTION_STARTED = "subscription.started", "It became active.", _SUBSCRIPTION
    SUBSCRIPTION_TRIAL_ENDED = "subscription.trial_ended", "Its trial is over.", _SUBSCRIPTION
    SUBSCRIPTION_PAUSED = "subscription.paused", "It is paused: usage is kept, nothing is billed.", _SUBSCRIPTION
    SUBSCRIPTION_RESUMED = "subscription.resumed", "It is active again.", _SUBSCRIPTION
    SUBSCRIPTION_SUSPENDED = (
        "subscription.suspended",
        "Its service is withheld: somebody asked for it, or every payment attempt of an invoice failed.",
        {
            **_SUBSCRIPTION,
            "status": "suspended",
            "reason": "Every scheduled payment attempt failed for INV-20260501-0001.",
        },
    )
    SUBSCRIPTION_REINSTATED = "subscription.reinstated", "Its service is given back.", _SUBSCRIPTION
    SUBSCRIPTION_PLAN_CHANGE_SCHEDULED = (
        "subscription.plan_change_scheduled",
        "Another plan version follows with the next period.",
        {**_SUBSCRIPTION, "requested_plan_version": 2},
    )
    SUBSCRIPTION_PLAN_CHANGED = (
        "subscription.plan_changed",
        "It is on another plan version.",
        {**_SUBSCRIPTION, "plan_version": 2},
    )
    SUBSCRIPTION_CANCEL_SCHEDULED = (
        "subscription.cancel_scheduled",
        "It ends with its period.",
        {**_SUBSCRIPTION, "cancel_at": "2026-06-01T00:00:00+00:00"},
    )
    SUBSCRIPTION_CANCELED = (
        "subscription.canceled",
        "It ended with its period.",
        {**_SUBSCRIPTION, "status": "canceled"},
    )
    SUBSCRIPTION_TERMINATED = "subscription.terminated", "It ended at once.", {**_SUBSCRIPTION, "status": "terminated"}
    SUBSCRIPTION_NEEDS_ATTENTION = (
        "subscription.needs_attention",
        "A step of its billing could not be done and was set aside.",
        {**_SUBSCRIPTION, "needs_attention": "ValueError: the plan has no price in usd"},
    )
    SUBSCRIPTION_ATTENTION_RESOLVED = (
        "subscription.attention_resolved",
        "What was set aside was taken up again, or skipped by hand.",
        _SUBSCRIPTION,
    )
    USAGE_ALERT_CREATED = "usage_alert.created", "Something is watched.", _alert_changed()
    USAGE_ALERT_UPDATED = (
        "usage_alert.updated",
        "Its threshold, levels, name or recurrence changed.",
        _alert_changed("name"),
    )
    USAGE_ALERT_DELETED = "usage_alert.deleted", "It never fires again.", _alert_changed()
    USAGE_ALERT_TRIGGERED = "usage_alert.triggered", "Usage, spend or a balance reached the line of an alert.", _ALERT
    USAGE_THRESHOLD_CREATED = "usage_threshold.created", "Reaching it will make an invoice.", _threshold_changed()
    USAGE_THRESHOLD_DELETED = "usage_threshold.deleted", "It makes no more invoices.", _threshold_changed()
    USAGE_THRESHOLD_REACHED = (
        "usage_threshold.reached",
        "Spending reached a threshold; an invoice follows at once.",
        _THRESHOLD,
    )
    USAGE_LIMIT_CREATED = "usage_limit.created", "A cap holds for a subscription.", "lim_01jz"
    USAGE_LIMIT_UPDATED = "usage_limit.updated", "It has another cap.", "lim_01jz", "cap"
    USAGE_LIMIT_DELETED = "usage_limit.deleted", "It is lifted.", "lim_01jz"
    WALLET_CREATED = "wallet.created", "It was made.", "wal_01jz"
    WALLET_UPDATED = "wallet.updated", "Its name, priority or expiry changed.", "wal_01jz", "name"
    WALLET_TERMINATED = "wallet.terminated", "It is closed.", "wal_01jz", "status"
    WALLET_CREDITED = "wallet.credited", "Credits went into it; `reason` says why.", _CREDITS
    WALLET_DEBITED = "wallet.debited", "Credits went out of it; `reason` says why.", {**_CREDITS, "reason": "invoiced"}
    CUSTOMER_CREATED = "customer.created", "Somebody new is billed.", "cus_01jz"
    CUSTOMER_UPDATED = "customer.updated", "`changed` names the fields.", "cus_01jz", "email"
    CUSTOMER_DELETED = "customer.deleted", "It is gone.", "cus_01jz"
    METRIC_CREATED = "metric.created", "It can be measured.", "met_01jz"
    METRIC_UPDATED = "metric.updated", "`changed` names the fields, or `filters`.", "met_01jz", "name"
    METRIC_DELETED = "metric.deleted", "It is measured no more.", "met_01jz"
    PRODUCT_CREATED = "product.created", "Plans can belong to it.", "prod_01jz"
    FEATURE_CREATED = "feature.created", "Plans can grant it.", "feat_01jz"
    FEATURE_UPDATED = "feature.updated", "`changed` names the fields.", "feat_01jz", "name"
    FEATURE_DELETED = "feature.deleted", "It is gone.", "feat_01jz"
    ENTITLEMENT_CREATED = "entitlement.created", "A plan grants a feature.", "entl_01jz"
    ENTITLEMENT_UPDATED = "entitlement.updated", "It has another value.", "entl_01jz", "value"
    ENTITLEMENT_DELETED = "entitlement.deleted", "A plan grants a feature no more.", "entl_01jz"
    PLAN_CREATED = "plan.created", "It can be subscribed to.", "plan_01jz"
    PLAN_UPDATED = "plan.updated", "It has another name, or a new version.", "plan_01jz", "version"
    PLAN_DELETED = "plan.deleted", "Nobody can subscribe to it any more.", "plan_01jz"
    PAYMENT_METHOD_CREATED = "payment_method.created", "A way to pay was saved.", "pm_01jz"
    PAYMENT_METHOD_UPDATED = "payment_method.updated", "It became the default one.", "pm_01jz", "is_default"
    PAYMENT_METHOD_DELETED = "payment_method.deleted", "A way to pay was removed.", "pm_01jz"
    APPLIED_COUPON_CREATED = "applied_coupon.created", "A coupon was applied to a customer.", "acpn_01jz"
    APPLIED_COUPON_DELETED = "applied_coupon.deleted", "It was taken away.", "acpn_01jz"
    COUPON_CREATED = "coupon.created", "It can be applied.", "cpn_01jz"
    COUPON_UPDATED = "coupon.updated", "`changed` names the fields; it may have ended.", "cpn_01jz", "status"
    ADD_ON_CREATED = "add_on.created", "It can be applied.", "aon_01jz"
    ADD_ON_UPDATED = "add_on.updated", "`changed` names the fields.", "aon_01jz", "name"
    ADD_ON_DELETED = "add_on.deleted", "It cannot be applied any more.", "aon_01jz"
    APPLIED_ADD_ON_CREATED = "applied_add_on.created", "An add-on was applied to a customer.", "aaon_01jz"
    BILLING_ENTITY_CREATED = "billing_entity.created", "It can issue invoices.", "be_01jz"
    BILLING_ENTITY_UPDATED = "billing_entity.updated", "`changed` names the fields.", "be_01jz", "name"
    BILLING_ENTITY_DELETED = "billing_entity.deleted", "It issues no more invoices.", "be_01jz"
    INTEGRATION_CREATED = "integration.created", "It was set up.", _UUID
    INTEGRATION_UPDATED = "integration.updated", "It, or what it maps, changed.", _UUID, "mappings"
    INTEGRATION_DELETED = "integration.deleted", "It is gone.", _UUID
    EVENT_AMENDED = "event.amended", "A counted event has another value.", "evt_01jz", "value"
    EVENT_VOIDED = "event.voided", "It counts no more.", "evt_01jz", "status"
    EVENT_REPROCESSED = "event.reprocessed", "One that was skipped counts.", "evt_01jz", "status"
    EVENT_BACKFILL_COMPLETED = "event_backfill.completed", "The events of a window were replaced.", "bkf_01jz"
    EVENT_REPROCESSING_STARTED = "event_reprocessing.started", "Skipped events are being counted again.", "rep_01jz"
    TEST_CLOCK_CREATED = "test_clock.created", "A time that waits to be advanced.", "clock_01jz"
    TEST_CLOCK_ADVANCED = "test_clock.advanced", "It is later there.", "clock_01jz", "frozen_time"
    TEST_CLOCK_DELETED = "test_clock.deleted", "It is gone, and what followed it has ended.", "clock_01jz"
    WEBHOOK_ENDPOINT_DISABLED = (
        "webhook_endpoint.disabled",
        "An endpoint that accepted nothing for days was given up.",
        _DISABLED,
    )


_BY_NAME: Final = {kind.value: kind for kind in WebhookType}
TYPE_NAMES: Final = tuple(_BY_NAME)
