"""The SQL of `billing.scope`: the bucket and the group of each stored event (B51).

One expression gives every row its one bucket, so that no event can be counted in two.
"""

from collections.abc import Sequence
from typing import Any, Final

from billing.scope import Combination, ranked

#: The bucket of events that no combination takes.
DEFAULT_BUCKET: Final = -1


def bucket_expression(buckets: Sequence[Combination]) -> tuple[str, dict[str, Any]]:
    """Give an integer expression over rows of `events`, the index of the bucket, and its bind values.

    The most specific combination that holds an event takes it; `DEFAULT_BUCKET` is for what none takes.
    """
    binds: dict[str, Any] = {}
    cases = [f"WHEN {_holds(buckets[index], f'bucket_{index}', binds)} THEN {index}" for index in ranked(buckets)]
    return (f"CASE {' '.join(cases)} ELSE {DEFAULT_BUCKET} END" if cases else str(DEFAULT_BUCKET)), binds


def group_expressions(group_by: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Give a text expression over rows of `events` for each property, sorted by property, and their bind values."""
    keys = sorted(set(group_by))
    binds = {f"group_{index}_key": key for index, key in enumerate(keys)}
    return tuple(_text_of(name) for name in binds), binds


def _holds(combination: Combination, name: str, binds: dict[str, Any]) -> str:
    parts = []
    for index, match in enumerate(combination.matches):
        key, values = f"{name}_{index}_key", f"{name}_{index}_values"
        binds |= {key: match.key, values: list(match.values)}
        parts.append(f"coalesce({_text_of(key)} = ANY(CAST(:{values} AS text[])), false)")
    return " AND ".join(parts)


def _text_of(bind: str) -> str:
    """Give the SQL of `billing.aggregating.text_of` for the property that a bind value names.

    Equal numbers are equal in any notation; NULL for an event without the property, or with a list or an object there.
    """
    key = f"CAST(:{bind} AS text)"
    return (
        f"CASE jsonb_typeof(properties -> {key})"
        f" WHEN 'number' THEN trim_scale(CAST(properties ->> {key} AS numeric))::text"
        f" WHEN 'string' THEN properties ->> {key}"
        f" WHEN 'boolean' THEN properties ->> {key} END"
    )
