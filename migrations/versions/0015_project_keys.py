"""Foreign keys bind to the project: a row refers to rows of its own project alone.

The rows that are there are checked by the next revision, which stops no writes.

Revision ID: project_keys
Revises: forgiven_lines
"""

from alembic import op

revision = "project_keys"
down_revision = "forgiven_lines"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

ALTER TABLE add_ons ADD CONSTRAINT uq_add_ons_project_id_id UNIQUE (project_id, id);
ALTER TABLE applied_coupons ADD CONSTRAINT uq_applied_coupons_project_id_id UNIQUE (project_id, id);
ALTER TABLE billing_entities ADD CONSTRAINT uq_billing_entities_project_id_id UNIQUE (project_id, id);
ALTER TABLE coupons ADD CONSTRAINT uq_coupons_project_id_id UNIQUE (project_id, id);
ALTER TABLE customers ADD CONSTRAINT uq_customers_project_id_id UNIQUE (project_id, id);
ALTER TABLE features ADD CONSTRAINT uq_features_project_id_id UNIQUE (project_id, id);
ALTER TABLE integrations ADD CONSTRAINT uq_integrations_project_id_id UNIQUE (project_id, id);
ALTER TABLE invoices ADD CONSTRAINT uq_invoices_project_id_id UNIQUE (project_id, id);
DROP INDEX ix_invoices_project_id;
ALTER TABLE metrics ADD CONSTRAINT uq_metrics_project_id_id UNIQUE (project_id, id);
ALTER TABLE payment_attempts ADD CONSTRAINT uq_payment_attempts_project_id_id UNIQUE (project_id, id);
DROP INDEX ix_payment_attempts_project_id;
ALTER TABLE plan_versions ADD CONSTRAINT uq_plan_versions_project_id_id UNIQUE (project_id, id);
ALTER TABLE plans ADD CONSTRAINT uq_plans_project_id_id UNIQUE (project_id, id);
ALTER TABLE products ADD CONSTRAINT uq_products_project_id_id UNIQUE (project_id, id);
ALTER TABLE subscriptions ADD CONSTRAINT uq_subscriptions_project_id_id UNIQUE (project_id, id);
DROP INDEX ix_subscriptions_project_id;
ALTER TABLE test_clocks ADD CONSTRAINT uq_test_clocks_project_id_id UNIQUE (project_id, id);
ALTER TABLE usage_alerts ADD CONSTRAINT uq_usage_alerts_project_id_id UNIQUE (project_id, id);
DROP INDEX ix_usage_alerts_project_id;
ALTER TABLE usage_thresholds ADD CONSTRAINT uq_usage_thresholds_project_id_id UNIQUE (project_id, id);
ALTER TABLE wallets ADD CONSTRAINT uq_wallets_project_id_id UNIQUE (project_id, id);
DROP INDEX ix_wallets_project_id;
ALTER TABLE webhook_deliveries ADD CONSTRAINT uq_webhook_deliveries_project_id_id UNIQUE (project_id, id);
DROP INDEX ix_webhook_deliveries_project_id;
ALTER TABLE webhook_endpoints ADD CONSTRAINT uq_webhook_endpoints_project_id_id UNIQUE (project_id, id);
DROP INDEX ix_webhook_endpoints_project_id;
ALTER TABLE webhook_messages ADD CONSTRAINT uq_webhook_messages_project_id_id UNIQUE (project_id, id);
ALTER TABLE customers DROP CONSTRAINT fk_customers_billing_entity_id_billing_entities,
    ADD CONSTRAINT fk_customers_billing_entity_id_billing_entities FOREIGN KEY (billing_entity_id, project_id)
    REFERENCES billing_entities (id, project_id) NOT VALID;
ALTER TABLE customers DROP CONSTRAINT fk_customers_test_clock_id_test_clocks,
    ADD CONSTRAINT fk_customers_test_clock_id_test_clocks FOREIGN KEY (test_clock_id, project_id)
    REFERENCES test_clocks (id, project_id) NOT VALID;
ALTER TABLE integration_mappings DROP CONSTRAINT fk_integration_mappings_integration_id_integrations,
    ADD CONSTRAINT fk_integration_mappings_integration_id_integrations FOREIGN KEY (integration_id, project_id)
    REFERENCES integrations (id, project_id) NOT VALID;
ALTER TABLE integration_syncs DROP CONSTRAINT fk_integration_syncs_integration_id_integrations,
    ADD CONSTRAINT fk_integration_syncs_integration_id_integrations FOREIGN KEY (integration_id, project_id)
    REFERENCES integrations (id, project_id) NOT VALID;
ALTER TABLE metric_filters DROP CONSTRAINT fk_metric_filters_metric_id_metrics,
    ADD CONSTRAINT fk_metric_filters_metric_id_metrics FOREIGN KEY (metric_id, project_id)
    REFERENCES metrics (id, project_id) NOT VALID;
ALTER TABLE plans DROP CONSTRAINT fk_plans_product_id_products,
    ADD CONSTRAINT fk_plans_product_id_products FOREIGN KEY (product_id, project_id)
    REFERENCES products (id, project_id) NOT VALID;
ALTER TABLE webhook_deliveries DROP CONSTRAINT fk_webhook_deliveries_endpoint_id_webhook_endpoints,
    ADD CONSTRAINT fk_webhook_deliveries_endpoint_id_webhook_endpoints FOREIGN KEY (endpoint_id, project_id)
    REFERENCES webhook_endpoints (id, project_id) NOT VALID;
ALTER TABLE webhook_deliveries DROP CONSTRAINT fk_webhook_deliveries_message_id_webhook_messages,
    ADD CONSTRAINT fk_webhook_deliveries_message_id_webhook_messages FOREIGN KEY (message_id, project_id)
    REFERENCES webhook_messages (id, project_id) NOT VALID;
ALTER TABLE applied_coupons DROP CONSTRAINT fk_applied_coupons_coupon_id_coupons,
    ADD CONSTRAINT fk_applied_coupons_coupon_id_coupons FOREIGN KEY (coupon_id, project_id)
    REFERENCES coupons (id, project_id) NOT VALID;
ALTER TABLE applied_coupons DROP CONSTRAINT fk_applied_coupons_customer_id_customers,
    ADD CONSTRAINT fk_applied_coupons_customer_id_customers FOREIGN KEY (customer_id, project_id)
    REFERENCES customers (id, project_id) NOT VALID;
ALTER TABLE entitlements DROP CONSTRAINT fk_entitlements_feature_id_features,
    ADD CONSTRAINT fk_entitlements_feature_id_features FOREIGN KEY (feature_id, project_id)
    REFERENCES features (id, project_id) NOT VALID;
ALTER TABLE entitlements DROP CONSTRAINT fk_entitlements_plan_id_plans,
    ADD CONSTRAINT fk_entitlements_plan_id_plans FOREIGN KEY (plan_id, project_id)
    REFERENCES plans (id, project_id) NOT VALID;
ALTER TABLE integration_customers DROP CONSTRAINT fk_integration_customers_customer_id_customers,
    ADD CONSTRAINT fk_integration_customers_customer_id_customers FOREIGN KEY (customer_id, project_id)
    REFERENCES customers (id, project_id) NOT VALID;
ALTER TABLE integration_customers DROP CONSTRAINT fk_integration_customers_integration_id_integrations,
    ADD CONSTRAINT fk_integration_customers_integration_id_integrations FOREIGN KEY (integration_id, project_id)
    REFERENCES integrations (id, project_id) NOT VALID;
ALTER TABLE payment_methods DROP CONSTRAINT fk_payment_methods_customer_id_customers,
    ADD CONSTRAINT fk_payment_methods_customer_id_customers FOREIGN KEY (customer_id, project_id)
    REFERENCES customers (id, project_id) NOT VALID;
ALTER TABLE plan_versions DROP CONSTRAINT fk_plan_versions_plan_id_plans,
    ADD CONSTRAINT fk_plan_versions_plan_id_plans FOREIGN KEY (plan_id, project_id)
    REFERENCES plans (id, project_id) NOT VALID;
ALTER TABLE wallets DROP CONSTRAINT fk_wallets_customer_id_customers,
    ADD CONSTRAINT fk_wallets_customer_id_customers FOREIGN KEY (customer_id, project_id)
    REFERENCES customers (id, project_id) NOT VALID;
ALTER TABLE webhook_attempts DROP CONSTRAINT fk_webhook_attempts_delivery_id_webhook_deliveries,
    ADD CONSTRAINT fk_webhook_attempts_delivery_id_webhook_deliveries FOREIGN KEY (delivery_id, project_id)
    REFERENCES webhook_deliveries (id, project_id) NOT VALID;
ALTER TABLE plan_charges DROP CONSTRAINT fk_plan_charges_metric_id_metrics,
    ADD CONSTRAINT fk_plan_charges_metric_id_metrics FOREIGN KEY (metric_id, project_id)
    REFERENCES metrics (id, project_id) NOT VALID;
ALTER TABLE plan_charges DROP CONSTRAINT fk_plan_charges_plan_id_plans,
    ADD CONSTRAINT fk_plan_charges_plan_id_plans FOREIGN KEY (plan_id, project_id)
    REFERENCES plans (id, project_id) NOT VALID;
ALTER TABLE plan_charges DROP CONSTRAINT fk_plan_charges_plan_version_id_plan_versions,
    ADD CONSTRAINT fk_plan_charges_plan_version_id_plan_versions FOREIGN KEY (plan_version_id, project_id)
    REFERENCES plan_versions (id, project_id) NOT VALID;
ALTER TABLE subscriptions DROP CONSTRAINT fk_subscriptions_customer_id_customers,
    ADD CONSTRAINT fk_subscriptions_customer_id_customers FOREIGN KEY (customer_id, project_id)
    REFERENCES customers (id, project_id) NOT VALID;
ALTER TABLE subscriptions DROP CONSTRAINT fk_subscriptions_plan_id_plans,
    ADD CONSTRAINT fk_subscriptions_plan_id_plans FOREIGN KEY (plan_id, project_id)
    REFERENCES plans (id, project_id) NOT VALID;
ALTER TABLE subscriptions DROP CONSTRAINT fk_subscriptions_plan_version_id_plan_versions,
    ADD CONSTRAINT fk_subscriptions_plan_version_id_plan_versions FOREIGN KEY (plan_version_id, project_id)
    REFERENCES plan_versions (id, project_id) NOT VALID;
ALTER TABLE subscriptions DROP CONSTRAINT fk_subscriptions_test_clock_id_test_clocks,
    ADD CONSTRAINT fk_subscriptions_test_clock_id_test_clocks FOREIGN KEY (test_clock_id, project_id)
    REFERENCES test_clocks (id, project_id) NOT VALID;
ALTER TABLE invoices DROP CONSTRAINT fk_invoices_billing_entity_id_billing_entities,
    ADD CONSTRAINT fk_invoices_billing_entity_id_billing_entities FOREIGN KEY (billing_entity_id, project_id)
    REFERENCES billing_entities (id, project_id) NOT VALID;
ALTER TABLE invoices DROP CONSTRAINT fk_invoices_customer_id_customers,
    ADD CONSTRAINT fk_invoices_customer_id_customers FOREIGN KEY (customer_id, project_id)
    REFERENCES customers (id, project_id) NOT VALID;
ALTER TABLE invoices DROP CONSTRAINT fk_invoices_subscription_id_subscriptions,
    ADD CONSTRAINT fk_invoices_subscription_id_subscriptions FOREIGN KEY (subscription_id, project_id)
    REFERENCES subscriptions (id, project_id) NOT VALID;
ALTER TABLE period_coupons DROP CONSTRAINT fk_period_coupons_application_id_applied_coupons,
    ADD CONSTRAINT fk_period_coupons_application_id_applied_coupons FOREIGN KEY (application_id, project_id)
    REFERENCES applied_coupons (id, project_id) NOT VALID;
ALTER TABLE period_coupons DROP CONSTRAINT fk_period_coupons_subscription_id_subscriptions,
    ADD CONSTRAINT fk_period_coupons_subscription_id_subscriptions FOREIGN KEY (subscription_id, project_id)
    REFERENCES subscriptions (id, project_id) NOT VALID;
ALTER TABLE reopened_periods DROP CONSTRAINT fk_reopened_periods_plan_version_id_plan_versions,
    ADD CONSTRAINT fk_reopened_periods_plan_version_id_plan_versions FOREIGN KEY (plan_version_id, project_id)
    REFERENCES plan_versions (id, project_id) NOT VALID;
ALTER TABLE reopened_periods DROP CONSTRAINT fk_reopened_periods_subscription_id_subscriptions,
    ADD CONSTRAINT fk_reopened_periods_subscription_id_subscriptions FOREIGN KEY (subscription_id, project_id)
    REFERENCES subscriptions (id, project_id) NOT VALID;
ALTER TABLE usage_alerts DROP CONSTRAINT fk_usage_alerts_metric_id_metrics,
    ADD CONSTRAINT fk_usage_alerts_metric_id_metrics FOREIGN KEY (metric_id, project_id)
    REFERENCES metrics (id, project_id) NOT VALID;
ALTER TABLE usage_alerts DROP CONSTRAINT fk_usage_alerts_subscription_id_subscriptions,
    ADD CONSTRAINT fk_usage_alerts_subscription_id_subscriptions FOREIGN KEY (subscription_id, project_id)
    REFERENCES subscriptions (id, project_id) NOT VALID;
ALTER TABLE usage_limits DROP CONSTRAINT fk_usage_limits_metric_id_metrics,
    ADD CONSTRAINT fk_usage_limits_metric_id_metrics FOREIGN KEY (metric_id, project_id)
    REFERENCES metrics (id, project_id) NOT VALID;
ALTER TABLE usage_limits DROP CONSTRAINT fk_usage_limits_subscription_id_subscriptions,
    ADD CONSTRAINT fk_usage_limits_subscription_id_subscriptions FOREIGN KEY (subscription_id, project_id)
    REFERENCES subscriptions (id, project_id) NOT VALID;
ALTER TABLE usage_thresholds DROP CONSTRAINT fk_usage_thresholds_plan_id_plans,
    ADD CONSTRAINT fk_usage_thresholds_plan_id_plans FOREIGN KEY (plan_id, project_id)
    REFERENCES plans (id, project_id) NOT VALID;
ALTER TABLE usage_thresholds DROP CONSTRAINT fk_usage_thresholds_subscription_id_subscriptions,
    ADD CONSTRAINT fk_usage_thresholds_subscription_id_subscriptions FOREIGN KEY (subscription_id, project_id)
    REFERENCES subscriptions (id, project_id) NOT VALID;
ALTER TABLE applied_add_ons DROP CONSTRAINT fk_applied_add_ons_add_on_id_add_ons,
    ADD CONSTRAINT fk_applied_add_ons_add_on_id_add_ons FOREIGN KEY (add_on_id, project_id)
    REFERENCES add_ons (id, project_id) NOT VALID;
ALTER TABLE applied_add_ons DROP CONSTRAINT fk_applied_add_ons_customer_id_customers,
    ADD CONSTRAINT fk_applied_add_ons_customer_id_customers FOREIGN KEY (customer_id, project_id)
    REFERENCES customers (id, project_id) NOT VALID;
ALTER TABLE applied_add_ons DROP CONSTRAINT fk_applied_add_ons_invoice_id_invoices,
    ADD CONSTRAINT fk_applied_add_ons_invoice_id_invoices FOREIGN KEY (invoice_id, project_id)
    REFERENCES invoices (id, project_id) DEFERRABLE INITIALLY DEFERRED NOT VALID;
ALTER TABLE invoice_lines DROP CONSTRAINT fk_invoice_lines_invoice_id_invoices,
    ADD CONSTRAINT fk_invoice_lines_invoice_id_invoices FOREIGN KEY (invoice_id, project_id)
    REFERENCES invoices (id, project_id) NOT VALID;
ALTER TABLE payment_attempts DROP CONSTRAINT fk_payment_attempts_invoice_id_invoices,
    ADD CONSTRAINT fk_payment_attempts_invoice_id_invoices FOREIGN KEY (invoice_id, project_id)
    REFERENCES invoices (id, project_id) NOT VALID;
ALTER TABLE settlements DROP CONSTRAINT fk_settlements_invoice_id_invoices,
    ADD CONSTRAINT fk_settlements_invoice_id_invoices FOREIGN KEY (invoice_id, project_id)
    REFERENCES invoices (id, project_id) NOT VALID;
ALTER TABLE usage_alert_triggers DROP CONSTRAINT fk_usage_alert_triggers_usage_alert_id_usage_alerts,
    ADD CONSTRAINT fk_usage_alert_triggers_usage_alert_id_usage_alerts FOREIGN KEY (usage_alert_id, project_id)
    REFERENCES usage_alerts (id, project_id) NOT VALID;
ALTER TABLE usage_corrections DROP CONSTRAINT fk_usage_corrections_settled_by_invoices,
    ADD CONSTRAINT fk_usage_corrections_settled_by_invoices FOREIGN KEY (settled_by, project_id)
    REFERENCES invoices (id, project_id) ON DELETE SET NULL (settled_by) NOT VALID;
ALTER TABLE usage_threshold_crossings DROP CONSTRAINT fk_usage_threshold_crossings_subscription_id_subscriptions,
    ADD CONSTRAINT fk_usage_threshold_crossings_subscription_id_subscriptions FOREIGN KEY (subscription_id, project_id)
    REFERENCES subscriptions (id, project_id) NOT VALID;
ALTER TABLE usage_threshold_crossings DROP CONSTRAINT fk_usage_threshold_crossings_usage_threshold_id_usage_t_51c1,
    ADD CONSTRAINT fk_usage_threshold_crossings_usage_threshold_id_usage_t_51c1 FOREIGN KEY (usage_threshold_id, project_id)
    REFERENCES usage_thresholds (id, project_id) NOT VALID;
ALTER TABLE wallet_transactions DROP CONSTRAINT fk_wallet_transactions_invoice_id_invoices,
    ADD CONSTRAINT fk_wallet_transactions_invoice_id_invoices FOREIGN KEY (invoice_id, project_id)
    REFERENCES invoices (id, project_id) NOT VALID;
ALTER TABLE wallet_transactions DROP CONSTRAINT fk_wallet_transactions_wallet_id_wallets,
    ADD CONSTRAINT fk_wallet_transactions_wallet_id_wallets FOREIGN KEY (wallet_id, project_id)
    REFERENCES wallets (id, project_id) NOT VALID;
ALTER TABLE refunds DROP CONSTRAINT fk_refunds_payment_id_payment_attempts,
    ADD CONSTRAINT fk_refunds_payment_id_payment_attempts FOREIGN KEY (payment_id, project_id)
    REFERENCES payment_attempts (id, project_id) NOT VALID;
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

ALTER TABLE customers DROP CONSTRAINT fk_customers_billing_entity_id_billing_entities,
    ADD CONSTRAINT fk_customers_billing_entity_id_billing_entities FOREIGN KEY (billing_entity_id)
    REFERENCES billing_entities;
ALTER TABLE customers DROP CONSTRAINT fk_customers_test_clock_id_test_clocks,
    ADD CONSTRAINT fk_customers_test_clock_id_test_clocks FOREIGN KEY (test_clock_id) REFERENCES test_clocks;
ALTER TABLE integration_mappings DROP CONSTRAINT fk_integration_mappings_integration_id_integrations,
    ADD CONSTRAINT fk_integration_mappings_integration_id_integrations FOREIGN KEY (integration_id)
    REFERENCES integrations;
ALTER TABLE integration_syncs DROP CONSTRAINT fk_integration_syncs_integration_id_integrations,
    ADD CONSTRAINT fk_integration_syncs_integration_id_integrations FOREIGN KEY (integration_id)
    REFERENCES integrations;
ALTER TABLE metric_filters DROP CONSTRAINT fk_metric_filters_metric_id_metrics,
    ADD CONSTRAINT fk_metric_filters_metric_id_metrics FOREIGN KEY (metric_id) REFERENCES metrics;
ALTER TABLE plans DROP CONSTRAINT fk_plans_product_id_products,
    ADD CONSTRAINT fk_plans_product_id_products FOREIGN KEY (product_id) REFERENCES products;
ALTER TABLE webhook_deliveries DROP CONSTRAINT fk_webhook_deliveries_endpoint_id_webhook_endpoints,
    ADD CONSTRAINT fk_webhook_deliveries_endpoint_id_webhook_endpoints FOREIGN KEY (endpoint_id)
    REFERENCES webhook_endpoints;
ALTER TABLE webhook_deliveries DROP CONSTRAINT fk_webhook_deliveries_message_id_webhook_messages,
    ADD CONSTRAINT fk_webhook_deliveries_message_id_webhook_messages FOREIGN KEY (message_id)
    REFERENCES webhook_messages;
ALTER TABLE applied_coupons DROP CONSTRAINT fk_applied_coupons_coupon_id_coupons,
    ADD CONSTRAINT fk_applied_coupons_coupon_id_coupons FOREIGN KEY (coupon_id) REFERENCES coupons;
ALTER TABLE applied_coupons DROP CONSTRAINT fk_applied_coupons_customer_id_customers,
    ADD CONSTRAINT fk_applied_coupons_customer_id_customers FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE entitlements DROP CONSTRAINT fk_entitlements_feature_id_features,
    ADD CONSTRAINT fk_entitlements_feature_id_features FOREIGN KEY (feature_id) REFERENCES features;
ALTER TABLE entitlements DROP CONSTRAINT fk_entitlements_plan_id_plans,
    ADD CONSTRAINT fk_entitlements_plan_id_plans FOREIGN KEY (plan_id) REFERENCES plans;
ALTER TABLE integration_customers DROP CONSTRAINT fk_integration_customers_customer_id_customers,
    ADD CONSTRAINT fk_integration_customers_customer_id_customers FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE integration_customers DROP CONSTRAINT fk_integration_customers_integration_id_integrations,
    ADD CONSTRAINT fk_integration_customers_integration_id_integrations FOREIGN KEY (integration_id)
    REFERENCES integrations;
ALTER TABLE payment_methods DROP CONSTRAINT fk_payment_methods_customer_id_customers,
    ADD CONSTRAINT fk_payment_methods_customer_id_customers FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE plan_versions DROP CONSTRAINT fk_plan_versions_plan_id_plans,
    ADD CONSTRAINT fk_plan_versions_plan_id_plans FOREIGN KEY (plan_id) REFERENCES plans;
ALTER TABLE wallets DROP CONSTRAINT fk_wallets_customer_id_customers,
    ADD CONSTRAINT fk_wallets_customer_id_customers FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE webhook_attempts DROP CONSTRAINT fk_webhook_attempts_delivery_id_webhook_deliveries,
    ADD CONSTRAINT fk_webhook_attempts_delivery_id_webhook_deliveries FOREIGN KEY (delivery_id)
    REFERENCES webhook_deliveries;
ALTER TABLE plan_charges DROP CONSTRAINT fk_plan_charges_metric_id_metrics,
    ADD CONSTRAINT fk_plan_charges_metric_id_metrics FOREIGN KEY (metric_id) REFERENCES metrics;
ALTER TABLE plan_charges DROP CONSTRAINT fk_plan_charges_plan_id_plans,
    ADD CONSTRAINT fk_plan_charges_plan_id_plans FOREIGN KEY (plan_id) REFERENCES plans;
ALTER TABLE plan_charges DROP CONSTRAINT fk_plan_charges_plan_version_id_plan_versions,
    ADD CONSTRAINT fk_plan_charges_plan_version_id_plan_versions FOREIGN KEY (plan_version_id)
    REFERENCES plan_versions;
ALTER TABLE subscriptions DROP CONSTRAINT fk_subscriptions_customer_id_customers,
    ADD CONSTRAINT fk_subscriptions_customer_id_customers FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE subscriptions DROP CONSTRAINT fk_subscriptions_plan_id_plans,
    ADD CONSTRAINT fk_subscriptions_plan_id_plans FOREIGN KEY (plan_id) REFERENCES plans;
ALTER TABLE subscriptions DROP CONSTRAINT fk_subscriptions_plan_version_id_plan_versions,
    ADD CONSTRAINT fk_subscriptions_plan_version_id_plan_versions FOREIGN KEY (plan_version_id)
    REFERENCES plan_versions;
ALTER TABLE subscriptions DROP CONSTRAINT fk_subscriptions_test_clock_id_test_clocks,
    ADD CONSTRAINT fk_subscriptions_test_clock_id_test_clocks FOREIGN KEY (test_clock_id) REFERENCES test_clocks;
ALTER TABLE invoices DROP CONSTRAINT fk_invoices_billing_entity_id_billing_entities,
    ADD CONSTRAINT fk_invoices_billing_entity_id_billing_entities FOREIGN KEY (billing_entity_id)
    REFERENCES billing_entities;
ALTER TABLE invoices DROP CONSTRAINT fk_invoices_customer_id_customers,
    ADD CONSTRAINT fk_invoices_customer_id_customers FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE invoices DROP CONSTRAINT fk_invoices_subscription_id_subscriptions,
    ADD CONSTRAINT fk_invoices_subscription_id_subscriptions FOREIGN KEY (subscription_id) REFERENCES subscriptions;
ALTER TABLE period_coupons DROP CONSTRAINT fk_period_coupons_application_id_applied_coupons,
    ADD CONSTRAINT fk_period_coupons_application_id_applied_coupons FOREIGN KEY (application_id)
    REFERENCES applied_coupons;
ALTER TABLE period_coupons DROP CONSTRAINT fk_period_coupons_subscription_id_subscriptions,
    ADD CONSTRAINT fk_period_coupons_subscription_id_subscriptions FOREIGN KEY (subscription_id)
    REFERENCES subscriptions;
ALTER TABLE reopened_periods DROP CONSTRAINT fk_reopened_periods_plan_version_id_plan_versions,
    ADD CONSTRAINT fk_reopened_periods_plan_version_id_plan_versions FOREIGN KEY (plan_version_id)
    REFERENCES plan_versions;
ALTER TABLE reopened_periods DROP CONSTRAINT fk_reopened_periods_subscription_id_subscriptions,
    ADD CONSTRAINT fk_reopened_periods_subscription_id_subscriptions FOREIGN KEY (subscription_id)
    REFERENCES subscriptions;
ALTER TABLE usage_alerts DROP CONSTRAINT fk_usage_alerts_metric_id_metrics,
    ADD CONSTRAINT fk_usage_alerts_metric_id_metrics FOREIGN KEY (metric_id) REFERENCES metrics;
ALTER TABLE usage_alerts DROP CONSTRAINT fk_usage_alerts_subscription_id_subscriptions,
    ADD CONSTRAINT fk_usage_alerts_subscription_id_subscriptions FOREIGN KEY (subscription_id)
    REFERENCES subscriptions;
ALTER TABLE usage_limits DROP CONSTRAINT fk_usage_limits_metric_id_metrics,
    ADD CONSTRAINT fk_usage_limits_metric_id_metrics FOREIGN KEY (metric_id) REFERENCES metrics;
ALTER TABLE usage_limits DROP CONSTRAINT fk_usage_limits_subscription_id_subscriptions,
    ADD CONSTRAINT fk_usage_limits_subscription_id_subscriptions FOREIGN KEY (subscription_id)
    REFERENCES subscriptions;
ALTER TABLE usage_thresholds DROP CONSTRAINT fk_usage_thresholds_plan_id_plans,
    ADD CONSTRAINT fk_usage_thresholds_plan_id_plans FOREIGN KEY (plan_id) REFERENCES plans;
ALTER TABLE usage_thresholds DROP CONSTRAINT fk_usage_thresholds_subscription_id_subscriptions,
    ADD CONSTRAINT fk_usage_thresholds_subscription_id_subscriptions FOREIGN KEY (subscription_id)
    REFERENCES subscriptions;
ALTER TABLE applied_add_ons DROP CONSTRAINT fk_applied_add_ons_add_on_id_add_ons,
    ADD CONSTRAINT fk_applied_add_ons_add_on_id_add_ons FOREIGN KEY (add_on_id) REFERENCES add_ons;
ALTER TABLE applied_add_ons DROP CONSTRAINT fk_applied_add_ons_customer_id_customers,
    ADD CONSTRAINT fk_applied_add_ons_customer_id_customers FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE applied_add_ons DROP CONSTRAINT fk_applied_add_ons_invoice_id_invoices,
    ADD CONSTRAINT fk_applied_add_ons_invoice_id_invoices FOREIGN KEY (invoice_id)
    REFERENCES invoices DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE invoice_lines DROP CONSTRAINT fk_invoice_lines_invoice_id_invoices,
    ADD CONSTRAINT fk_invoice_lines_invoice_id_invoices FOREIGN KEY (invoice_id) REFERENCES invoices;
ALTER TABLE payment_attempts DROP CONSTRAINT fk_payment_attempts_invoice_id_invoices,
    ADD CONSTRAINT fk_payment_attempts_invoice_id_invoices FOREIGN KEY (invoice_id) REFERENCES invoices;
ALTER TABLE settlements DROP CONSTRAINT fk_settlements_invoice_id_invoices,
    ADD CONSTRAINT fk_settlements_invoice_id_invoices FOREIGN KEY (invoice_id) REFERENCES invoices;
ALTER TABLE usage_alert_triggers DROP CONSTRAINT fk_usage_alert_triggers_usage_alert_id_usage_alerts,
    ADD CONSTRAINT fk_usage_alert_triggers_usage_alert_id_usage_alerts FOREIGN KEY (usage_alert_id)
    REFERENCES usage_alerts;
ALTER TABLE usage_corrections DROP CONSTRAINT fk_usage_corrections_settled_by_invoices,
    ADD CONSTRAINT fk_usage_corrections_settled_by_invoices FOREIGN KEY (settled_by)
    REFERENCES invoices ON DELETE SET NULL;
ALTER TABLE usage_threshold_crossings DROP CONSTRAINT fk_usage_threshold_crossings_subscription_id_subscriptions,
    ADD CONSTRAINT fk_usage_threshold_crossings_subscription_id_subscriptions FOREIGN KEY (subscription_id)
    REFERENCES subscriptions;
ALTER TABLE usage_threshold_crossings DROP CONSTRAINT fk_usage_threshold_crossings_usage_threshold_id_usage_t_51c1,
    ADD CONSTRAINT fk_usage_threshold_crossings_usage_threshold_id_usage_t_51c1 FOREIGN KEY (usage_threshold_id)
    REFERENCES usage_thresholds;
ALTER TABLE wallet_transactions DROP CONSTRAINT fk_wallet_transactions_invoice_id_invoices,
    ADD CONSTRAINT fk_wallet_transactions_invoice_id_invoices FOREIGN KEY (invoice_id) REFERENCES invoices;
ALTER TABLE wallet_transactions DROP CONSTRAINT fk_wallet_transactions_wallet_id_wallets,
    ADD CONSTRAINT fk_wallet_transactions_wallet_id_wallets FOREIGN KEY (wallet_id) REFERENCES wallets;
ALTER TABLE refunds DROP CONSTRAINT fk_refunds_payment_id_payment_attempts,
    ADD CONSTRAINT fk_refunds_payment_id_payment_attempts FOREIGN KEY (payment_id) REFERENCES payment_attempts;
ALTER TABLE add_ons DROP CONSTRAINT uq_add_ons_project_id_id;
ALTER TABLE applied_coupons DROP CONSTRAINT uq_applied_coupons_project_id_id;
ALTER TABLE billing_entities DROP CONSTRAINT uq_billing_entities_project_id_id;
ALTER TABLE coupons DROP CONSTRAINT uq_coupons_project_id_id;
ALTER TABLE customers DROP CONSTRAINT uq_customers_project_id_id;
ALTER TABLE features DROP CONSTRAINT uq_features_project_id_id;
ALTER TABLE integrations DROP CONSTRAINT uq_integrations_project_id_id;
CREATE INDEX ix_invoices_project_id ON invoices (project_id, id);
ALTER TABLE invoices DROP CONSTRAINT uq_invoices_project_id_id;
ALTER TABLE metrics DROP CONSTRAINT uq_metrics_project_id_id;
CREATE INDEX ix_payment_attempts_project_id ON payment_attempts (project_id, id);
ALTER TABLE payment_attempts DROP CONSTRAINT uq_payment_attempts_project_id_id;
ALTER TABLE plan_versions DROP CONSTRAINT uq_plan_versions_project_id_id;
ALTER TABLE plans DROP CONSTRAINT uq_plans_project_id_id;
ALTER TABLE products DROP CONSTRAINT uq_products_project_id_id;
CREATE INDEX ix_subscriptions_project_id ON subscriptions (project_id, id);
ALTER TABLE subscriptions DROP CONSTRAINT uq_subscriptions_project_id_id;
ALTER TABLE test_clocks DROP CONSTRAINT uq_test_clocks_project_id_id;
CREATE INDEX ix_usage_alerts_project_id ON usage_alerts (project_id, id);
ALTER TABLE usage_alerts DROP CONSTRAINT uq_usage_alerts_project_id_id;
ALTER TABLE usage_thresholds DROP CONSTRAINT uq_usage_thresholds_project_id_id;
CREATE INDEX ix_wallets_project_id ON wallets (project_id, id);
ALTER TABLE wallets DROP CONSTRAINT uq_wallets_project_id_id;
CREATE INDEX ix_webhook_deliveries_project_id ON webhook_deliveries (project_id, id);
ALTER TABLE webhook_deliveries DROP CONSTRAINT uq_webhook_deliveries_project_id_id;
CREATE INDEX ix_webhook_endpoints_project_id ON webhook_endpoints (project_id, id);
ALTER TABLE webhook_endpoints DROP CONSTRAINT uq_webhook_endpoints_project_id_id;
ALTER TABLE webhook_messages DROP CONSTRAINT uq_webhook_messages_project_id_id;
"""


def upgrade() -> None:
    """Make the composite keys, unchecked for the rows that are there."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Make the keys without the project."""
    op.execute(DOWNGRADE)
