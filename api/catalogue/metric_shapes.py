"""Metrics at the API's edge: four systems' bodies as one, and the union of their answers (conflicts C5, B45)."""

from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from adapters.postgres.catalogue.metric_store import MetricFilter
from adapters.postgres.resources import Metric
from api.http.answers import Answer
from api.http.fields import AnyCase, ClientId, ExactNumber, JsonObject, Name, Prose, Ref, RefusingBody, Unbuilt, same
from billing.aggregating import text_of
from billing.aggregations import (
    AGGREGATIONS,
    CARRY_OVER_AGGREGATIONS,
    DEFAULT_AGGREGATION,
    RECURRING,
    UnknownAggregation,
    aggregation,
    kinds_with,
)
from billing.aggregations.percentile import DEFAULT_PERCENTILE
from billing.numbers import Positive, RoundingFunction
from models.identifiers import shown_id
from models.problems import Problem, invalid

#: Words that are routes beside `/metrics/{id}` (C37).
RESERVED: Final = frozenset({"stats", "plan_counts"})
#: What the configuration of some aggregations has beside the property, by its column.
_SETTINGS: Final = ("expression", "percentile", "partial_period")
_TOO_LONG_A_NAME: Final = 64

Kind = Annotated[str, AnyCase, Field(min_length=1, max_length=64, json_schema_extra={"enum": list(AGGREGATIONS)})]
Rounding = Annotated[RoundingFunction, AnyCase]
Precision = Annotated[int, Field(ge=0, le=15)]
Unit = Annotated[str, Field(min_length=1, max_length=64)]


_UNBUILT: Final = {"prorated": Unbuilt("a quantity is what its events add up to in the period; leave it out")}


class MetricChange(RefusingBody):
    """What may be changed of a metric; fields that are not sent stay. The key is stable (B49)."""

    unbuilt = _UNBUILT

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"description": "API calls"}]})

    key: Ref | None = None
    code: Ref | None = None
    name: Name | None = None
    description: Prose | None = None
    aggregation: Kind | None = None
    aggregation_type: Kind | None = Field(default=None, description="BoxBilling's name of `aggregation`.")
    field_name: Name | None = Field(
        default=None,
        validation_alias=AliasChoices("field_name", "field"),
        description="The event property that is aggregated; `field` is a synonym. Without one: the event's `value`.",
    )
    unit: Unit | None = Field(default=None, description="Without one: the last word of the name, in lower case.")
    unit_name: Unit | None = Field(default=None, description="A synonym of `unit`.")
    recurring: bool | None = Field(default=None, description="BoxBilling's name of `carry_over`.")
    carry_over: bool | None = Field(
        default=None,
        description="Whether what came before a period counts in it too: for count, max, latest and weighted_sum.",
    )
    rounding_function: Rounding | None = Field(
        default=None,
        validation_alias=AliasChoices("rounding_function", "round_function"),
        description="Rounds each quantity that is priced; `round` is half away from zero.",
    )
    rounding_precision: Precision | None = Field(
        default=None,
        validation_alias=AliasChoices("rounding_precision", "round_precision"),
        description="Digits after the point that rounding leaves; 0 without one.",
    )
    percentile: Annotated[Positive, Field(le=100)] | None = Field(
        default=None, description="Of the aggregation `percentile`: which one, 95 without this field.", examples=[99]
    )
    partial_period: Literal["prorate", "full"] | None = Field(
        default=None,
        description="Of the aggregation `weighted_sum`: what a level of a part of a period counts, its share of the "
        "full period (`prorate`, without this field) or as much as in a full one.",
    )
    expression: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        default=None, description="Arithmetic over event properties, for the aggregation `custom`."
    )
    product_ids: Annotated[list[Ref], Field(max_length=100)] | None = None


class MetricBody(MetricChange):
    """Any of the bodies that create a metric; fields of other systems are ignored."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "key": "api_calls",
                    "name": "API Calls",
                    "aggregation": "sum",
                    "description": "Total API calls made during the billing period",
                },
                {"name": "Compute", "code": "compute", "unit": "minute", "aggregation": "sum"},
                {"code": "bytes", "name": "Bytes", "aggregation_type": "sum", "field_name": "size"},
                {"name": "API Calls", "key": "API_CALL", "unit": "calls"},
            ]
        },
    )

    key: ClientId | None = Field(default=None, description="What events and plans name the metric by.")
    code: ClientId | None = Field(default=None, description="A synonym of `key`.")
    name: Name


def _comparable(value: Any) -> Any:
    if text_of(value) is None:
        raise ValueError("must be a text, a number or true or false; no event's property equals anything else")
    return value


FilterValues = Annotated[list[Annotated[Any, AfterValidator(_comparable)]], Field(max_length=500)]


class FilterChange(BaseModel):
    """The values that a filter has from now on; the property is stable, as plans price by it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"values": ["eu", "us", "apac"]}]})

    key: Name | None = None
    values: FilterValues


class FilterBody(BaseModel):
    """A property of a metric's events, and the values of it that plans may price apart (B51)."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"key": "region", "values": ["eu", "us"]}]}
    )

    key: Name
    values: FilterValues = []


def new_columns(body: MetricBody) -> dict[str, object]:
    """Turn a body into columns of `metrics`, products left out; raises `Problem` 422 for what does not fit."""
    key = same(body.key, body.code, first_name="key", second_name="code") or _slug(body.name)
    if key in RESERVED:
        raise invalid("key", f"must not be {key!r}, which is a path of its own", "reserved_id")
    _check_boxbilling(body)
    columns: dict[str, Any] = {"key": key, "name": body.name, **_given(body)}
    columns.setdefault("aggregation", DEFAULT_AGGREGATION)
    _check_recurring(body, str(columns["aggregation"]))
    columns.setdefault("unit", body.name.split()[-1].lower()[:_TOO_LONG_A_NAME])
    check(columns)
    return {name: value for name, value in columns.items() if value is not None}


def _check_boxbilling(body: MetricBody) -> None:
    """Ask BoxBilling's bodies for the event property; the events of the other systems carry a value."""
    kind = body.aggregation_type
    chosen = None if kind is None else AGGREGATIONS.get(kind)
    if chosen is not None and chosen.needs_field and body.field_name is None:
        raise invalid("field_name", f"the aggregation_type {kind} needs the event property that it aggregates")


def _check_recurring(body: MetricChange, kind: str) -> None:
    if body.recurring and not body.carry_over and kind in AGGREGATIONS and kind not in RECURRING:
        raise invalid("recurring", f"is for the aggregations {', '.join(RECURRING)}, not for {kind}")


def changed_columns(body: MetricChange, row: Metric) -> dict[str, object]:
    """Turn a change into columns; raises `Problem` 422 for a changed key (B49) and for what does not fit."""
    for name in ("key", "code"):
        value = getattr(body, name)
        if value is not None and value != row.key:
            raise invalid(name, "is stable: events and plans name the metric by it; create another metric", "immutable")
    columns = _given(body)
    if body.name is not None:
        columns["name"] = body.name
    kind = str(columns.get("aggregation", row.aggregation))
    for name in _SETTINGS:
        if row.aggregation in kinds_with(name) and kind not in kinds_with(name):
            columns.setdefault(name, None)
    _check_recurring(body, kind)
    check({**{name: getattr(row, name) for name in ("aggregation", "field_name", "recurring", *_SETTINGS)}, **columns})
    return columns


def _given(body: MetricChange) -> dict[str, object]:
    sent = body.model_fields_set
    names = ("description", "field_name", "rounding_function", "rounding_precision", *_SETTINGS)
    columns = {name: getattr(body, name) for name in names if name in sent}
    if sent & {"recurring", "carry_over"}:
        columns["recurring"] = _carries(body)
    kind = same(body.aggregation, body.aggregation_type, first_name="aggregation", second_name="aggregation_type")
    unit = same(body.unit, body.unit_name, first_name="unit", second_name="unit_name")
    given = {"aggregation": kind, "unit": unit}
    return columns | {name: value for name, value in given.items() if value is not None}


def _carries(body: MetricChange) -> bool:
    if None not in (body.recurring, body.carry_over) and body.recurring != body.carry_over:
        raise invalid("carry_over", "is a synonym of recurring and must be the same; send one of them")
    return bool(body.recurring or body.carry_over)


def check(columns: dict[str, Any]) -> None:
    """Refuse a configuration that no aggregation has. Raises `Problem` 422, which names the field."""
    kind, given = columns["aggregation"], {name: columns.get(name) for name in _SETTINGS}
    for name in _SETTINGS:
        if given[name] is not None and kind in AGGREGATIONS and kind not in kinds_with(name):
            raise invalid(name, f"is for the aggregation {', '.join(kinds_with(name))}, not for {kind}")
    try:
        aggregation(kind, field=columns.get("field_name"), **given)
    except UnknownAggregation as error:
        raise invalid("aggregation", str(error), "unknown_aggregation") from None
    except ValidationError as error:
        raise _configuration_problem(error) from None
    if columns.get("recurring") and kind not in CARRY_OVER_AGGREGATIONS:
        raise invalid("carry_over", f"is for the aggregations {', '.join(CARRY_OVER_AGGREGATIONS)}, not for {kind}")


def _configuration_problem(error: ValidationError) -> Problem:
    first = error.errors()[0]
    field = {"field": "field_name"}.get(str(first["loc"][-1]), str(first["loc"][-1]))
    message = "is needed by this aggregation" if first["type"] == "missing" else str(first["msg"])
    return invalid(field, message.removeprefix("Value error, "))


def _slug(name: str) -> str:
    """Make a key of a name, for UsageBox's meters, whose code is optional: "API Requests" -> "api_requests"."""
    kept = "".join(letter.lower() if letter.isalnum() else "_" for letter in name)
    return "_".join(part for part in kept.split("_") if part) or "metric"


class MetricAnswer(Answer):
    """A metric as all four systems show it."""

    id: str = Field(examples=["met_01kaqs2v8yf0y8f7bn1qv0c5te"])
    uuid: UUID
    key: str = Field(examples=["api_calls"])
    code: str
    name: str
    description: str | None
    aggregation: str
    aggregation_type: str
    field_name: str | None
    unit: str | None
    unit_name: str | None
    recurring: bool
    carry_over: bool
    percentile: ExactNumber | None = Field(examples=[None, 95])
    partial_period: Literal["prorate", "full"] | None
    rounding_function: Literal["round", "ceil", "floor"] | None
    rounding_precision: int | None
    expression: str | None
    product_ids: list[str]
    ingest_key: str = Field(examples=["meter.api-calls"])
    status: str
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, metric: Metric) -> Self:
        """Return the answer that shows a metric; products by their shown ids."""
        return cls.showing(
            metric,
            id=shown_id("metric", metric.id),
            uuid=metric.id,
            code=metric.key,
            aggregation_type=metric.aggregation,
            unit_name=metric.unit,
            carry_over=metric.recurring,
            percentile=_percentile(metric),
            partial_period=_partial_period(metric),
            product_ids=[shown_id("product", product) for product in metric.product_ids],
            ingest_key=f"meter.{metric.key.replace('_', '-')}",
        )


def _percentile(row: Metric) -> Decimal | None:
    if row.aggregation not in kinds_with("percentile"):
        return None
    return DEFAULT_PERCENTILE if row.percentile is None else row.percentile


def _partial_period(row: Metric) -> Literal["prorate", "full"] | None:
    return (row.partial_period or "prorate") if row.aggregation in kinds_with("partial_period") else None


class FilterAnswer(Answer):
    """A filter of a metric."""

    id: str = Field(examples=["mflt_01kaqs2v8yf0y8f7bn1qv0c5te"])
    uuid: UUID
    billable_metric_id: str
    key: str
    values: list[Any]
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, row: MetricFilter) -> Self:
        """Return the answer that shows a filter of a metric."""
        return cls.showing(
            row,
            id=shown_id("metric_filter", row.id),
            uuid=row.id,
            billable_metric_id=shown_id("metric", row.metric_id),
        )


class MetricStats(Answer):
    """How many metrics there are, by aggregation."""

    total: int
    by_aggregation_type: JsonObject = Field(examples=[{"sum": 2, "count": 1}])
