"""The SQL of `billing.scope`: which stored events a charge with filters counts (B51)."""

from typing import Any

from billing.scope import EventScope, PropertyMatch


def scope_condition(scope: EventScope | None) -> tuple[str, dict[str, Any]]:
    """Give a condition over rows of `events` (" AND ...", or nothing) and its bind values.

    Equal numbers are equal in any notation, as `billing.aggregating.text_of` has it; an event without the property, or
    with a list or an object there, matches no value.
    """
    if scope is None:
        return "", {}
    conditions: list[str] = []
    binds: dict[str, Any] = {}
    if scope.only is not None:
        conditions.append(_matches(scope.only, "only", binds))
    for index, match in enumerate(scope.excluded):
        conditions.append(f"NOT {_matches(match, f'excluded_{index}', binds)}")
    return "".join(f" AND {condition}" for condition in conditions), binds


def _matches(match: PropertyMatch, name: str, binds: dict[str, Any]) -> str:
    binds |= {f"{name}_key": match.key, f"{name}_values": list(match.values)}
    key = f"CAST(:{name}_key AS text)"
    value = (
        f"CASE jsonb_typeof(properties -> {key})"
        f" WHEN 'number' THEN trim_scale(CAST(properties ->> {key} AS numeric))::text"
        f" WHEN 'string' THEN properties ->> {key}"
        f" WHEN 'boolean' THEN properties ->> {key} END"
    )
    return f"coalesce({value} = ANY(CAST(:{name}_values AS text[])), false)"
