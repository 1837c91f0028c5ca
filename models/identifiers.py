"""Ids as they are stored, shown and used at Temporal and at payment providers.

A row's primary key is a UUID version 7 (sortable by creation). The id that the API shows is a prefix and the
same 128 bits in 26 lower-case Crockford characters, so that showing and resolving need no extra column.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import uuid_utils
from temporalio.common import SearchAttributeKey
from ulid import ULID

PREFIXES: Final = {
    "metric": "met",
    "metric_filter": "mflt",
    "product": "prod",
    "plan": "plan",
    "charge": "chg",
    "feature": "feat",
    "entitlement": "entl",
    "billing_entity": "be",
    "coupon": "cpn",
    "applied_coupon": "acpn",
    "add_on": "aon",
    "applied_add_on": "aaon",
    "customer": "cus",
    "subscription": "sub",
    "event": "evt",
    "correction": "corr",
    "backfill": "bkf",
    "reprocessing": "rep",
    "usage_check": "chk",
    "invoice": "inv",
    "invoice_line": "line",
    "payment": "pay",
    "payment_method": "pm",
    "wallet": "wal",
    "wallet_transaction": "wtx",
    "test_clock": "clock",
    "usage_limit": "lim",
    "reservation": "resv",
    "audit": "log",
}


def new_id() -> UUID:
    """Make a UUID version 7: unique, and later ones sort after earlier ones."""
    return UUID(int=uuid_utils.uuid7().int)


def shown_id(kind: str, value: UUID) -> str:
    """Show a row's uuid as its kind's prefix and 26 Crockford characters (conflicts C4)."""
    return f"{PREFIXES[kind]}_{str(ULID.from_uuid(value)).lower()}"


def shown_customer_id(customer_id: UUID, code: str, *, chosen: bool) -> str:
    """Show a customer by the client's own id if it chose one, else by ours (conflicts C4)."""
    return code if chosen else shown_id("customer", customer_id)


def parse_id(text: str) -> UUID | None:
    """Read a shown id or a plain UUID back; None if the text is neither (it may be a client's own code)."""
    try:
        return UUID(text)
    except ValueError:
        pass
    _, _, tail = text.rpartition("_")
    if len(tail) != 26:
        return None
    try:
        return ULID.from_str(tail.upper()).to_uuid()
    except ValueError:
        return None


def subscription_workflow_id(project_id: UUID, subscription_id: UUID) -> str:
    """Name the one workflow of a subscription."""
    return f"subscription/{project_id}/{subscription_id}"


def invoice_workflow_id(invoice_id: UUID) -> str:
    """Name the workflow of an invoice that has no subscription."""
    return f"invoice/{invoice_id}"


def webhook_workflow_id(delivery_id: UUID) -> str:
    """Name the workflow that tries a webhook again."""
    return f"webhook/{delivery_id}"


def after_end_workflow_id(project_id: UUID, subscription_id: UUID) -> str:
    """Name the workflow that bills what changed after a subscription's end."""
    return f"after-end/{project_id}/{subscription_id}"


def reprocess_workflow_id(project_id: UUID, reprocessing_id: UUID) -> str:
    """Name the workflow that counts the skipped events of a window."""
    return f"reprocess/{project_id}/{reprocessing_id}"


def period_billing_key(subscription_id: UUID, period_start: datetime) -> str:
    """Name the one automatic invoice of a period (C8); a re-run finds it instead of making another."""
    return f"{subscription_id}:{period_start.isoformat()}:period"


def request_billing_key(subscription_id: UUID, request_id: str) -> str:
    """Name the invoice that one command asked for; repeating the command finds it."""
    return f"{subscription_id}:{request_id}:request"


def payment_key(invoice_id: UUID, attempt_no: int) -> str:
    """Name a payment attempt at the provider: a business fact, never a run id (C7)."""
    return f"{invoice_id}:{attempt_no}"


SUBSCRIPTION_WORKFLOW: Final = "SubscriptionWorkflow"
INVOICE_WORKFLOW: Final = "InvoiceWorkflow"
AFTER_END_WORKFLOW: Final = "AfterEndWorkflow"
CHECK_USAGE_WORKFLOW: Final = "CheckUsageWorkflow"
REPROCESS_WORKFLOW: Final = "ReprocessEventsWorkflow"
DEFAULT_TASK_QUEUE: Final = "durabill"
WEBHOOK_WORKFLOW: Final = "WebhookDeliveryWorkflow"

PROJECT: Final = SearchAttributeKey.for_keyword("DurabillProject")
CUSTOMER: Final = SearchAttributeKey.for_keyword("DurabillCustomer")
PLAN: Final = SearchAttributeKey.for_keyword("DurabillPlan")
STATE: Final = SearchAttributeKey.for_keyword("DurabillState")
PERIOD_END: Final = SearchAttributeKey.for_datetime("DurabillPeriodEnd")
NEEDS_ATTENTION: Final = SearchAttributeKey.for_bool("DurabillNeedsAttention")
SEARCH_ATTRIBUTES: Final = (PROJECT, CUSTOMER, PLAN, STATE, PERIOD_END, NEEDS_ATTENTION)
