"""Reading usage events from NDJSON, CSV and Parquet files, one line at a time, for `durabill import events`.

Every event leaves here as the JSON text that `POST /v1/events/batch` takes, with every digit that the file has. An
event without an idempotency key gets one made of the file's name, its line and its content, so that a second import of
the same file counts nothing twice.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec

from devstack.processes import StackError

FORMATS: Final = (".ndjson", ".jsonl", ".csv", ".parquet")
_KEYS: Final = ("idempotency_key", "transaction_id")
_PROPERTY: Final = "properties."
_ROWS_AT_ONCE: Final = 2000


@dataclass(frozen=True)
class Line:
    """One line (of Parquet: row, from 1) of a file: an event as JSON text, or what is wrong with it.

    ``done`` is how much of the file is read up to here, in the unit of `size_of`.
    """

    number: int
    event: bytes
    problem: str | None
    done: int


def size_of(path: Path) -> int:
    """Return the size of a file for its progress bar: bytes, of Parquet rows.

    Raises ``StackError`` for a file that cannot be read.
    """
    if not path.is_file():
        raise StackError(f"There is no file {path}.")
    if path.suffix not in FORMATS:
        raise StackError(f"{path.name} is none of {', '.join(FORMATS)}.")
    if path.suffix == ".parquet":
        return int(_parquet(path).metadata.num_rows)
    return path.stat().st_size


def lines_of(path: Path) -> Iterator[Line]:
    """Read a file's events in order; empty lines are passed over."""
    match path.suffix:
        case ".csv":
            return _csv_lines(path)
        case ".parquet":
            return _parquet_lines(path)
        case _:
            return _json_lines(path)


def _json_lines(path: Path) -> Iterator[Line]:
    done = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            done += len(raw)
            text = raw.strip()
            if not text:
                continue
            try:
                event = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                yield Line(number, b"", f"is no JSON object: {error}", done)
                continue
            yield Line(number, _keyed(text, event, path.name, number), None, done)


def _keyed(text: bytes, event: Mapping[str, Any], name: str, number: int) -> bytes:
    """Add a key to the text of an event that has none; nothing else of it is touched."""
    if any(key in event and event[key] not in (None, b"null") for key in _KEYS) or not event:
        return text
    content = blake2b(text, digest_size=12).hexdigest()
    key = json.dumps(f"import:{name[:150]}:{number}:{content}", ensure_ascii=False)
    return text[:-1] + f',"idempotency_key":{key}}}'.encode()


def _csv_lines(path: Path) -> Iterator[Line]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = next(reader, None)
        if not header:
            raise StackError(f"{path.name} has no header line; it names the fields of the events.")
        last = reader.line_num
        done = 0
        for cells in reader:
            number, last = last + 1, reader.line_num
            done += sum(len(cell) + 1 for cell in cells)
            if not cells:
                continue
            if len(cells) != len(header):
                yield Line(number, b"", f"has {len(cells)} cells, the header {len(header)}", done)
                continue
            yield _line(_nested(zip(header, cells, strict=True)), path.name, number, done)


def _nested(cells: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Make an event of columns: empty cells are left out, ``properties.region`` is a property."""
    event: dict[str, Any] = {}
    for name, value in cells:
        if value is None or value == "":
            continue
        if name.startswith(_PROPERTY):
            event.setdefault("properties", {})[name.removeprefix(_PROPERTY)] = value
        else:
            event[name] = value
    return event


def _line(event: dict[str, Any], name: str, number: int, done: int) -> Line:
    try:
        text = json.dumps(event, default=_plain, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        return Line(number, b"", str(error), done)
    return Line(number, _keyed(text, event, name, number), None, done)


def _plain(value: Any) -> str:
    """Write what JSON has no word for; decimals keep every digit as text, times without a zone are UTC."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"holds a {type(value).__name__}, which no event has")


def _parquet(path: Path) -> Any:
    try:
        from pyarrow import parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise StackError("Parquet files need pyarrow: uv sync --extra parquet") from error
    return parquet.ParquetFile(path)


def _parquet_lines(path: Path) -> Iterator[Line]:
    number = 0
    for batch in _parquet(path).iter_batches(batch_size=_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            number += 1
            yield _line(_nested(row.items()), path.name, number, number)
