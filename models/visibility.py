"""What the Temporal UI and `temporal workflow list` can search subscriptions by."""

from typing import Any

from temporalio.common import SearchAttributePair, TypedSearchAttributes

from billing.subscriptions.subscription import SubscriptionState
from models.identifiers import CUSTOMER, NEEDS_ATTENTION, PERIOD_END, PLAN, PROJECT, STATE


def search_attributes(state: SubscriptionState) -> TypedSearchAttributes:
    """Return the search attributes of a subscription: who, on what plan, in what state, until when."""
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(PROJECT, str(state.project_id)),
        SearchAttributePair(CUSTOMER, str(state.customer_id)),
        SearchAttributePair(PLAN, f"{state.plan_code}:{state.plan_version}"),
        SearchAttributePair(STATE, state.status),
        SearchAttributePair(NEEDS_ATTENTION, state.needs_attention is not None),
    ]
    if state.period is not None:
        pairs.append(SearchAttributePair(PERIOD_END, state.period.end))
    return TypedSearchAttributes(pairs)
