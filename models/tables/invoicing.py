"""Invoices, their lines, their numbers, payment attempts, and the sandbox provider's own ledger."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.base import DECIMAL, INSTANT, created, metadata, partial_index, refers_to, tenant_table, unique_index

INVOICE_STATUSES = ("draft", "issued", "paid", "overdue", "failed", "voided")

invoices = tenant_table(
    "invoices",
    # WalletDraw when the invoice is finalized, in the same transaction (C8).
    Column("number", Text),
    Column("customer_id", Uuid, nullable=False),
    refers_to("customer_id", "customers"),
    Column("subscription_id", Uuid),
    refers_to("subscription_id", "subscriptions"),
    # Who issues it, and from whose series its number is drawn; NULL: the project's.
    Column("billing_entity_id", Uuid),
    refers_to("billing_entity_id", "billing_entities"),
    # period (by the timer), on_demand, final, one_off
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("currency", Text, nullable=False),
    # Half-open; NULL for a one-off
    Column("period_start", INSTANT),
    Column("period_end", INSTANT),
    Column("total_minor", BigInteger, nullable=False),
    # What the rows of settlements add up to, and the part of it that came from wallets
    Column("settled_minor", BigInteger, nullable=False, server_default=text("0")),
    Column("prepaid_minor", BigInteger, nullable=False, server_default=text("0")),
    # The business fact that this invoice answers; a re-run finds it (C8).
    Column("billing_key", Text, nullable=False),
    Column("auto_collect", Boolean, nullable=False, server_default=text("false")),
    Column("attempt_count", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", INSTANT),
    Column("needs_attention", Text),
    Column("payment_intent_id", Text),
    Column("issued_at", INSTANT),
    Column("due_at", INSTANT),
    Column("paid_at", INSTANT),
    Column("voided_at", INSTANT),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    CheckConstraint("status IN (" + ", ".join(repr(s) for s in INVOICE_STATUSES) + ")", name="status"),
    CheckConstraint("settled_minor BETWEEN 0 AND greatest(total_minor, 0)", name="settled"),
    CheckConstraint("prepaid_minor BETWEEN 0 AND settled_minor", name="prepaid"),
    # Paid exactly when nothing is left to pay (B114).
    CheckConstraint(
        "status IN ('draft', 'voided') OR (status = 'paid') = (settled_minor >= total_minor)", name="paid_when_settled"
    ),
    UniqueConstraint("project_id", "billing_key"),
    unique_index("uq_invoices_number", "project_id", "number", where="number IS NOT NULL"),
    Index("ix_invoices_customer_id", "customer_id"),
    Index("ix_invoices_subscription_id", "subscription_id", "period_start"),
    partial_index("ix_invoices_billing_entity_id", "billing_entity_id", where="billing_entity_id IS NOT NULL"),
    UniqueConstraint("project_id", "id"),
    partial_index("ix_invoices_parked", "project_id", where="needs_attention IS NOT NULL"),
)

invoice_lines = tenant_table(
    "invoice_lines",
    Column("invoice_id", Uuid, nullable=False),
    refers_to("invoice_id", "invoices"),
    Column("position", Integer, nullable=False),
    # Stable name of what is billed: "{charge}:{period start}", and of which group
    Column("reference", Text, nullable=False),
    Column("subscription_id", Uuid),
    Column("charge_id", Uuid),
    Column("metric_id", Uuid),
    # Of a charge with group_by: the property values whose events this line bills, {"region": "eu"}
    Column("group_key", JSONB),
    Column("kind", Text, nullable=False),
    Column("description", Text, nullable=False),
    # What this line bills, and the whole period's quantity when it was billed
    Column("quantity", DECIMAL, nullable=False),
    Column("total_quantity", DECIMAL, nullable=False),
    Column("unit_amount", DECIMAL),
    Column("amount_minor", BigInteger, nullable=False),
    Column("events_count", BigInteger, nullable=False, server_default=text("0")),
    # The service period, half-open
    Column("period_start", INSTANT),
    Column("period_end", INSTANT),
    Column("reason", Text, nullable=False, server_default="period"),
    # Of a voided invoice: what no later difference brings back; NULL there: it is to be billed again
    Column("forgiven_minor", BigInteger),
    # How the amount came about: the tiers with their units and prices
    Column("steps", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    UniqueConstraint("invoice_id", "position"),
    Index("ix_invoice_lines_billed", "subscription_id", "period_start"),
    # What a coupon took off, by its application
    partial_index("ix_invoice_lines_discounts", "reference", where="kind = 'discount'"),
    # What providers could not take, by customer
    partial_index("ix_invoice_lines_carried", "reference", where="kind = 'carried'"),
    has_updated=False,
)

# Billing periods whose invoice was voided to be billed again, or whose draft was deleted, until a close rates them.
reopened_periods = tenant_table(
    "reopened_periods",
    Column("subscription_id", Uuid, nullable=False),
    refers_to("subscription_id", "subscriptions"),
    Column("period_start", INSTANT, nullable=False),
    Column("plan_version_id", Uuid, nullable=False),
    refers_to("plan_version_id", "plan_versions"),
    Index(None, "subscription_id", "period_start"),
    has_updated=False,
)

invoice_counters = Table(
    "invoice_counters",
    metadata,
    Column("project_id", Uuid, primary_key=True),
    Column("next_number", BigInteger, nullable=False, server_default=text("1")),
)

ATTEMPT_STATUSES = ("pending", "succeeded", "declined", "requires_action", "unknown", "refunded")

# Every payment: attempts at a provider, which are numbered, and money that came outside Durabill, which is not.
payment_attempts = tenant_table(
    "payment_attempts",
    Column("invoice_id", Uuid, nullable=False),
    refers_to("invoice_id", "invoices"),
    Column("attempt_no", Integer),
    Column("status", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    # The saved method that is charged: the same one whenever the attempt is asked about again
    Column("method_ref", Text),
    Column("amount_minor", BigInteger, nullable=False),
    Column("refunded_minor", BigInteger, nullable=False, server_default=text("0")),
    # Money that came after the invoice was settled otherwise; refunds give it back first
    Column("unapplied_minor", BigInteger, nullable=False, server_default=text("0")),
    Column("currency", Text, nullable=False),
    Column("provider_payment_id", Text),
    Column("failure_code", Text),
    Column("failure_message", Text),
    # Of a payment that came outside: what the bank statement says, and until when it is waited for
    Column("reference", Text),
    Column("expires_at", INSTANT),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("started_at", INSTANT, nullable=False),
    Column("finished_at", INSTANT),
    CheckConstraint("status IN (" + ", ".join(repr(s) for s in ATTEMPT_STATUSES) + ")", name="status"),
    CheckConstraint("refunded_minor BETWEEN 0 AND amount_minor", name="refunded"),
    CheckConstraint("unapplied_minor BETWEEN 0 AND amount_minor - refunded_minor", name="unapplied"),
    CheckConstraint("attempt_no IS NOT NULL OR provider = 'manual'", name="numbered"),
    UniqueConstraint("invoice_id", "attempt_no"),
    UniqueConstraint("project_id", "id"),
    # An invoice is paid once, and no attempt is sent while another one's outcome is open (C7, B126).
    unique_index(
        "uq_payment_attempts_succeeded", "invoice_id", where="status = 'succeeded' AND attempt_no IS NOT NULL"
    ),
    unique_index(
        "uq_payment_attempts_open",
        "invoice_id",
        where="status IN ('pending', 'unknown', 'requires_action') AND attempt_no IS NOT NULL",
    ),
)

# What the sandbox provider remembers, as a remote provider would: written in its own transaction.
sandbox_charges = Table(
    "sandbox_charges",
    metadata,
    Column("idempotency_key", Text, primary_key=True),
    Column("payment_intent_id", Text, nullable=False),
    Column("customer_ref", Text),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("failure_code", Text),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    created(),
)
