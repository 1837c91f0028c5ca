"""The SQL of `billing.scope`: the bucket and the group of each stored event (B51).

One expression gives every row its one bucket, so that no event can be counted in two. Rollups tell events apart by the
filters of their metric; a charge's combinations then take whole buckets of them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from billing.aggregating import text_of
from billing.scope import Combination, ranked

#: The bucket of events that no combination takes.
DEFAULT_BUCKET: Final = -1

#: Most bytes of a rollup's bucket: it is part of a key, which an index can hold up to 2,704 bytes of.
_MOST_BYTES: Final = 2000
#: What JSON puts around a property and its value, beside their quotes.
_AROUND: Final = 4


def rollup_dimensions(filters: Mapping[str, Sequence[object]]) -> dict[str, list[str]]:
    """Return what rollups tell the events of a metric apart by, from the values that its filters list: texts of them.

    Filters with values too long for an index, taken in the order of their properties, tell nothing apart.
    """
    found: dict[str, list[str]] = {}
    used = 0
    for key in sorted(filters):
        texts = sorted({own for value in filters[key] if (own := text_of(value)) is not None})
        used += _bytes(key) + max(map(_bytes, texts), default=0) + _AROUND
        if used > _MOST_BYTES:
            break
        if texts:
            found[key] = texts
    return found


def _bytes(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode())


def filters_of(condition: str) -> str:
    """Return a query for what tells the events of metrics apart in rollups: metric_id, key, and the texts `allowed`.

    `condition` chooses the metrics (`m`).
    """
    told = f"metrics m, jsonb_each(m.rollup_dimensions) f WHERE {condition}"
    return f"SELECT m.id AS metric_id, f.key, f.value AS allowed FROM {told}"  # noqa: S608 - put together from constants


def filter_bucket(row: str) -> str:
    """Return the text that names the filter bucket of an event: of each of its metric's filters, its value, as JSON.

    A value that is not among the filter's is left out, so that '' is an event that no filter knows. `row` has metric_id
    and properties; the statement has a `filters` that `filters_of` gave.
    """
    told = f"SELECT key, allowed, {_text_of(f'{row}.properties -> key')} AS told"
    own = f"{told} FROM filters f WHERE f.metric_id = {row}.metric_id OFFSET 0"
    listed = f"(SELECT jsonb_object_agg(key, told) FROM ({own}) f WHERE allowed ? told)::text"  # noqa: S608
    return f"coalesce(CASE WHEN EXISTS (SELECT FROM filters) THEN {listed} END, '')"


def bucket_expression(buckets: Sequence[Combination]) -> tuple[str, dict[str, Any]]:
    """Return an integer expression over rows of `events`, the index of the bucket, and its bind values.

    The most specific combination that holds an event takes it; `DEFAULT_BUCKET` is for what none takes.
    """
    binds: dict[str, Any] = {}
    cases = [f"WHEN {_holds(buckets[index], f'bucket_{index}', binds)} THEN {index}" for index in ranked(buckets)]
    return (f"CASE {' '.join(cases)} ELSE {DEFAULT_BUCKET} END" if cases else str(DEFAULT_BUCKET)), binds


def group_expressions(group_by: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return a text expression over rows of `events` for each property, sorted by property, and their bind values."""
    keys = sorted(set(group_by))
    binds = {f"group_{index}_key": key for index, key in enumerate(keys)}
    return tuple(_text_of(_property(name)) for name in binds), binds


def _holds(combination: Combination, name: str, binds: dict[str, Any]) -> str:
    parts = []
    for index, match in enumerate(combination.matches):
        key, values = f"{name}_{index}_key", f"{name}_{index}_values"
        binds |= {key: match.key, values: list(match.values)}
        parts.append(f"coalesce({_text_of(_property(key))} = ANY(CAST(:{values} AS text[])), false)")
    return " AND ".join(parts)


def _property(bind: str) -> str:
    return f"properties -> CAST(:{bind} AS text)"


def _text_of(found: str) -> str:
    """Return the SQL of `billing.aggregating.text_of` for a JSON value.

    Equal numbers are equal in any notation; NULL for an event without the property, or with a list or an object there.
    """
    text = f"({found}) #>> '{{}}'"
    return (
        f"CASE jsonb_typeof({found}) WHEN 'number' THEN trim_scale(({text})::numeric)::text"
        f" WHEN 'string' THEN {text} WHEN 'boolean' THEN {text} END"
    )
