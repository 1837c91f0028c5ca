"""Coupons, and the customers who hold them."""

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
)
from sqlalchemy import text as sql

from models.tables.base import DECIMAL, INSTANT, metadata, project, refers_to, tenant_table

_KIND = (
    "coupon_type = 'percentage' AND percentage_rate BETWEEN 0 AND 100 AND amount_cents IS NULL OR "
    "coupon_type = 'fixed_amount' AND amount_cents >= 0 AND amount_currency IS NOT NULL AND percentage_rate IS NULL"
)
_FREQUENCY = (
    "frequency IN ('once', 'forever') AND frequency_duration IS NULL OR "
    "frequency = 'recurring' AND frequency_duration > 0"
)

coupons = tenant_table(
    "coupons",
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("coupon_type", Text, nullable=False),
    # Minor units, perhaps with a fraction; percent
    Column("amount_cents", DECIMAL),
    Column("amount_currency", Text),
    Column("percentage_rate", DECIMAL),
    Column("frequency", Text, nullable=False),
    Column("frequency_duration", Integer),
    Column("reusable", Boolean, nullable=False, server_default=sql("true")),
    Column("max_redemptions", Integer),
    Column("expiration", Text, nullable=False, server_default="no_expiration"),
    Column("expiration_at", INSTANT),
    # A terminated coupon keeps its code, because invoices name it.
    Column("status", Text, nullable=False, server_default="active"),
    CheckConstraint(_KIND, name="coupon_type"),
    CheckConstraint(_FREQUENCY, name="frequency"),
    CheckConstraint("(expiration = 'time_limit') = (expiration_at IS NOT NULL)", name="expiration"),
    CheckConstraint("status IN ('active', 'terminated')", name="status"),
    UniqueConstraint("project_id", "code"),
    UniqueConstraint("project_id", "id"),
)

# A customer's coupon keeps what it was worth when it was applied.
applied_coupons = tenant_table(
    "applied_coupons",
    Column("coupon_id", Uuid, nullable=False),
    refers_to("coupon_id", "coupons"),
    Column("customer_id", Uuid, nullable=False),
    refers_to("customer_id", "customers"),
    Column("coupon_type", Text, nullable=False),
    Column("amount_cents", DECIMAL),
    Column("amount_currency", Text),
    Column("percentage_rate", DECIMAL),
    Column("frequency", Text, nullable=False),
    Column("frequency_duration", Integer),
    # Invoices that it may still discount; NULL is for ever.
    Column("uses_left", Integer),
    Column("used_up_at", INSTANT),
    Column("removed_at", INSTANT),
    CheckConstraint(_KIND, name="coupon_type"),
    CheckConstraint("uses_left >= 0", name="uses_left"),
    Index("ix_applied_coupons_coupon_id", "coupon_id", "customer_id"),
    Index("ix_applied_coupons_customer_id", "customer_id", "id"),
    UniqueConstraint("project_id", "id"),
)

# Which coupons discount a billing period of a subscription, and what had been billed of it when each of them came;
# those that took nothing, were used up or removed since included.
period_coupons = Table(
    "period_coupons",
    metadata,
    project(),
    Column("subscription_id", Uuid, primary_key=True),
    refers_to("subscription_id", "subscriptions"),
    Column("period_start", INSTANT, primary_key=True),
    Column("application_id", Uuid, primary_key=True),
    refers_to("application_id", "applied_coupons"),
    Column("since_minor", BigInteger, nullable=False, server_default=sql("0")),
)
