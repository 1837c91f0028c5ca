"""Reservations: quantity that is taken from a subscription's hard limits before the work is done.

Several requests of a project share one transaction. It locks the limits concerned, reads in later statements what is
used and reserved, and admits one request after the other against those figures; so a cap is never over-admitted,
whatever runs at the same time. An expired reservation counts for nothing from its expiry on, by the wall clock.
"""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg

from adapters.postgres.arrays import bare, moments, texts, uuids
from adapters.postgres.database import Database, ProjectScope, with_commit
from adapters.postgres.events.ingest_events import IngestEvent, PresentedKey, Submission
from adapters.postgres.events.ingest_lookup import Lookup, Metric, looked_up, wall_clock_now
from adapters.postgres.events.ingest_lookup import SubscriptionTerms as Subscription
from adapters.postgres.limits import limit_usage
from adapters.postgres.limits.limit_usage import Limit, LimitedSubscription, LimitUsage
from adapters.postgres.limits.reservation_expiry_store import ADD_CHANGED
from billing.aggregations import RESERVABLE
from billing.limits import LimitStatus, ReservedQuantity
from billing.numbers import plain
from billing.period import Period
from models.identifiers import new_id, shown_id
from models.problems import Problem, conflict, not_found

_SOURCE: Final = "reservation"
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
#: Aggregations that a quantity given in advance adds to.
_MOST_REMEMBERED: Final = 20_000

_STORE: Final = f"""
    WITH changed AS (
        INSERT INTO usage_reservations
            (id, project_id, subscription_id, metric_id, quantity, properties, expires_at)
        SELECT r.id, %(project)s, r.subscription_id, r.metric_id, r.quantity, r.properties, r.expires_at
        FROM unnest(%(ids)s::uuid[], %(subscriptions)s::uuid[], %(metrics)s::uuid[], %(quantities)s::numeric[],
                    %(properties)s::jsonb[], %(expiries)s::timestamptz[])
             AS r (id, subscription_id, metric_id, quantity, properties, expires_at)
        RETURNING project_id, subscription_id, metric_id, quantity
    ) {ADD_CHANGED}
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True)
class ReservationRequest:
    """One request for a reservation; ``presented`` is None if its key has just been checked."""

    subscription_ref: str
    metric_ref: str
    quantity: Decimal
    ttl_seconds: int
    properties: dict[str, Any] | None = None
    presented: PresentedKey | None = None


@dataclass(frozen=True)
class KeyChanged:
    """The key of a request is no longer what it was taken for; authenticate again."""


@dataclass(frozen=True)
class Reserved:
    """A reservation that was made, and how the limits that it keeps stand with it."""

    id: UUID
    subscription_id: UUID
    metric_id: UUID
    metric_key: str
    quantity: Decimal
    properties: dict[str, Any] | None
    created_at: datetime
    expires_at: datetime
    standings: Sequence[tuple[Limit, LimitStatus, LimitUsage]]
    status: str = "open"
    committed_quantity: Decimal | None = None
    event_id: UUID | None = None


Answer = Reserved | Problem | KeyChanged


@dataclass(frozen=True)
class _Wanted:
    """An ask whose references are known."""

    ask: ReservationRequest
    subscription: Subscription
    metric: Metric


async def reserve(database: Database, scope: ProjectScope, asks: Sequence[ReservationRequest]) -> list[Answer]:
    """Answer each request, in their order, with its reservation or with the problem that refuses it.

    409 ``limit_reached`` names the metric's cap, 402 ``limit_reached`` the spend's. Returns after the commit. Raises
    ``Problem`` 503 if Postgres cannot be reached: then nothing was reserved.
    """
    cached_caller = _guesses.of(scope, asks)
    if cached_caller:
        with suppress(_StaleCache):
            return await _reserve(database, scope, asks, cached_caller)
        _guesses.forget(scope, asks)
    return await _reserve(database, scope, asks)


async def _reserve(
    database: Database,
    scope: ProjectScope,
    asks: Sequence[ReservationRequest],
    cached_caller: Sequence[LimitedSubscription] = (),
) -> list[Answer]:
    """Reserve; what is guessed to be concerned is locked and read in one round trip with the references.

    Raises ``_StaleCache``, having done nothing.
    """
    named = [Submission([_event(ask)], _SOURCE, ask.presented) for ask in asks]
    also = limit_usage.usage_statements(cached_caller) if cached_caller else ()
    async with looked_up(database, scope, named, *also) as (connection, found, rows):
        wanted = [_known(ask, found, scope) for ask in asks]
        concerned = _limited_subscriptions(wanted)
        if not cached_caller:
            counters = await limit_usage.locked_counters(connection, concerned)
        elif concerned == cached_caller:
            counters = await limit_usage.read_usage(connection, concerned, rows)
        else:
            # What was locked may not be all that must be: another transaction takes the locks in their order.
            raise _StaleCache
        _guesses.remember(scope, wanted)
        answers = [_admit(each, counters) if isinstance(each, _Wanted) else each for each in wanted]
        made = [answer for answer in answers if isinstance(answer, Reserved)]
        if made:
            async with with_commit(connection) as raw:
                await _store(raw, scope, made)
        return answers


def _event(ask: ReservationRequest) -> IngestEvent:
    return IngestEvent(ask.metric_ref, subscription_ref=ask.subscription_ref)


def _limited_subscriptions(wanted: Sequence[_Wanted | Problem | KeyChanged | None]) -> list[LimitedSubscription]:
    """Return the subscriptions whose limits must be kept, in the order in which those are locked."""
    asked: dict[UUID, set[UUID]] = {}
    subscriptions: dict[UUID, Subscription] = {}
    for each in wanted:
        if isinstance(each, _Wanted):
            subscriptions[each.subscription.id] = each.subscription
            asked.setdefault(each.subscription.id, set()).add(each.metric.id)
    return [
        LimitedSubscription(id_, own.plan_version_id, _period(own), frozenset(asked[id_]))
        for id_, own in sorted(subscriptions.items())
    ]


class _StaleCache(Exception):
    """What references stood for lately is not what they stand for now."""


class _ReferenceCache:
    """What references stood for lately: only ever a guess, which the transaction verifies."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[UUID, str, str], _Wanted] = OrderedDict()

    def of(self, scope: ProjectScope, asks: Sequence[ReservationRequest]) -> list[LimitedSubscription]:
        """Guess what requests concern; nothing if one of their references is new."""
        known = [self._known.get(_name(scope, ask)) for ask in asks]
        return [] if None in known else _limited_subscriptions(known)

    def remember(self, scope: ProjectScope, wanted: Sequence[_Wanted | Problem | KeyChanged]) -> None:
        """Keep what requests were found to concern, in place of what was known."""
        for each in wanted:
            if isinstance(each, _Wanted):
                self._known[_name(scope, each.ask)] = each
                self._known.move_to_end(_name(scope, each.ask))
        while len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)

    def forget(self, scope: ProjectScope, asks: Sequence[ReservationRequest]) -> None:
        """Drop what was wrong, or may have been."""
        for ask in asks:
            self._known.pop(_name(scope, ask), None)


def _name(scope: ProjectScope, ask: ReservationRequest) -> tuple[UUID, str, str]:
    return scope.project_id, ask.subscription_ref, ask.metric_ref


_guesses: Final = _ReferenceCache()


def _period(subscription: Subscription) -> Period:
    at = subscription.frozen_time or wall_clock_now()
    return limit_usage.period_at(subscription.interval, subscription.aligned, subscription.anchor, at)


def _known(ask: ReservationRequest, found: Lookup, scope: ProjectScope) -> _Wanted | Problem | KeyChanged:
    if not found.accepts(ask.presented, scope):
        return KeyChanged()
    subscription = found.subscriptions.get(ask.subscription_ref)
    if subscription is None:
        return not_found("subscription", ask.subscription_ref)
    metric = found.metrics.get(ask.metric_ref)
    if metric is None:
        return not_found("metric", ask.metric_ref)
    problem = _not_usable(subscription) or _not_reservable(metric, ask.quantity)
    return _Wanted(ask, subscription, metric) if problem is None else problem


def _not_usable(subscription: Subscription) -> Problem | None:
    now = subscription.frozen_time or wall_clock_now()
    is_over = subscription.ends_at is not None and now >= subscription.ends_at
    if subscription.status == "pending" or is_over or now < subscription.starts_at:
        what = "has ended" if is_over else "has not started"
        return conflict("subscription_not_active", f"The subscription {what}, so that nothing can be used on it.")
    if subscription.status == "suspended":
        detail = "The subscription is suspended: its service is withheld until it is reinstated."
        return conflict("subscription_suspended", detail)
    return None


def _not_reservable(metric: Metric, quantity: Decimal) -> Problem | None:
    folding = metric.aggregation
    if not folding.is_reservable:
        detail = (
            f"The metric {metric.key} is a {folding.kind}; only what adds up ({', '.join(RESERVABLE)}) can be reserved."
        )
        return Problem(422, "metric_not_reservable", detail)
    if folding.counts_events and quantity != 1:
        return Problem(422, "quantity_not_one", f"The metric {metric.key} counts events; reserve them one by one.")
    return None


def _admit(wanted: _Wanted, counters: dict[UUID, LimitUsage]) -> Answer:
    """Admit a reservation if every limit still holds with it, and count it from then on."""
    ask, metric = wanted.ask, wanted.metric
    held = ReservedQuantity(metric_id=metric.id, quantity=ask.quantity, properties=ask.properties or {})
    counter = counters.get(wanted.subscription.id)
    standings: list[tuple[Limit, LimitStatus, LimitUsage]] = []
    if counter is not None:
        for limit in counter.concerned(metric.id):
            standing = counter.standing(limit, held)
            if not standing.is_kept:
                return _refusal(limit, counter, wanted)
            standings.append((limit, standing, counter))
        counter.admit(held)
    now = wall_clock_now()
    return Reserved(
        id=new_id(),
        subscription_id=wanted.subscription.id,
        metric_id=metric.id,
        metric_key=metric.key,
        quantity=ask.quantity,
        properties=ask.properties,
        created_at=now,
        expires_at=now + timedelta(seconds=ask.ttl_seconds),
        standings=standings,
    )


def _refusal(limit: Limit, counter: LimitUsage, wanted: _Wanted) -> Problem:
    """Return which cap is reached, and what of it is used, reserved and left."""
    standing = counter.standing(limit)
    shown = {"cap": standing.cap, "used": standing.used, "reserved": standing.reserved, "left": standing.left}
    state = {
        "id": shown_id("usage_limit", limit.id),
        "kind": "spend" if limit.metric_id is None else "metric",
        "metric_key": limit.metric_key,
        **shown,
        "asked": wanted.ask.quantity,
        "period_start": counter.period.start,
        "period_end": counter.period.end,
    }
    what = {name: plain(value) for name, value in shown.items()}
    of = f"spend in minor units of {counter.version.currency}" if limit.metric_id is None else limit.metric_key
    detail = (
        f"The cap of {what['cap']} ({of}) does not leave room for {plain(wanted.ask.quantity)} {wanted.metric.key}: "
        f"{what['used']} used, {what['reserved']} reserved, {what['left']} left until "
        f"{counter.period.end:%Y-%m-%dT%H:%M:%SZ}. Raise the cap, or release what is not needed."
    )
    return Problem(402 if limit.metric_id is None else 409, "limit_reached", detail, extra={"limit": state})


async def _store(raw: "psycopg.AsyncConnection[Any]", scope: ProjectScope, made: Sequence[Reserved]) -> None:
    parameters = {
        "project": scope.project_id,
        "ids": uuids(each.id for each in made),
        "subscriptions": uuids(each.subscription_id for each in made),
        "metrics": uuids(each.metric_id for each in made),
        "quantities": bare([plain(each.quantity) for each in made]),
        "properties": texts([_json(each.properties) for each in made]),
        "expiries": moments(each.expires_at for each in made),
    }
    await raw.execute(_STORE.encode(), parameters, prepare=True)


def _json(properties: dict[str, Any] | None) -> str | None:
    return None if properties is None else _ENCODER.encode(properties).decode()
