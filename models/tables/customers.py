"""Customers, subscriptions and test clocks."""

from sqlalchemy import Boolean, CheckConstraint, Column, Index, Integer, Text, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.base import INSTANT, partial_index, refers_to, tenant_table, unique_index

test_clocks = tenant_table(
    "test_clocks",
    Column("name", Text),
    Column("frozen_time", INSTANT, nullable=False),
    # Where an advance is going; NULL when the clock is ready.
    Column("target_time", INSTANT),
    Column("status", Text, nullable=False, server_default="ready"),
    Column("failure", Text),
    Column("deleted_at", INSTANT),
    CheckConstraint("status IN ('ready', 'advancing', 'failed')", name="status"),
    Index("ix_test_clocks_project_id", "project_id"),
    UniqueConstraint("project_id", "id"),
)

customers = tenant_table(
    "customers",
    # The client's own id (ABAXUS id, BoxBilling external_id); shown as the customer's id where it was chosen.
    Column("code", Text, nullable=False),
    Column("code_chosen", Boolean, nullable=False, server_default=text("true")),
    Column("name", Text),
    Column("email", Text),
    Column("currency", Text),
    Column("timezone", Text),
    Column("corporate_id", Text),
    Column("domain", Text),
    Column("payment_provider", Text),
    Column("payment_provider_customer_id", Text),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("invoice_grace_period", Integer, nullable=False, server_default=text("0")),
    Column("net_payment_term", Integer, nullable=False, server_default=text("30")),
    # Who issues the customer's invoices; NULL: the project itself.
    Column("billing_entity_id", Uuid),
    refers_to("billing_entity_id", "billing_entities"),
    Column("test_clock_id", Uuid),
    refers_to("test_clock_id", "test_clocks"),
    # The hidden customer that stands for the organization itself (conflicts C9).
    Column("is_organization", Boolean, nullable=False, server_default=text("false")),
    # Created by an event that named an unknown customer (seed 003).
    Column("created_by_usage", Boolean, nullable=False, server_default=text("false")),
    Column("deleted_at", INSTANT),
    unique_index("uq_customers_code", "project_id", "code", where="deleted_at IS NULL"),
    unique_index("uq_customers_organization", "project_id", where="is_organization"),
    partial_index("ix_customers_billing_entity_id", "billing_entity_id", where="billing_entity_id IS NOT NULL"),
    partial_index("ix_customers_test_clock_id", "test_clock_id", where="test_clock_id IS NOT NULL"),
    UniqueConstraint("project_id", "id"),
)

SUBSCRIPTION_STATUSES = ("pending", "trialing", "active", "paused", "suspended", "canceled", "terminated")

subscriptions = tenant_table(
    "subscriptions",
    Column("customer_id", Uuid, nullable=False),
    refers_to("customer_id", "customers"),
    Column("plan_id", Uuid, nullable=False),
    refers_to("plan_id", "plans"),
    Column("plan_version_id", Uuid, nullable=False),
    refers_to("plan_version_id", "plan_versions"),
    Column("plan_version", Integer, nullable=False),
    Column("previous_plan_id", Uuid),
    Column("external_id", Text),
    Column("external_reference", Text),
    Column("status", Text, nullable=False),
    # billing.period.BillingCycle; the anchor is the original start, for ever (R12).
    Column("interval", Text, nullable=False),
    Column("anchor", INSTANT, nullable=False),
    Column("timezone", Text, nullable=False, server_default="UTC"),
    Column("alignment", Text, nullable=False, server_default="anniversary"),
    Column("starts_at", INSTANT, nullable=False),
    # Forms in which the client named things, echoed (C4, C21).
    Column("starts_at_supplied", Text),
    Column("customer_supplied", Text),
    Column("plan_supplied", Text),
    # Periods that end at or before this are billed on demand only (C25, B109).
    Column("bills_automatically_from", INSTANT, nullable=False),
    Column("current_period_start", INSTANT),
    Column("current_period_end", INSTANT),
    Column("trial_period_days", Integer, nullable=False, server_default=text("0")),
    Column("trial_ends_at", INSTANT),
    Column("pay_in_advance", Boolean, nullable=False, server_default=text("false")),
    Column("on_termination_action", Text, nullable=False, server_default="generate_invoice"),
    Column("contract", JSONB),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("test_clock_id", Uuid),
    refers_to("test_clock_id", "test_clocks"),
    # How far the workflow has processed its test clock.
    Column("clock_reached_at", INSTANT),
    Column("activated_at", INSTANT),
    Column("paused_at", INSTANT),
    Column("resumed_at", INSTANT),
    Column("cancel_at", INSTANT),
    Column("canceled_at", INSTANT),
    Column("ended_at", INSTANT),
    Column("needs_attention", Text),
    # billing.subscriptions.pauses.Pause, in order; what a pause says of fees and usage holds for its time for ever.
    Column("pauses", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    # When nothing of it was due any more in its test clock, which waits for it until then.
    Column("left_clock_at", INSTANT),
    # When usage of an ended subscription was found that is not billed yet.
    Column("late_usage_at", INSTANT),
    CheckConstraint("status IN (" + ", ".join(repr(s) for s in SUBSCRIPTION_STATUSES) + ")", name="status"),
    CheckConstraint("alignment IN ('anniversary', 'calendar')", name="alignment"),
    # An id is free again when its subscription has ended.
    unique_index("uq_subscriptions_external_id", "project_id", "external_id", where="ended_at IS NULL"),
    Index(
        "ix_subscriptions_external_id", "project_id", "external_id", postgresql_where=text("external_id IS NOT NULL")
    ),
    Index("ix_subscriptions_customer_id", "customer_id", "created_at"),
    UniqueConstraint("project_id", "id"),
    partial_index("ix_subscriptions_parked", "project_id", where="needs_attention IS NOT NULL"),
    Index("ix_subscriptions_plan_version_id", "plan_version_id"),
    partial_index("ix_subscriptions_test_clock_id", "test_clock_id", where="test_clock_id IS NOT NULL"),
)
