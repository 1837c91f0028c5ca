"""The SQL of every aggregation gives what its fold gives on the same rows (style 5, item 9)."""

import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, text

from billing.aggregations import AGGREGATIONS, CARRY_OVER_AGGREGATIONS, Aggregation, EventValue, aggregation
from billing.numbers import plain
from billing.period import Period
from devstack.embedded_postgres import EmbeddedPostgres

# The day on which Berlin's clocks go forward lies inside, which must not matter.
PERIOD = Period(start=datetime(2026, 2, 28, 23, tzinfo=UTC), end=datetime(2026, 3, 31, 22, tzinfo=UTC))
CONFIGURATIONS: dict[str, list[dict[str, Any]]] = {
    "custom": [{"expression": "value * 2"}],
    "unique_count": [{"field": "user"}, {}],
    "percentile": [{"percentile": percentile} for percentile in (7, 50, 95, 100)],
    **{kind: [{}, {"carry_over": True}] for kind in CARRY_OVER_AGGREGATIONS},
}
SETS = 300
CONFIGURED = [
    aggregation(kind, **configuration) for kind in AGGREGATIONS for configuration in CONFIGURATIONS.get(kind, [{}])
]
# Notations matter to the database, which tells 5 from 5.0 in JSON text.
NOTATIONS = ["", '"ann"', '"5"', "5", "5.0", "5.50", "-0.0", "true", '"true"', "null", "[1]"]
PROPERTIES = st.sampled_from(NOTATIONS)
COLUMNS = "value numeric, properties jsonb, occurred_at timestamptz, received_at timestamptz, id uuid"


@pytest.fixture(scope="module")
def connection(postgres: EmbeddedPostgres) -> Iterator[Connection]:
    engine = create_engine(postgres.url().replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def bound(model: Aggregation) -> dict[str, Any]:
    """Return the bind values that an aggregation's SQL over events needs."""
    full_seconds = str(Decimal(PERIOD.duration // timedelta(microseconds=1)).scaleb(-6))
    binds: dict[str, Any] = {"start": PERIOD.start, "end": PERIOD.end, "full_seconds": full_seconds, **model.bindings}
    return {name: binds[name] for name in model.sql_parameters}


def random_rows(chance: random.Random) -> list[dict[str, Any]]:
    """Give up to nine rows from around the period, some of them at one instant, some more than once."""
    length = PERIOD.duration // timedelta(microseconds=1)
    instants = [PERIOD.start, PERIOD.end, PERIOD.end - timedelta(microseconds=1), PERIOD.start - timedelta(days=9)]
    made = [
        {
            "id": UUID(int=number + 1),
            "value": None
            if chance.random() < 0.1
            else Decimal(chance.randrange(-500, 5000)).scaleb(-chance.randrange(9)),
            "properties": chance.choice(NOTATIONS),
            "occurred_at": chance.choice(
                [*instants, PERIOD.start + timedelta(microseconds=chance.randrange(-length // 4, length))]
            ),
            "received_at": PERIOD.start + timedelta(seconds=chance.randrange(3)),
        }
        for number in range(chance.randrange(10))
    ]
    return chance.sample(made, len(made)) + chance.choices(made, k=2 if made else 0)


def test_300_random_sets_in_any_order_and_with_duplicates(connection: Connection) -> None:
    """One statement for each aggregation folds all sets; what is stored is distinct by key, as the events table is."""
    chance = random.Random("sets in Postgres")
    sets = [random_rows(chance) for _ in range(SETS)]
    documents = [
        f'{{"number": {number}, "event": {row_json(row)}}}' for number, found in enumerate(sets) for row in found
    ]
    source = (
        "SELECT DISTINCT s.number, e.* FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS s(number int, event jsonb),"
        f" jsonb_to_record(s.event) AS e({COLUMNS})"
    )
    for model in CONFIGURED:
        since = "true" if model.carries else "occurred_at >= :from"
        statement = text(
            f"SELECT wanted.number, {model.from_events} FROM generate_series(0, {SETS - 1}) AS wanted(number)"
            f" JOIN ({source}) events ON events.number = wanted.number"
            f" WHERE {since} AND occurred_at < :until GROUP BY wanted.number"
        )
        span = {"until": PERIOD.end} | ({} if model.carries else {"from": PERIOD.start})
        answers = connection.execute(statement, {"rows": f"[{', '.join(documents)}]", **bound(model), **span}).all()
        quantities: dict[int, Decimal] = {number: Decimal(quantity) for number, quantity in answers}
        assert len(quantities) > SETS // 2
        for number, found in enumerate(sets):
            assert quantities.get(number, 0) == model.fold([as_event(row) for row in found], PERIOD), (model, found)


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    values = st.integers(-4000, 4000).map(lambda units: Decimal(units).scaleb(-2))
    offsets = st.integers(0, PERIOD.duration // timedelta(microseconds=1) - 1)
    return [
        {
            "id": UUID(int=number),
            "value": draw(st.none() | values),
            "properties": draw(PROPERTIES),
            "occurred_at": PERIOD.start + timedelta(microseconds=draw(offsets | st.just(0))),
            "received_at": PERIOD.start + timedelta(seconds=draw(st.integers(0, 3))),
        }
        for number in draw(st.lists(st.integers(1, 99), max_size=7, unique=True))
    ]


def as_event(row: dict[str, Any]) -> EventValue:
    properties = json.loads(f'{{"user": {row["properties"]}}}', parse_float=Decimal) if row["properties"] else {}
    return EventValue(
        key=str(row["id"]),
        value=row["value"],
        properties=properties,
        occurred_at=row["occurred_at"],
        received_at=row["received_at"],
    )


def source_of(found: Sequence[dict[str, Any]]) -> str:
    """Write the rows as JSON in which the property keeps the notation it was drawn in."""
    return f"[{', '.join(map(row_json, found))}]"


def row_json(row: dict[str, Any]) -> str:
    columns = {
        "id": str(row["id"]),
        "value": None if row["value"] is None else plain(row["value"]),
        "occurred_at": row["occurred_at"].isoformat(),
        "received_at": row["received_at"].isoformat(),
    }
    properties = f'{{"user": {row["properties"]}}}' if row["properties"] else "{}"
    return f'{json.dumps(columns)[:-1]}, "properties": {properties}}}'


def select(connection: Connection, fragment: str, columns: str, source: str, **binds: Any) -> Decimal:
    statement = text(f"SELECT {fragment} FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r({columns})")
    return Decimal(connection.execute(statement, {"rows": source, **binds}).scalar_one())


@pytest.mark.parametrize("model", CONFIGURED, ids=str)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=rows())
def test_sql_over_events_equals_the_fold(
    model: Aggregation, connection: Connection, found: list[dict[str, Any]]
) -> None:
    quantity = select(connection, model.from_events, COLUMNS, source_of(found), **bound(model))
    assert quantity == model.fold([as_event(row) for row in found], PERIOD)


@pytest.mark.parametrize("model", [model for model in CONFIGURED if model.from_rollup], ids=str)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=rows())
def test_sql_over_rollups_equals_the_fold(
    model: Aggregation, connection: Connection, found: list[dict[str, Any]]
) -> None:
    by_day: dict[str, list[Decimal | None]] = {}
    for row in found:
        by_day.setdefault(row["occurred_at"].date().isoformat(), []).append(row["value"])
    rollups = []
    for day in by_day.values():
        values = [value for value in day if value is not None]
        rollups.append(
            {
                "value_sum": plain(sum(values, Decimal(0))),
                "event_count": len(day),
                "value_max": plain(max(values)) if values else None,
                "value_min": plain(min(values)) if values else None,
            }
        )
    columns = "value_sum numeric, event_count bigint, value_max numeric, value_min numeric"
    assert model.from_rollup is not None
    quantity = select(connection, model.from_rollup, columns, json.dumps(rollups))
    assert quantity == model.fold([as_event(row) for row in found], PERIOD)
