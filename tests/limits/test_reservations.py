"""Reservations on a real Postgres: never more than the cap, whatever runs at once."""

import asyncio
from decimal import Decimal
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.postgres.database import SYSTEM, Database
from adapters.postgres.limits import reservation_commit_store, reservation_expiry_store, reservation_store
from adapters.postgres.limits.reservation_commit_store import FinishedReservation, ReservationCommit
from adapters.postgres.limits.reservation_store import ReservationRequest, Reserved
from api.http.auth import caller_with_key
from tests.api.conftest import Service
from tests.usage.conftest import Shop


async def _capped(shop: Shop, cap: int, **more: Any) -> tuple[str, dict[str, Any]]:
    subscription = await shop.ready()
    body = {"metric_key": "api_calls", "cap": cap, **more}
    return subscription, await shop.made(f"/v1/subscriptions/{subscription}/limits", **body)


async def _limit(shop: Shop, subscription: str) -> dict[str, Any]:
    (limit,) = (await shop.http.get(f"/v1/subscriptions/{subscription}/limits")).json()
    found: dict[str, Any] = limit
    return found


async def _reserve(shop: Shop, subscription: str, quantity: Any = 1, **more: Any) -> httpx.Response:
    body = {"metric": "api_calls", "quantity": quantity, **more}
    return await shop.http.post(f"/v1/subscriptions/{subscription}/reservations", json=body)


async def _expire(service: Service) -> None:
    """Let every open reservation have expired a second ago."""
    database: Database = service.app.state.database
    async with database.transaction(SYSTEM) as connection:
        await connection.exec_driver_sql(
            "UPDATE usage_reservations SET expires_at = clock_timestamp() - interval '1 second' WHERE status = 'open'"
        )


async def _sweep(service: Service) -> None:
    await reservation_expiry_store.sweep(service.app.state.database)


async def _figures_agree(database: Database) -> None:
    """The running figures are the sums of the rows that say open, of every subscription and metric."""
    async with database.transaction(SYSTEM) as connection:
        statement = (
            "SELECT coalesce(t.quantity, 0) - coalesce(r.quantity, 0) FROM usage_reserved t FULL JOIN ("
            "  SELECT subscription_id, metric_id, sum(quantity) AS quantity FROM usage_reservations"
            "  WHERE status = 'open' GROUP BY subscription_id, metric_id"
            ") r USING (subscription_id, metric_id)"
        )
        differences = (await connection.exec_driver_sql(statement)).scalars().all()
    assert differences, "something was reserved"
    assert set(differences) == {0}


async def test_200_at_once_get_50_of_a_cap_of_50(shop: Shop) -> None:
    subscription, _ = await _capped(shop, 50)
    answers = await asyncio.gather(*(_reserve(shop, subscription) for _ in range(200)))
    assert sorted(answer.status_code for answer in answers) == [201] * 50 + [409] * 150
    limit = await _limit(shop, subscription)
    assert (limit["used"], limit["reserved"], limit["left"]) == (0, 50, 0)
    refused = next(answer for answer in answers if answer.status_code == 409).json()
    assert refused["code"] == "limit_reached"
    assert [refused["limit"][name] for name in ("cap", "used", "reserved", "left", "asked")] == [50, 0, 50, 0, 1]


async def test_transactions_of_several_processes_cannot_take_the_same_room(
    shop: Shop, service: Service, database: Database
) -> None:
    subscription, _ = await _capped(shop, 30)
    key = str(shop.http.headers["authorization"]).removeprefix("Bearer ")
    scope = (await caller_with_key(database, key)).scope
    others = [Database(str(database.engine.url.render_as_string(hide_password=False)), pool_size=2) for _ in range(3)]
    ask = ReservationRequest(subscription, "api_calls", Decimal(2), 60)

    async def churn(own: Database) -> int:
        """Reserve, and commit, release or let expire some of it, in transactions that nothing gathers."""
        kept = 0
        for number in range(12):
            await reservation_expiry_store.sweep(own)
            (made,) = await reservation_store.reserve(own, scope, [ask])
            if isinstance(made, Reserved):
                kept += 1
                if number % 3 == 0:
                    (done,) = await reservation_commit_store.commit_or_release(
                        own, scope, [ReservationCommit(str(made.id), number % 2 == 0)]
                    )
                    assert isinstance(done, FinishedReservation)
            limit = await _limit(shop, subscription)
            assert limit["used"] + limit["reserved"] <= 30
        return kept

    assert sum(await asyncio.gather(*(churn(own) for own in others))) >= 15
    await _figures_agree(database)
    for own in others:
        await own.close()


async def test_plain_events_count_and_are_never_refused(shop: Shop) -> None:
    subscription, _ = await _capped(shop, 10)
    await shop.send(value=8)
    assert (await _reserve(shop, subscription, 3)).status_code == 409
    assert (await _reserve(shop, subscription, 2)).status_code == 201
    await shop.send(value=5)
    limit = await _limit(shop, subscription)
    assert (limit["used"], limit["reserved"], limit["left"]) == (13, 2, 0)


async def test_what_is_committed_counts_once_and_the_rest_is_free_again(shop: Shop) -> None:
    subscription, _ = await _capped(shop, 10)
    made = (await _reserve(shop, subscription, 10)).json()
    path = f"/v1/reservations/{made['id']}/commit"
    first, again = await asyncio.gather(*(shop.http.post(path, json={"quantity": 7}) for _ in range(2)))
    assert first.status_code == again.status_code == 200, (first.text, again.text)
    assert first.json() == again.json()
    assert (first.json()["status"], first.json()["committed_quantity"]) == ("committed", 7)
    assert await shop.status_of(first.json()["event_id"]) == ("counted", None)
    limit = await _limit(shop, subscription)
    assert (limit["used"], limit["reserved"], limit["left"]) == (7, 0, 3)
    assert await shop.units(subscription) in (7, "7")
    for body, code in (({"quantity": 6}, "reservation_committed"), ({"quantity": 11}, "reservation_committed")):
        answer = await shop.http.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, code)
    released = await shop.http.post(f"/v1/reservations/{made['id']}/release")
    assert (released.status_code, released.json()["code"]) == (409, "reservation_committed")


async def test_a_commit_whose_event_was_sent_before_counts_nothing_twice(shop: Shop) -> None:
    subscription, _ = await _capped(shop, 10)
    made = (await _reserve(shop, subscription, 4)).json()
    await shop.send(value=9, idempotency_key="other")
    path = f"/v1/reservations/{made['id']}/commit"
    conflict = await shop.http.post(path, json={"idempotency_key": "other"})
    assert (conflict.status_code, conflict.json()["code"]) == (409, "event_conflict")
    assert (await shop.http.get(f"/v1/reservations/{made['id']}")).json()["status"] == "open"
    assert (await shop.http.post(path, json={"idempotency_key": "own"})).status_code == 200
    limit = await _limit(shop, subscription)
    assert (limit["used"], limit["reserved"]) == (13, 0)


async def test_an_expired_reservation_is_free_and_cannot_be_committed(shop: Shop, service: Service) -> None:
    subscription, _ = await _capped(shop, 5)
    made = (await _reserve(shop, subscription, 5, ttl_seconds=60)).json()
    assert (await _reserve(shop, subscription)).status_code == 409
    await _expire(service)
    assert (await shop.http.get(f"/v1/reservations/{made['id']}")).json()["status"] == "expired"
    assert (await _reserve(shop, subscription, 5)).status_code == 201
    late = await shop.http.post(f"/v1/reservations/{made['id']}/commit")
    assert (late.status_code, late.json()["code"]) == (409, "reservation_expired")
    expired = await shop.http.get(f"/v1/subscriptions/{subscription}/reservations", params={"status": "expired"})
    assert [row["id"] for row in expired.json()] == [made["id"]]


async def test_a_swept_reservation_answers_as_before_it_was_swept(shop: Shop, service: Service) -> None:
    subscription, _ = await _capped(shop, 5)
    committed, released = [(await _reserve(shop, subscription, 2)).json()["id"] for _ in range(2)]
    await _expire(service)
    await _sweep(service)
    assert (await shop.http.get(f"/v1/reservations/{committed}")).json()["status"] == "expired"
    late = await shop.http.post(f"/v1/reservations/{committed}/commit")
    assert (late.status_code, late.json()["code"]) == (409, "reservation_expired")
    for _ in range(2):
        freed = await shop.http.post(f"/v1/reservations/{released}/release")
        assert (freed.status_code, freed.json()["status"]) == (200, "released")
    assert (await _limit(shop, subscription))["left"] == 5
    assert (await _reserve(shop, subscription, 5)).status_code == 201
    await _figures_agree(service.app.state.database)


async def test_a_sweep_takes_more_than_one_batch_and_what_is_open_stays(shop: Shop, service: Service) -> None:
    subscription, _ = await _capped(shop, 10_000)
    database: Database = service.app.state.database
    key = str(shop.http.headers["authorization"]).removeprefix("Bearer ")
    scope = (await caller_with_key(database, key)).scope
    asks = [ReservationRequest(subscription, "api_calls", Decimal(2), 60)] * 600
    assert all(isinstance(made, Reserved) for made in await reservation_store.reserve(database, scope, asks))
    await _expire(service)
    assert (await _reserve(shop, subscription, 3)).status_code == 201
    assert (await _limit(shop, subscription))["reserved"] == 3
    await _sweep(service)
    assert (await _limit(shop, subscription))["reserved"] == 3
    shown = await shop.http.get(f"/v1/subscriptions/{subscription}/reservations", params={"status": "expired"})
    assert shown.headers["x-total-count"] == "600"
    await _figures_agree(database)


async def test_a_release_frees_everything_and_may_be_repeated(shop: Shop) -> None:
    subscription, _ = await _capped(shop, 5)
    made = (await _reserve(shop, subscription, "4.5")).json()
    for _ in range(2):
        answer = await shop.http.post(f"/v1/reservations/{made['id']}/release")
        assert (answer.status_code, answer.json()["status"]) == (200, "released")
    assert (await _limit(shop, subscription))["left"] == 5
    commit = await shop.http.post(f"/v1/reservations/{made['id']}/commit")
    assert (commit.status_code, commit.json()["code"]) == (409, "reservation_released")


async def test_a_cap_on_spend_prices_what_is_asked_for_under_the_plan(shop: Shop) -> None:
    """0.01 a call: 4,000 calls are 4,000 cents of a cap of 5,000; 1,000 more fit and 1,001 do not."""
    subscription = await shop.ready()
    await shop.made(f"/v1/subscriptions/{subscription}/limits", kind="spend", cap=5000)
    await shop.send(value=4000)
    refused = await _reserve(shop, subscription, 1001)
    assert (refused.status_code, refused.json()["code"]) == (402, "limit_reached")
    assert [refused.json()["limit"][name] for name in ("cap", "used", "left")] == [5000, 4000, 1000]
    made = await _reserve(shop, subscription, 1000)
    assert made.status_code == 201
    (standing,) = made.json()["limits"]
    assert (standing["kind"], standing["used"], standing["reserved"], standing["left"]) == ("spend", 4000, 1000, 0)
    assert (await _reserve(shop, subscription, 1)).status_code == 402


async def test_a_cap_on_spend_counts_every_charge_of_the_plan(shop: Shop) -> None:
    """0.01 a call, 0.10 for the first job and 0.50 for each further one, in all or of each region.

    20 calls used and 20 reserved leave 60 cents: 2 jobs in all (10 + 50), or one of each of 6 regions.
    """
    await shop.ready()
    await shop.metric("jobs", aggregation="count")
    calls = {"metric_key": "api_calls", "pricing_model": "tiered", "tiers": [{"up_to": None, "unit_price": 0.01}]}
    tiers = [{"up_to": 1, "unit_price": 0.10}, {"up_to": None, "unit_price": 0.50}]
    jobs = {"metric_key": "jobs", "pricing_model": "tiered", "tiers": tiers}
    for plan, more, most in (("in_all", {}, 2), ("of_each", {"group_by": ["region"]}, 6)):
        charges = [calls, {**jobs, **more}]
        await shop.made("/v1/plans", id=plan, name=plan, currency="usd", billing_period="monthly", charges=charges)
        subscription = await shop.subscription(plan=plan)
        await shop.made(f"/v1/subscriptions/{subscription}/limits", kind="spend", cap=100)
        await shop.send(value=20, customer_id=None, subscription_id=subscription)
        assert (await _reserve(shop, subscription, 20)).status_code == 201
        path = f"/v1/subscriptions/{subscription}/reservations"
        bodies = [{"metric": "jobs", "quantity": 1, "properties": {"region": str(number)}} for number in range(8)]
        answers = [await shop.http.post(path, json=body) for body in bodies]
        assert [answer.status_code for answer in answers] == [201] * most + [402] * (8 - most)
        limit = await _limit(shop, subscription)
        assert [limit[name] for name in ("used", "reserved", "left")] == [20, 80, 0]


async def test_an_idempotency_key_replays_the_reservation(shop: Shop) -> None:
    subscription, _ = await _capped(shop, 5)
    body = {"metric": "api_calls", "quantity": 3}
    path = f"/v1/subscriptions/{subscription}/reservations"
    first, again = [await shop.http.post(path, json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert first.json()["id"] == again.json()["id"]
    assert (await _limit(shop, subscription))["left"] == 2


async def test_bad_requests_are_named(shop: Shop) -> None:
    subscription, limit = await _capped(shop, 5)
    await shop.metric("seats", aggregation="max")
    reservations = f"/v1/subscriptions/{subscription}/reservations"
    limits = f"/v1/subscriptions/{subscription}/limits"
    for path, body, status in (
        (reservations, {"metric": "api_calls", "quantity": 0}, 422),
        (reservations, {"metric": "api_calls", "quantity": -1}, 422),
        (reservations, {"metric": "api_calls", "quantity": "NaN"}, 422),
        (reservations, {"metric": "api_calls", "quantity": 1, "ttl_seconds": 0}, 422),
        (reservations, {"metric": "api_calls", "quantity": 1, "more": 1}, 422),
        (reservations, {"metric": "seats", "quantity": 1}, 422),
        (reservations, {"metric": "unknown", "quantity": 1}, 404),
        ("/v1/subscriptions/unknown/reservations", {"metric": "api_calls", "quantity": 1}, 404),
        (limits, {"metric_key": "api_calls", "cap": 5}, 409),
        (limits, {"metric_key": "api_calls", "cap": -5}, 422),
        (limits, {"kind": "spend", "cap": "0.5"}, 422),
        (limits, {"kind": "spend", "metric_key": "api_calls", "cap": 5}, 422),
        (limits, {"metric_key": "unknown", "cap": 5}, 404),
        ("/v1/reservations/unknown/commit", {}, 404),
    ):
        answer = await shop.http.post(path, json=body)
        assert answer.status_code == status, (path, body, answer.text)
    raised = await shop.http.patch(f"{limits}/{limit['id']}", json={"cap": 6})
    assert (raised.status_code, raised.json()["left"]) == (200, 6)
    assert (await shop.http.delete(f"{limits}/{limit['id']}")).status_code == 204
    assert (await shop.http.get(f"{limits}/{limit['id']}")).status_code == 404
    assert (await _reserve(shop, subscription, 1000)).status_code == 201
    audited = (await shop.http.get("/v1/audit_logs", params={"resource_type": "usage_limit"})).json()
    assert [entry["action"] for entry in audited] == ["deleted", "updated", "created"]


async def test_many_large_reservations_go_through_together(shop: Shop) -> None:
    """They are more than a socket takes at once (psycopg issue 685)."""
    subscription, _ = await _capped(shop, 1000)
    large = {"note": "x" * 30_000}
    async with asyncio.timeout(60):
        answers = await asyncio.gather(*(_reserve(shop, subscription, properties=large) for _ in range(60)))
    assert [answer.status_code for answer in answers] == [201] * 60
    assert (await _reserve(shop, subscription, properties={"note": "x" * 33_000})).status_code == 422
    assert (await _limit(shop, subscription))["reserved"] == 60


_steps = st.lists(
    st.tuples(st.sampled_from(["reserve", "commit", "release", "expire", "sweep", "event"]), st.integers(1, 6)),
    max_size=14,
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_steps)
async def test_any_order_of_steps_agrees_with_a_naive_account(shop: Shop, service: Service, steps: Any) -> None:
    """used + reserved of reservations stays within the cap, and only plain events go past it."""
    made = await shop.http.post("/v1/customers", json={"id": "acme", "name": "acme"})
    if made.status_code == 201:
        await shop.metric()
        await shop.plan()
    subscription = await shop.subscription()
    await shop.made(f"/v1/subscriptions/{subscription}/limits", metric_key="api_calls", cap=12)
    await shop.made(f"/v1/subscriptions/{subscription}/limits", kind="spend", cap=12)
    used = 0
    held: list[tuple[str, int]] = []
    for step, number in steps:
        if step == "reserve":
            answer = await _reserve(shop, subscription, number)
            assert (answer.status_code == 201) == (used + sum(quantity for _, quantity in held) + number <= 12)
            if answer.status_code == 201:
                held.append((answer.json()["id"], number))
        elif step == "event":
            await shop.send(value=number, subscription_id=subscription)
            used += number
        elif step == "expire":
            await _expire(service)
            held.clear()
        elif step == "sweep":
            await _sweep(service)
        elif held:
            reservation, quantity = held.pop(number % len(held))
            assert (await shop.http.post(f"/v1/reservations/{reservation}/{step}")).status_code == 200
            used += quantity if step == "commit" else 0
        limits = (await shop.http.get(f"/v1/subscriptions/{subscription}/limits")).json()
        # A call costs a cent, so that both caps stand alike.
        assert [(each["used"], each["reserved"]) for each in limits] == [(used, sum(each for _, each in held))] * 2


async def test_what_a_reference_stood_for_lately_is_checked_each_time(shop: Shop, service: Service) -> None:
    """A group asks along for what its references were in the group before; any of that may have changed."""
    await shop.ready()
    first, second = [await shop.subscription(external_id=name) for name in ("first", "second")]
    for subscription in (first, second):
        await shop.made(f"/v1/subscriptions/{subscription}/limits", metric_key="api_calls", cap=100)

    async def reserved() -> tuple[str, str, int]:
        answer = await _reserve(shop, "first", 1)
        assert answer.status_code == 201, answer.text
        (limit,) = answer.json()["limits"]
        return answer.json()["subscription_id"], limit["period_start"], limit["reserved"]

    async def change(assignments: str, external_id: str) -> None:
        async with service.app.state.database.transaction(SYSTEM) as connection:
            await connection.exec_driver_sql(
                f"UPDATE subscriptions SET {assignments} WHERE external_id = %s",
                (external_id,),
            )

    owner, month, _ = await reserved()
    assert (owner, (await reserved())[1:]) == (first, (month, 2))
    await change("status = 'suspended'", "first")
    refused = await _reserve(shop, "first", 1)
    assert (refused.status_code, refused.json()["code"]) == (409, "subscription_suspended")
    await change("status = 'active', alignment = 'anniversary', anchor = anchor + interval '1 day'", "first")
    owner, other_month, count = await reserved()
    assert (owner, count) == (first, 3)
    assert other_month != month
    await change("external_id = 'gone'", "first")
    await change("external_id = 'first'", "second")
    assert await reserved() == (second, month, 1)


async def test_what_carries_over_counts_toward_the_cap(shop: Shop) -> None:
    """Events of the months before stay counted: 2 of them and 1 of this month leave 1 of a cap of 4."""
    await shop.metric(aggregation="count", carry_over=True)
    await shop.plan()
    await shop.customer()
    subscription = await shop.subscription()
    await shop.made(f"/v1/subscriptions/{subscription}/limits", metric_key="api_calls", cap=4)
    for timestamp in ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"):
        await shop.send(timestamp=timestamp)
    await shop.send()
    assert (await _limit(shop, subscription))["used"] == 3
    assert (await _reserve(shop, subscription, 2)).status_code == 422
    assert [(await _reserve(shop, subscription)).status_code for _ in range(2)] == [201, 409]
