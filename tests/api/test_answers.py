"""Answers are built from the records of stores, and written like any document."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import msgspec
from pydantic import Field
from sqlalchemy import create_engine, literal, select

from adapters.postgres.rows import record, records
from api.http.answers import Answer
from api.http.responses import reply

ID = UUID(int=7)


@dataclass(frozen=True, slots=True)
class Thing:
    id: str
    name: str | None


class ThingAnswer(Answer):
    id: UUID
    name: str | None
    price: Decimal = Decimal("1.50")
    at: datetime = Field(default=datetime(2026, 1, 1, 12, 0, 0, 750_000, tzinfo=UTC), serialization_alias="made_at")
    parts: tuple["ThingAnswer", ...] = ()


def test_a_record_takes_the_columns_that_its_fields_name() -> None:
    statement = select(literal("Acme").label("name"), literal("left out").label("more"), literal(str(ID)).label("id"))
    with create_engine("sqlite://").connect() as connection:
        rows = connection.execute(statement).all()
    assert record(Thing, rows[0]) == Thing(id=str(ID), name="Acme")
    assert records(Thing, rows) == (Thing(id=str(ID), name="Acme"),)


def test_an_answer_is_written_exactly_and_by_its_fields_wire_names() -> None:
    part = ThingAnswer.model_construct(id=ID, name=None)
    answer = ThingAnswer.model_validate(Thing(id=str(ID), name="Acme")).model_copy(update={"parts": (part,)})
    body = bytes(reply(answer).body)
    assert msgspec.json.decode(body)["parts"][0]["name"] is None
    assert body.startswith(
        b'{"id":"00000000-0000-0000-0000-000000000007","name":"Acme","price":1.5,"made_at":"2026-01-01T12:00:00Z",'
    )
