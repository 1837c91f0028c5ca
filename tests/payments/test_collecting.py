"""Collecting an invoice through the sandbox: once, whatever happens in between (C7, B124-B127)."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from adapters.postgres.database import SYSTEM
from models.tables import customers
from tests.support.billing_world import MAY
from tests.support.collection import Collection


async def test_a_charge_pays_the_invoice(collection: Collection) -> None:
    collected = await collection.collect()
    invoice = await collection.invoice()
    assert (collected.status, collected.attempt_no, collected.charged_at) == ("paid", 1, MAY)
    assert str(collected.payment_intent_id).startswith("pi_")
    assert (invoice.status, invoice.paid_at, invoice.payment_intent_id) == ("paid", MAY, collected.payment_intent_id)
    assert invoice.attempt_count == 1
    assert await collection.world.actions(collection.invoice_id) == ["created", "issued", "charged"]
    assert (await collection.world.webhooks())[-1]["type"] == "invoice.paid"


async def test_the_same_message_again_answers_the_same(collection: Collection) -> None:
    first = await collection.collect()
    assert await collection.collect() == first
    assert len(await collection.ledger()) == 1


async def test_another_attempt_of_a_paid_invoice_is_refused(collection: Collection) -> None:
    await collection.collect()
    again = await collection.collect(2)
    assert (again.status, again.code) == ("not_collectable", "invoice_paid")
    assert len(await collection.ledger()) == 1


async def test_ten_at_once_charge_once(collection: Collection) -> None:
    answers = await asyncio.gather(*(collection.collect() for _ in range(10)))
    assert {answer.status for answer in answers} == {"paid"}
    assert len({answer.payment_intent_id for answer in answers}) == 1
    assert len(await collection.ledger()) == 1
    assert (await collection.world.actions(collection.invoice_id)).count("charged") == 1
    assert [message["type"] for message in await collection.world.webhooks()].count("invoice.paid") == 1


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ("cus_1_declined", "card_declined"),
        ("cus_1_insufficient_funds", "insufficient_funds"),
        ("cus_1_expired_card", "expired_card"),
    ],
)
async def test_a_decline_leaves_the_invoice_open(collection: Collection, card: str, code: str) -> None:
    await collection.card(card)
    collected = await collection.collect()
    invoice = await collection.invoice()
    assert (collected.status, collected.code, invoice.status, invoice.attempt_count) == ("declined", code, "issued", 1)
    assert (await collection.world.actions(collection.invoice_id))[-1] == "charge_failed"
    failed = (await collection.world.webhooks())[-1]
    assert (failed["type"], failed["data"]["failure_code"]) == ("invoice.failed", code)


async def test_the_last_attempt_of_the_schedule_fails_the_invoice(collection: Collection) -> None:
    await collection.card("cus_declined")
    for number in range(1, 5):
        await collection.collect(number)
    await collection.collect(5, final=True)
    invoice = await collection.invoice()
    assert (invoice.status, invoice.attempt_count) == ("failed", 5)


async def test_a_failed_invoice_can_still_be_charged(collection: Collection) -> None:
    await collection.card("cus_declined")
    await collection.collect(1, final=True)
    await collection.card("cus_good")
    assert (await collection.collect(2)).status == "paid"


@pytest.mark.parametrize(("card", "declines"), [("cus_decline_once", 1), ("cus_decline_3_times", 3)])
async def test_a_card_recovers_after_its_declines(collection: Collection, card: str, declines: int) -> None:
    await collection.card(card)
    answers = [(await collection.collect(number)).status for number in range(1, declines + 2)]
    assert answers == ["declined"] * declines + ["paid"]


async def test_a_lost_answer_stays_pending_and_resolves_to_the_one_charge(collection: Collection) -> None:
    await collection.card("cus_timeout_after_success")
    first = await collection.collect()
    assert (first.status, (await collection.invoice()).status) == ("pending", "issued")
    second = await collection.collect()
    assert second.status == "paid"
    (charge,) = await collection.ledger()
    assert second.payment_intent_id == charge.payment_intent_id


async def test_an_unknown_outcome_is_resumed_under_its_own_number(collection: Collection) -> None:
    await collection.card("cus_timeout_after_success")
    await collection.collect()
    other = await collection.collect(2)
    assert (other.status, other.attempt_no) == ("paid", 1)
    assert len(await collection.world.attempts()) == 1


async def test_after_a_day_an_unknown_attempt_is_looked_up(collection: Collection) -> None:
    await collection.card("cus_timeout_after_success")
    await collection.collect()
    await _age_attempts(collection)
    assert (await collection.collect()).status == "paid"
    assert len(await collection.ledger()) == 1


async def test_an_old_attempt_that_never_arrived_is_a_known_failure(collection: Collection) -> None:
    """After a day the provider may have forgotten the key, so nothing is sent again: it would be a second charge."""
    await collection.card("cus_timeout_after_success")
    await collection.collect()
    await _age_attempts(collection)
    async with collection.world.database.transaction(SYSTEM) as connection:
        await connection.execute(text("DELETE FROM sandbox_charges"))
    lost = await collection.collect()
    assert (lost.status, lost.code) == ("declined", "never_received")
    assert await collection.ledger() == []
    await collection.card("cus_good")
    assert (await collection.collect(2)).status == "paid"


async def test_a_payment_that_needs_the_customer_waits_for_them(collection: Collection) -> None:
    await collection.card("cus_requires_action")
    assert (await collection.collect()).status == "requires_action"
    assert (await collection.collect()).status == "requires_action"
    async with collection.world.database.transaction(SYSTEM) as connection:
        await connection.execute(text("UPDATE sandbox_charges SET status = 'succeeded'"))
    assert (await collection.collect()).status == "paid"
    assert (await collection.world.actions(collection.invoice_id)).count("charge_requires_action") == 1


async def test_a_new_attempt_gives_up_the_one_that_waits(collection: Collection) -> None:
    await collection.card("cus_requires_action")
    await collection.collect()
    await collection.card("cus_good")
    assert (await collection.collect(2)).status == "paid"
    assert [row.status for row in await collection.world.attempts()] == ["declined", "succeeded"]
    assert [row.status for row in await collection.ledger()] == ["canceled", "succeeded"]


@pytest.mark.parametrize("status", ["draft", "voided", "paid"])
async def test_only_open_invoices_are_collected(collection: Collection, status: str) -> None:
    await collection.set_status(status)
    refused = await collection.collect()
    assert (refused.status, refused.code) == ("not_collectable", f"invoice_{status}")
    assert await collection.ledger() == []


@pytest.mark.parametrize(
    ("provider", "code"),
    [("manual", "manual_payment"), (None, "no_payment_provider"), ("adyen", "no_payment_provider")],
)
async def test_customers_without_a_provider_are_not_charged(
    collection: Collection, provider: str | None, code: str
) -> None:
    await collection.world.change(customers, collection.world.customer_id, payment_provider=provider)
    refused = await collection.collect()
    assert (refused.status, refused.code) == ("not_collectable", code)


async def test_without_a_key_stripe_is_the_sandbox(collection: Collection) -> None:
    await collection.world.change(customers, collection.world.customer_id, payment_provider="stripe")
    assert (await collection.collect()).status == "paid"
    assert len(await collection.ledger()) == 1


async def _age_attempts(collection: Collection) -> None:
    """Let the attempts be older than a day."""
    (attempt,) = await collection.world.attempts()
    async with collection.world.database.transaction(collection.world.scope) as connection:
        await connection.execute(
            text("UPDATE payment_attempts SET created_at = :then"), {"then": attempt.created_at - timedelta(hours=25)}
        )
