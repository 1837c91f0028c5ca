"""Every router of UsageFlow's camelCase surface; main mounts each at /api.

One import and one entry for each file of this folder.
"""

from fastapi import APIRouter

from api.compat import (
    usageflow_catalogue,
    usageflow_invoices,
    usageflow_keys,
    usageflow_members,
    usageflow_organizations,
    usageflow_subscriptions,
    usageflow_usage,
    usageflow_webhooks,
)

COMPAT_ROUTERS: tuple[APIRouter, ...] = (
    usageflow_usage.tracking,
    usageflow_usage.router,
    usageflow_catalogue.router,
    usageflow_keys.router,
    usageflow_organizations.router,
    usageflow_members.router,
    usageflow_invoices.router,
    usageflow_subscriptions.router,
    usageflow_webhooks.router,
)
