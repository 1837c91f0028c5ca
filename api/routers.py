"""Every router of the API, in the order in which paths are matched; busy ones first.

main mounts each at /v1 and at /api/v1. One import and one entry for each file of this folder.
"""

from fastapi import APIRouter

from api.alerts import usage_alerts, usage_thresholds
from api.catalogue import entitlements, features, metrics, plan_simulation, plans, products
from api.customers import billing_entities, customers
from api.events import corrections, events, usage, usage_maintenance
from api.health import health, root
from api.invoices import add_ons, adjustments, coupons, fees, invoice_actions, invoices
from api.limits import limits
from api.payments import payment_methods, payment_providers, payment_webhooks, payments, wallets
from api.portal import portal, portal_access
from api.subscriptions import subscription_actions, subscription_bulk, subscription_views, subscriptions, test_clocks
from api.tenancy import api_keys, audit_logs, integrations, notifications, organizations, projects
from api.usage import activity, usage_views
from api.webhooks import webhook_deliveries, webhook_endpoints

ROUTERS: tuple[APIRouter, ...] = (
    events.ingesting,
    usage.router,
    usage_views.router,
    usage_alerts.router,
    usage_thresholds.router,
    corrections.router,
    usage_maintenance.router,
    events.router,
    activity.router,
    organizations.router,
    projects.router,
    api_keys.router,
    audit_logs.router,
    limits.router,
    subscriptions.router,
    subscription_actions.router,
    subscription_bulk.router,
    subscription_views.router,
    test_clocks.router,
    invoice_actions.router,
    invoices.router,
    fees.router,
    adjustments.router,
    payment_webhooks.router,
    payments.router,
    payment_methods.router,
    payment_providers.router,
    wallets.router,
    portal_access.customers,
    integrations.customers,
    customers.router,
    coupons.router,
    add_ons.router,
    billing_entities.router,
    metrics.router,
    metrics.meters,
    metrics.billable_metrics,
    products.router,
    plans.router,
    plans.price_plans,
    plan_simulation.router,
    features.router,
    entitlements.router,
    integrations.router,
    notifications.router,
    webhook_deliveries.router,
    webhook_endpoints.router,
)

#: Mounted without a prefix.
UNVERSIONED: tuple[APIRouter, ...] = (health.router, root.router)

#: Mounted without a prefix and, unlisted in OpenAPI, at /v1 as well (conflicts C1).
UNVERSIONED_TOO: tuple[APIRouter, ...] = (portal_access.router, portal.router)
