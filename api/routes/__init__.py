"""Every router of the API, in the order in which paths are matched; busy ones first.

main mounts each at /v1 and at /api/v1. One import and one entry for each file of this folder.
"""

from fastapi import APIRouter

from api.routes import (
    activity,
    add_ons,
    api_keys,
    audit_logs,
    billing_entities,
    coupons,
    customers,
    entitlements,
    events,
    features,
    fees,
    health,
    integrations,
    invoice_actions,
    invoices,
    metrics,
    notifications,
    organizations,
    payment_methods,
    payment_notices,
    payments,
    plan_simulation,
    plans,
    portal,
    portal_access,
    products,
    projects,
    root,
    subscription_actions,
    subscription_views,
    subscriptions,
    test_clocks,
    usage,
    usage_views,
    wallets,
    webhook_endpoints,
    webhook_hooks,
)

ROUTERS: tuple[APIRouter, ...] = (
    events.ingesting,
    usage.router,
    usage_views.router,
    events.router,
    activity.router,
    organizations.router,
    projects.router,
    api_keys.router,
    audit_logs.router,
    subscriptions.router,
    subscription_actions.router,
    subscription_views.router,
    test_clocks.router,
    invoice_actions.router,
    invoices.router,
    fees.router,
    payment_notices.router,
    payments.router,
    payment_methods.router,
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
    webhook_hooks.router,
    webhook_endpoints.router,
)

#: Mounted without a prefix.
UNVERSIONED: tuple[APIRouter, ...] = (health.router, root.router)

#: Mounted without a prefix and, unlisted in OpenAPI, at /v1 as well (conflicts C1).
UNVERSIONED_TOO: tuple[APIRouter, ...] = (portal_access.router, portal.router)
