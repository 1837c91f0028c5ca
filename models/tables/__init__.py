"""The database schema as SQLAlchemy tables: shapes without methods."""

from models.tables.add_ons import add_ons, applied_add_ons
from models.tables.alerts import (
    evaluation_thresholds,
    usage_alert_triggers,
    usage_alerts,
    usage_threshold_crossings,
    usage_thresholds,
)
from models.tables.base import metadata
from models.tables.billing_entities import billing_entities
from models.tables.catalogue import metric_filters, metrics, plan_charges, plan_versions, plans, products
from models.tables.corrections import event_reprocessings, served_versions, usage_checks, usage_corrections
from models.tables.coupons import applied_coupons, coupons, period_coupons
from models.tables.customers import customers, subscriptions, test_clocks
from models.tables.delivery import outbox
from models.tables.entitlements import entitlements, features
from models.tables.integrations import (
    integration_customers,
    integration_mappings,
    integration_syncs,
    integrations,
)
from models.tables.invoicing import (
    invoice_counters,
    invoice_lines,
    invoices,
    payment_attempts,
    reopened_periods,
    sandbox_charges,
)
from models.tables.limits import usage_limits, usage_reservations, usage_reserved
from models.tables.notifications import notifications
from models.tables.payment_credentials import payment_credentials
from models.tables.settlement import payment_methods, refunds, settlements
from models.tables.tenancy import (
    api_keys,
    audit_log,
    dashboard_sessions,
    idempotency_keys,
    members,
    organizations,
    projects,
)
from models.tables.usage import event_keys, events, usage_rollups, usage_unique_days, usage_uniques, usage_watermarks
from models.tables.wallets import wallet_transactions, wallets
from models.tables.webhooks import (
    webhook_attempts,
    webhook_deliveries,
    webhook_endpoints,
    webhook_messages,
    webhook_sequences,
)
