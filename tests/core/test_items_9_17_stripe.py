"""Items 9, 17: a payment that needs its owner waits for them; a lost answer is asked for with the same key."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from activities.collecting import CollectingActivities
from adapters.payment_port import ChargeRequest, RequiresAction, Succeeded, Unknown
from adapters.payments.stripe import StripePayments
from models.identifiers import new_id, payment_key
from models.tables import customers
from tests.payments.conftest import collection
from tests.support.billing_world import MAY
from tests.support.collection import Collection, FixedProviders
from tests.support.sca_stripe import ScaStripe

__all__ = ["collection"]

KEY = "sk_test_durabill"


@pytest.fixture
async def stripe_side() -> AsyncIterator[ScaStripe]:
    opened = ScaStripe()
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture
async def owed(collection: Collection, stripe_side: ScaStripe) -> Collection:
    """An invoice of 4900 cents, whose customer's card asks for authentication."""
    world = collection.world
    card = {"payment_provider": "stripe", "payment_provider_customer_id": "cus_1"}
    await world.change(customers, world.customer_id, **card)
    provider = StripePayments(KEY, api_base=stripe_side.url, timeout_seconds=5, return_url="https://example.org/back")
    collection.activities = CollectingActivities(world.database, FixedProviders(stripe=provider))
    return collection


def announced(webhooks: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each["data"] for each in webhooks if each["type"] == kind]


async def test_item_9_the_look_up_does_not_decline_what_waits_for_its_owner(
    owed: Collection, stripe_side: ScaStripe
) -> None:
    assert (await owed.collect()).status == "requires_action"
    # What the workflow does five seconds later.
    assert (await owed.collect()).status == "requires_action"
    assert announced(await owed.world.webhooks(), "invoice.failed") == []
    assert (await owed.invoice()).status == "issued"
    assert len(stripe_side.intents) == 1


async def test_item_9_its_owner_is_given_a_link(owed: Collection, stripe_side: ScaStripe) -> None:
    await owed.collect()
    await owed.collect()
    (action,) = announced(await owed.world.webhooks(), "invoice.action_required")
    assert action["action_url"] == f"{stripe_side.url}/authenticate/pi_1"


async def test_item_9_an_owner_who_failed_gets_another_page(owed: Collection, stripe_side: ScaStripe) -> None:
    """The authentication failed: Stripe puts the payment back, and the next look-up asks for a page again."""
    await owed.collect()
    problem: dict[str, Any] = {
        "code": "payment_intent_authentication_failure",
        "type": "card_error",
        "message": "not confirmed",
    }
    problem |= {"payment_method": {"id": "pm_1", "object": "payment_method"}}
    failed = {"status": "requires_payment_method", "next_action": None, "last_payment_error": problem}
    stripe_side.intents["pi_1"] |= failed
    again = await owed.collect()
    assert (again.status, again.action_url) == ("requires_action", f"{stripe_side.url}/authenticate/pi_1")
    assert len(stripe_side.intents) == 1


async def test_item_9_a_declined_payment_that_is_confirmed_later_pays_once(
    owed: Collection, stripe_side: ScaStripe
) -> None:
    """The first attempt was declined; its owner pays it after all before the second one is made."""
    stripe_side.declines = True
    assert (await owed.collect()).status == "declined"
    stripe_side.declines = stripe_side.authenticates = False
    stripe_side.confirm("pi_1")
    assert (await owed.collect(2)).status == "paid"
    assert (await owed.invoice()).settled_minor == 4900
    assert len(stripe_side.intents) == 1


async def test_item_9_a_declined_payment_is_cancelled_before_the_next(owed: Collection, stripe_side: ScaStripe) -> None:
    stripe_side.declines = True
    assert (await owed.collect()).status == "declined"
    stripe_side.declines = stripe_side.authenticates = False
    assert (await owed.collect(2)).status == "paid"
    assert [intent["status"] for intent in stripe_side.intents.values()] == ["canceled", "succeeded"]


async def test_item_9_a_superseded_intent_is_cancelled_before_a_new_one(
    owed: Collection, stripe_side: ScaStripe
) -> None:
    await owed.collect()
    await owed.collect()
    await owed.collect(2)
    # At no time can two intents of one invoice take money.
    assert len(stripe_side.live) <= 1, stripe_side.intents
    if len(stripe_side.intents) == 2:
        order = [(one.method, one.path) for one in stripe_side.asked if one.method == "POST"]
        creations = [place for place, one in enumerate(order) if one[1] == "/v1/payment_intents"]
        assert order.index(("POST", "/v1/payment_intents/pi_1/cancel")) < creations[-1]


async def test_item_9_an_intent_that_succeeds_later_settles_once(owed: Collection, stripe_side: ScaStripe) -> None:
    await owed.collect()
    await owed.collect()
    stripe_side.confirm("pi_1")
    statuses = [(await owed.collect()).status for _ in range(2)]
    assert statuses == ["paid", "paid"]
    assert (await owed.collect(2)).status == "not_collectable"
    assert (await owed.invoice()).settled_minor == 4900
    assert len(stripe_side.intents) == 1


def request(**more: Any) -> ChargeRequest:
    invoice_id = new_id()
    values = {
        "project_id": new_id(),
        "invoice_id": invoice_id,
        "attempt_no": 1,
        "key": payment_key(invoice_id, 1),
        "amount_minor": 14900,
        "currency": "usd",
        "customer_ref": "cus_1",
        "at": MAY,
        "started_at": datetime.now(UTC),
    }
    return ChargeRequest(**values | more)


async def test_item_9_both_answers_of_stripe_mean_the_same(stripe_side: ScaStripe) -> None:
    provider = StripePayments(KEY, api_base=stripe_side.url, timeout_seconds=5)
    asked = request()
    assert isinstance(await provider.charge(asked), RequiresAction)
    assert isinstance(await provider.find(asked), RequiresAction)
    stripe_side.intents["pi_1"]["status"] = "requires_action"
    assert isinstance(await provider.find(asked), RequiresAction)
    # A decline of another kind stays a decline.
    declined = {"code": "card_declined", "decline_code": "insufficient_funds", "type": "card_error", "message": "no"}
    stripe_side.intents["pi_1"] |= {"status": "requires_payment_method", "last_payment_error": declined}
    found = await provider.find(asked)
    assert found is not None
    assert found.kind == "declined"


async def test_item_17_within_the_window_the_same_key_is_sent_again(owed: Collection, stripe_side: ScaStripe) -> None:
    stripe_side.authenticates, stripe_side.drop = False, 1
    assert (await owed.collect()).status == "pending"
    assert (await owed.collect()).status == "paid"
    # Nothing was listed: one intent, its creation asked for twice under one key.
    assert stripe_side.count("GET", "/v1/payment_intents") == 0
    keys = [one.key for one in stripe_side.asked if (one.method, one.path) == ("POST", "/v1/payment_intents")]
    assert (len(keys), len(set(keys)), len(stripe_side.intents)) == (2, 1, 1)


async def test_item_17_after_the_window_it_is_searched_by_metadata(owed: Collection, stripe_side: ScaStripe) -> None:
    stripe_side.authenticates, stripe_side.drop = False, 1
    assert (await owed.collect()).status == "pending"
    async with owed.world.database.transaction(owed.world.scope) as connection:
        await connection.execute(text("UPDATE payment_attempts SET created_at = created_at - interval '25 hours'"))
    assert (await owed.collect()).status == "paid"
    assert stripe_side.count("GET", "/v1/payment_intents/search") >= 1
    assert stripe_side.count("GET", "/v1/payment_intents") == 0
    assert stripe_side.count("POST", "/v1/payment_intents") == 1


async def test_item_17_a_rate_limit_is_waited_for_by_everybody_of_the_account(stripe_side: ScaStripe) -> None:
    """One 429 with Retry-After 3: no request of the account leaves within those three seconds."""
    stripe_side.authenticates, stripe_side.limited = False, 1
    provider = StripePayments(KEY, api_base=stripe_side.url, timeout_seconds=15)
    first = await provider.charge(request(method_ref="pm_1"))
    assert isinstance(first, Unknown | Succeeded)
    limited_at = stripe_side.asked[0].at
    await asyncio.gather(*(provider.charge(request(method_ref="pm_1")) for _ in range(10)))
    early = [one for one in stripe_side.asked[1:] if one.at < limited_at + 2.9]
    assert early == [], f"{len(early)} requests within the pause"


async def test_item_17_a_rate_limit_does_not_feed_itself(owed: Collection, stripe_side: ScaStripe) -> None:
    stripe_side.authenticates, stripe_side.limited, stripe_side.retry_after = False, 1, 1
    answers = [(await owed.collect()).status for _ in range(2)]
    assert answers[-1] == "paid"
    # The limited request, and the same one again (with the customer's default card looked up each time): no listing.
    assert stripe_side.count("GET", "/v1/payment_intents") == 0
    assert len(stripe_side.intents) == 1


async def test_item_17_an_old_attempt_is_not_looked_for_among_the_accounts_intents(stripe_side: ScaStripe) -> None:
    provider = StripePayments(KEY, api_base=stripe_side.url, timeout_seconds=5)
    old = request(started_at=datetime.now(UTC) - timedelta(hours=30))
    assert await provider.find(old) is None
    assert stripe_side.count("GET", "/v1/payment_intents") == 0
