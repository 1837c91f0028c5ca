"""The Stripe adapter against localstripe behind the fault proxy, and its requests against stripe-mock (C7, R18)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from activities.collecting import CollectingActivities
from adapters.payment_port import ChargeRequest, Declined, RequiresAction, Succeeded, Unknown
from adapters.payments.stripe import NotChargeable, StripePayments, provider_amount
from models.identifiers import new_id, payment_key
from models.tables import customers
from tests.support.billing_world import MAY
from tests.support.collection import Collection, FixedProviders
from tests.support.fault_proxy import FaultProxy
from tests.support.stripe_servers import KEY, localstripe, mock

GOOD, DECLINED, AUTHENTICATE = "4242424242424242", "4000000000000341", "4000002500003155"


@pytest.fixture(scope="module")
def localstripe_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with localstripe(tmp_path_factory.mktemp("localstripe")) as url:
        yield url


@pytest.fixture
async def proxy(localstripe_url: str) -> AsyncIterator[FaultProxy]:
    running = FaultProxy(localstripe_url)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def provider(proxy: FaultProxy) -> StripePayments:
    return StripePayments(KEY, api_base=proxy.url, timeout_seconds=2)


async def _post(url: str, path: str, data: dict[str, Any]) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, auth=(KEY, "")) as client:
        answer = await client.post(path, data=data)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def _customer(url: str, number: str | None = GOOD, *, default: bool = True) -> str:
    """Make a customer with a saved card."""
    customer = str((await _post(url, "/v1/customers", {"email": "billing@acme.io"}))["id"])
    if number is None:
        return customer
    card = {"card[number]": number, "card[exp_month]": "12", "card[exp_year]": "2030", "card[cvc]": "123"}
    method = (await _post(url, "/v1/payment_methods", {"type": "card", **card}))["id"]
    await _post(url, f"/v1/payment_methods/{method}/attach", {"customer": customer})
    if default:
        await _post(url, f"/v1/customers/{customer}", {"invoice_settings[default_payment_method]": method})
    return customer


def _request(customer: str | None, **more: Any) -> ChargeRequest:
    invoice_id = new_id()
    values = {
        "project_id": new_id(),
        "invoice_id": invoice_id,
        "attempt_no": 1,
        "key": payment_key(invoice_id, 1),
        "amount_minor": 14900,
        "currency": "usd",
        "customer_ref": customer,
        "at": MAY,
        "started_at": datetime.now(UTC),
    }
    return ChargeRequest(**values | more)


async def _intents(url: str, customer: str) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(base_url=url, auth=(KEY, "")) as client:
        answer = await client.get("/v1/payment_intents", params={"customer": customer})
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


@pytest.mark.parametrize("default", [True, False])
async def test_the_saved_method_is_charged(proxy: FaultProxy, provider: StripePayments, default: bool) -> None:
    customer = await _customer(proxy.url, default=default)
    request = _request(customer)
    outcome = await provider.charge(request)
    assert isinstance(outcome, Succeeded)
    (intent,) = await _intents(proxy.url, customer)
    assert (intent["id"], intent["amount"], intent["currency"]) == (outcome.payment_id, 14900, "usd")
    assert intent["metadata"]["durabill_key"] == request.key
    assert outcome.at == MAY


async def test_a_decline_says_why(proxy: FaultProxy, provider: StripePayments) -> None:
    outcome = await provider.charge(_request(await _customer(proxy.url, DECLINED)))
    assert isinstance(outcome, Declined)
    assert outcome.code == "card_declined"


async def test_customers_without_a_method_are_declined(proxy: FaultProxy, provider: StripePayments) -> None:
    for customer in (await _customer(proxy.url, None), None):
        outcome = await provider.charge(_request(customer))
        assert isinstance(outcome, Declined)
        assert outcome.code == "no_payment_method"
    assert isinstance(await provider.charge(_request("cus_unknown")), Declined)
    assert proxy.sent() == 0


async def test_a_dropped_answer_is_unknown_and_the_same_key_finds_the_charge(
    proxy: FaultProxy, provider: StripePayments
) -> None:
    customer = await _customer(proxy.url)
    request = _request(customer)
    proxy.faults.append("drop_answer")
    assert isinstance(await provider.charge(request), Unknown)
    outcome = await provider.charge(request)
    assert isinstance(outcome, Succeeded)
    assert [intent["id"] for intent in await _intents(proxy.url, customer)] == [outcome.payment_id]


async def test_a_slow_answer_is_unknown_never_a_failure(proxy: FaultProxy, provider: StripePayments) -> None:
    customer = await _customer(proxy.url)
    request = _request(customer)
    proxy.faults.append("slow")
    assert isinstance(await provider.charge(request), Unknown)
    assert isinstance(await provider.charge(request), Succeeded)
    assert len(await _intents(proxy.url, customer)) == 1


async def test_a_failure_at_stripe_is_unknown(proxy: FaultProxy, provider: StripePayments) -> None:
    customer = await _customer(proxy.url)
    request = _request(customer)
    proxy.faults.append("refuse")
    assert isinstance(await provider.charge(request), Unknown)
    assert await _intents(proxy.url, customer) == []
    assert isinstance(await provider.charge(request), Succeeded)


async def test_stripe_out_of_reach_is_unknown(provider: StripePayments) -> None:
    gone = StripePayments(KEY, api_base="http://127.0.0.1:9", timeout_seconds=1)
    assert isinstance(await gone.charge(_request("cus_1")), Unknown)
    assert isinstance(await gone.find(_request("cus_1")), Unknown)
    assert isinstance(await gone.abandon(_request("cus_1")), Unknown)


async def test_the_same_key_at_once_charges_once(proxy: FaultProxy, provider: StripePayments) -> None:
    customer = await _customer(proxy.url)
    request = _request(customer)
    outcomes = await asyncio.gather(*(provider.charge(request) for _ in range(5)))
    assert {type(outcome) for outcome in outcomes} <= {Succeeded, Unknown}
    assert len(await _intents(proxy.url, customer)) == 1
    assert isinstance(await provider.charge(request), Succeeded)


async def test_a_key_sent_before_with_another_card_stands_for_its_first_charge(
    proxy: FaultProxy, provider: StripePayments
) -> None:
    customer = await _customer(proxy.url)
    request = _request(customer)
    first = await provider.charge(request)
    changed = request.model_copy(update={"amount_minor": 15000})
    assert await provider.charge(changed) == first
    assert len(await _intents(proxy.url, customer)) == 1


async def test_find_asks_by_metadata(proxy: FaultProxy, provider: StripePayments) -> None:
    """A search may be behind by an hour, so that what it does not show is unknown until a day after the start."""
    customer = await _customer(proxy.url)
    request = _request(customer)
    assert isinstance(await provider.find(request), Unknown)
    charged = await provider.charge(request)
    proxy.forget_keys()
    assert await provider.find(request) == charged
    yesterday = datetime.now(UTC) - timedelta(hours=25)
    assert await provider.find(_request(customer, started_at=yesterday)) is None
    assert isinstance(await provider.abandon(_request(customer)), Unknown)
    assert isinstance(await provider.abandon(_request(customer, started_at=yesterday)), Declined)


async def test_an_authentication_waits_and_can_be_given_up(proxy: FaultProxy, provider: StripePayments) -> None:
    request = _request(await _customer(proxy.url, AUTHENTICATE))
    waiting = await provider.charge(request)
    assert isinstance(waiting, RequiresAction)
    assert isinstance(await provider.find(request), RequiresAction)
    given_up = await provider.abandon(request)
    assert isinstance(given_up, Declined)
    assert isinstance(await provider.find(request), Declined)


async def test_what_succeeded_cannot_be_given_up(proxy: FaultProxy, provider: StripePayments) -> None:
    request = _request(await _customer(proxy.url))
    charged = await provider.charge(request)
    assert await provider.abandon(request) == charged


@pytest.mark.parametrize(
    ("minor", "currency", "sent"),
    [
        (14900, "usd", 14900),
        (100, "JPY", 100),
        (100, "ISK", 10000),
        (7, "ugx", 700),
        (12300, "MGA", 123),
        (1230, "KWD", 1230),
    ],
)
def test_amounts_are_sent_as_stripe_counts_them(minor: int, currency: str, sent: int) -> None:
    assert provider_amount(minor, currency) == sent


@pytest.mark.parametrize(("minor", "currency"), [(12345, "MGA"), (1235, "kwd")])
async def test_an_amount_that_stripe_would_change_is_not_sent(minor: int, currency: str) -> None:
    with pytest.raises(NotChargeable):
        provider_amount(minor, currency)
    unreachable = StripePayments(KEY, api_base="http://127.0.0.1:9", timeout_seconds=1)
    outcome = await unreachable.charge(_request("cus_1", amount_minor=minor, currency=currency))
    assert isinstance(outcome, Declined)
    assert outcome.code == "amount_not_chargeable"


@pytest.fixture
async def stripe_collection(collection: Collection, proxy: FaultProxy, provider: StripePayments) -> Collection:
    """The invoice of a customer with a good card at Stripe."""
    customer = await _customer(proxy.url)
    await collection.world.change(
        customers, collection.world.customer_id, payment_provider="stripe", payment_provider_customer_id=customer
    )
    collection.activities = CollectingActivities(collection.world.database, FixedProviders(stripe=provider))
    return collection


async def test_an_invoice_is_charged_once_through_every_fault(
    stripe_collection: Collection, proxy: FaultProxy, provider: StripePayments
) -> None:
    proxy.faults += ["refuse", "drop_answer", "slow"]
    answers = [(await stripe_collection.collect()).status for _ in range(4)]
    assert answers[0] == "pending"
    assert answers[-1] == "paid"
    (attempt,) = await stripe_collection.world.attempts()
    assert len(await _intents(proxy.url, await _customer_of(stripe_collection))) == 1
    assert (await stripe_collection.invoice()).payment_intent_id == attempt.provider_payment_id


async def test_after_a_day_an_unknown_charge_is_looked_up_and_never_sent_again(
    stripe_collection: Collection, proxy: FaultProxy
) -> None:
    proxy.faults.append("drop_answer")
    assert (await stripe_collection.collect()).status == "pending"
    async with stripe_collection.world.database.transaction(stripe_collection.world.scope) as connection:
        await connection.execute(text("UPDATE payment_attempts SET created_at = created_at - interval '25 hours'"))
    proxy.forget_keys()
    assert (await stripe_collection.collect()).status == "paid"
    assert proxy.sent() == 1


async def _customer_of(collection: Collection) -> str:
    (row,) = await collection.world.rows(customers)
    return str(row.payment_provider_customer_id)


async def test_every_request_has_a_shape_that_stripe_accepts(tmp_path_factory: pytest.TempPathFactory) -> None:
    with mock(tmp_path_factory.mktemp("stripe-mock")) as url:
        # The mock answers searches and accounts itself.
        proxy = FaultProxy(url, stands_in_for_account=False)
        await proxy.start()
        try:
            provider = StripePayments(KEY, api_base=proxy.url, timeout_seconds=5)
            request = _request("cus_1")
            await provider.charge(request)
            await provider.find(request)
            await provider.find(_request("cus_1", payment_id="pi_1"))
            await provider.check_key()
            await provider.charge(_request("cus_1", amount_minor=100, currency="JPY"))
            await provider.abandon(_request("cus_1", payment_id="pi_1"))
            confirmation: Any = {"payment_method": "pm_1", "return_url": "https://example.org/back"}
            await provider._client.v1.payment_intents.confirm_async("pi_1", confirmation)
        finally:
            await proxy.stop()
    assert proxy.sent() == 2
    assert {one.status for one in proxy.seen} == {200}, proxy.seen


@pytest.mark.parametrize("hours", [0, 25])
@pytest.mark.parametrize("changed_to", ["nobody", "another"])
async def test_an_unknown_charge_is_found_although_the_customer_was_changed(
    stripe_collection: Collection, proxy: FaultProxy, hours: int, changed_to: str
) -> None:
    """An attempt was sent for the customer of then; asking about the customer of now would charge the invoice twice."""
    proxy.faults.append("drop_answer")
    assert (await stripe_collection.collect()).status == "pending"
    other = None if changed_to == "nobody" else await _customer(proxy.url, None)
    world = stripe_collection.world
    await world.change(customers, world.customer_id, payment_provider_customer_id=other)
    async with world.database.transaction(world.scope) as connection:
        await connection.execute(
            text("UPDATE payment_attempts SET created_at = created_at - make_interval(hours => :hours)"),
            {"hours": hours},
        )
    assert (await stripe_collection.collect()).status == "paid"
    assert proxy.sent() == 1
