"""The aggregations: how a metric's events become a quantity. A new one is one file here and one name below."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, get_args

from pydantic import Field, TypeAdapter

from billing.aggregating import Aggregation, CarryOverAggregation, EventValue
from billing.aggregations.average import Average
from billing.aggregations.count import Count
from billing.aggregations.expression import Expression
from billing.aggregations.latest import Latest
from billing.aggregations.max import Max
from billing.aggregations.min import Min
from billing.aggregations.percentile import Percentile
from billing.aggregations.sum import Sum
from billing.aggregations.unique_count import UniqueCount
from billing.aggregations.weighted_sum import WeightedSum
from billing.numbers import RoundingFunction, round_quantity

AnyAggregation = Annotated[
    Sum | Count | Max | Min | UniqueCount | Latest | Average | WeightedSum | Percentile | Expression,
    Field(discriminator="kind"),
]
"""Any aggregation with its configuration, told apart by `kind`."""

AGGREGATIONS: Final[Mapping[str, type[Aggregation]]] = MappingProxyType(
    {model.model_fields["kind"].default: model for model in get_args(get_args(AnyAggregation)[0])}
)
"""The classes of the union by their kind."""

CARRY_OVER_AGGREGATIONS: Final[tuple[str, ...]] = tuple(
    kind for kind, model in AGGREGATIONS.items() if issubclass(model, CarryOverAggregation)
)
"""The kinds that may carry what came before a period into it."""

RECURRING: Final[tuple[str, ...]] = tuple(
    kind for kind, model in AGGREGATIONS.items() if issubclass(model, CarryOverAggregation) and model.recurs
)
"""The kinds that BoxBilling's `recurring` is for."""

ADDITIVE: Final[tuple[str, ...]] = tuple(kind for kind, model in AGGREGATIONS.items() if model.is_additive)
"""The kinds whose quantities add up event by event."""

COUNTING: Final[tuple[str, ...]] = tuple(kind for kind, model in AGGREGATIONS.items() if model.counts_events)
"""The kinds by which each event counts 1."""

RESERVABLE: Final[tuple[str, ...]] = tuple(kind for kind, model in AGGREGATIONS.items() if model.is_reservable)
"""The kinds of which a quantity can be reserved."""

DEFAULT_AGGREGATION: Final = "sum"
"""What a metric aggregates by when its creator does not say (C5)."""

_ADAPTER: Final[TypeAdapter[AnyAggregation]] = TypeAdapter(AnyAggregation)


class UnknownAggregation(ValueError):
    """Raised for a kind that `AGGREGATIONS` does not hold."""


def aggregation(kind: str = DEFAULT_AGGREGATION, **configuration: Any) -> Aggregation:
    """Build the aggregation of a kind; an entry of the configuration that is None counts as not given.

    aggregation("unique_count", field="user_id"), aggregation("custom", expression="v * 2"). Raises `UnknownAggregation`
    for an unknown kind and pydantic's ValidationError, a ValueError, for a configuration that does not fit the kind.
    """
    if kind not in AGGREGATIONS:
        raise UnknownAggregation(f"{kind!r} is not an aggregation; there are {', '.join(AGGREGATIONS)}")
    given = {name: value for name, value in configuration.items() if value is not None}
    return _ADAPTER.validate_python({"kind": kind, **given})


def kinds_with(setting: str) -> tuple[str, ...]:
    """Return the kinds that have a setting of this name ("expression", "percentile")."""
    return tuple(kind for kind, model in AGGREGATIONS.items() if setting in model.model_fields)


__all__ = [
    "ADDITIVE",
    "AGGREGATIONS",
    "CARRY_OVER_AGGREGATIONS",
    "COUNTING",
    "DEFAULT_AGGREGATION",
    "RECURRING",
    "RESERVABLE",
    "Aggregation",
    "AnyAggregation",
    "Average",
    "Count",
    "EventValue",
    "Expression",
    "Latest",
    "Max",
    "Min",
    "Percentile",
    "RoundingFunction",
    "Sum",
    "UniqueCount",
    "UnknownAggregation",
    "WeightedSum",
    "aggregation",
    "kinds_with",
    "round_quantity",
]
