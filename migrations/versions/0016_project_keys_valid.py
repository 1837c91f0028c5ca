"""Check the rows that were there before foreign keys bound to the project.

Revision ID: project_keys_valid
Revises: project_keys
"""

from alembic import op

revision = "project_keys_valid"
down_revision = "project_keys"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

ALTER TABLE customers VALIDATE CONSTRAINT fk_customers_billing_entity_id_billing_entities;
ALTER TABLE customers VALIDATE CONSTRAINT fk_customers_test_clock_id_test_clocks;
ALTER TABLE integration_mappings VALIDATE CONSTRAINT fk_integration_mappings_integration_id_integrations;
ALTER TABLE integration_syncs VALIDATE CONSTRAINT fk_integration_syncs_integration_id_integrations;
ALTER TABLE metric_filters VALIDATE CONSTRAINT fk_metric_filters_metric_id_metrics;
ALTER TABLE plans VALIDATE CONSTRAINT fk_plans_product_id_products;
ALTER TABLE webhook_deliveries VALIDATE CONSTRAINT fk_webhook_deliveries_endpoint_id_webhook_endpoints;
ALTER TABLE webhook_deliveries VALIDATE CONSTRAINT fk_webhook_deliveries_message_id_webhook_messages;
ALTER TABLE applied_coupons VALIDATE CONSTRAINT fk_applied_coupons_coupon_id_coupons;
ALTER TABLE applied_coupons VALIDATE CONSTRAINT fk_applied_coupons_customer_id_customers;
ALTER TABLE entitlements VALIDATE CONSTRAINT fk_entitlements_feature_id_features;
ALTER TABLE entitlements VALIDATE CONSTRAINT fk_entitlements_plan_id_plans;
ALTER TABLE integration_customers VALIDATE CONSTRAINT fk_integration_customers_customer_id_customers;
ALTER TABLE integration_customers VALIDATE CONSTRAINT fk_integration_customers_integration_id_integrations;
ALTER TABLE payment_methods VALIDATE CONSTRAINT fk_payment_methods_customer_id_customers;
ALTER TABLE plan_versions VALIDATE CONSTRAINT fk_plan_versions_plan_id_plans;
ALTER TABLE wallets VALIDATE CONSTRAINT fk_wallets_customer_id_customers;
ALTER TABLE webhook_attempts VALIDATE CONSTRAINT fk_webhook_attempts_delivery_id_webhook_deliveries;
ALTER TABLE plan_charges VALIDATE CONSTRAINT fk_plan_charges_metric_id_metrics;
ALTER TABLE plan_charges VALIDATE CONSTRAINT fk_plan_charges_plan_id_plans;
ALTER TABLE plan_charges VALIDATE CONSTRAINT fk_plan_charges_plan_version_id_plan_versions;
ALTER TABLE subscriptions VALIDATE CONSTRAINT fk_subscriptions_customer_id_customers;
ALTER TABLE subscriptions VALIDATE CONSTRAINT fk_subscriptions_plan_id_plans;
ALTER TABLE subscriptions VALIDATE CONSTRAINT fk_subscriptions_plan_version_id_plan_versions;
ALTER TABLE subscriptions VALIDATE CONSTRAINT fk_subscriptions_test_clock_id_test_clocks;
ALTER TABLE invoices VALIDATE CONSTRAINT fk_invoices_billing_entity_id_billing_entities;
ALTER TABLE invoices VALIDATE CONSTRAINT fk_invoices_customer_id_customers;
ALTER TABLE invoices VALIDATE CONSTRAINT fk_invoices_subscription_id_subscriptions;
ALTER TABLE period_coupons VALIDATE CONSTRAINT fk_period_coupons_application_id_applied_coupons;
ALTER TABLE period_coupons VALIDATE CONSTRAINT fk_period_coupons_subscription_id_subscriptions;
ALTER TABLE reopened_periods VALIDATE CONSTRAINT fk_reopened_periods_plan_version_id_plan_versions;
ALTER TABLE reopened_periods VALIDATE CONSTRAINT fk_reopened_periods_subscription_id_subscriptions;
ALTER TABLE usage_alerts VALIDATE CONSTRAINT fk_usage_alerts_metric_id_metrics;
ALTER TABLE usage_alerts VALIDATE CONSTRAINT fk_usage_alerts_subscription_id_subscriptions;
ALTER TABLE usage_limits VALIDATE CONSTRAINT fk_usage_limits_metric_id_metrics;
ALTER TABLE usage_limits VALIDATE CONSTRAINT fk_usage_limits_subscription_id_subscriptions;
ALTER TABLE usage_thresholds VALIDATE CONSTRAINT fk_usage_thresholds_plan_id_plans;
ALTER TABLE usage_thresholds VALIDATE CONSTRAINT fk_usage_thresholds_subscription_id_subscriptions;
ALTER TABLE applied_add_ons VALIDATE CONSTRAINT fk_applied_add_ons_add_on_id_add_ons;
ALTER TABLE applied_add_ons VALIDATE CONSTRAINT fk_applied_add_ons_customer_id_customers;
ALTER TABLE applied_add_ons VALIDATE CONSTRAINT fk_applied_add_ons_invoice_id_invoices;
ALTER TABLE invoice_lines VALIDATE CONSTRAINT fk_invoice_lines_invoice_id_invoices;
ALTER TABLE payment_attempts VALIDATE CONSTRAINT fk_payment_attempts_invoice_id_invoices;
ALTER TABLE settlements VALIDATE CONSTRAINT fk_settlements_invoice_id_invoices;
ALTER TABLE usage_alert_triggers VALIDATE CONSTRAINT fk_usage_alert_triggers_usage_alert_id_usage_alerts;
ALTER TABLE usage_corrections VALIDATE CONSTRAINT fk_usage_corrections_settled_by_invoices;
ALTER TABLE usage_threshold_crossings VALIDATE CONSTRAINT fk_usage_threshold_crossings_subscription_id_subscriptions;
ALTER TABLE usage_threshold_crossings VALIDATE CONSTRAINT fk_usage_threshold_crossings_usage_threshold_id_usage_t_51c1;
ALTER TABLE wallet_transactions VALIDATE CONSTRAINT fk_wallet_transactions_invoice_id_invoices;
ALTER TABLE wallet_transactions VALIDATE CONSTRAINT fk_wallet_transactions_wallet_id_wallets;
ALTER TABLE refunds VALIDATE CONSTRAINT fk_refunds_payment_id_payment_attempts;
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';
"""


def upgrade() -> None:
    """Check every row."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Change nothing: a key that was checked stays so."""
    op.execute(DOWNGRADE)
