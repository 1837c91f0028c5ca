"""`durabill import events`: three formats, faulty lines by number, interruptions, and never an event twice."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pyarrow  # type: ignore[import-untyped]
import pytest
from pyarrow import parquet

from devstack.event_files import lines_of, size_of
from devstack.event_import import Import, Report
from devstack.processes import StackError
from tests.usage.conftest import Shop

BASE = {"customer_id": "acme", "metric_key": "api_calls"}
EXACT = "123456789012.123456789012345678"


class Counting(httpx.AsyncBaseTransport):
    """Hands requests to the shop's own transport until it is told to break off."""

    def __init__(self, shop: Shop) -> None:
        self._inner = shop.http._transport
        self.requests = 0
        self.breaks_after = 1_000_000
        self.busy_first = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if self.requests <= self.busy_first:
            return httpx.Response(429, headers={"retry-after": "0"}, json={"detail": "busy"})
        if self.requests > self.breaks_after:
            return httpx.Response(401, json={"detail": "the key was revoked"})
        return await self._inner.handle_async_request(request)


@pytest.fixture
def importing(shop: Shop) -> Callable[..., Import]:
    key = shop.http.headers["authorization"].removeprefix("Bearer ")
    return lambda file, transport=None: Import(file, "http://test", key, transport=transport or Counting(shop))


async def brought(made: Import) -> Report:
    seen: list[int] = []
    report = await made.run(seen.append)
    assert seen == sorted(seen)
    assert not seen or seen[-1] <= size_of(made.file)
    return report


def faults(made: Import) -> dict[int, str]:
    return {each["line"]: each["errors"][0] for each in map(json.loads, made.faults.read_text().splitlines())}


async def test_ndjson_is_sent_digit_by_digit_and_only_once(
    shop: Shop, importing: Callable[..., Import], tmp_path: Path
) -> None:
    subscription = await shop.ready()
    lines = [
        f'{{"customer_id": "acme", "metric_key": "api_calls", "value": {EXACT}}}',
        f'{{"customer_id": "acme", "metric_key": "api_calls", "value": {EXACT}}}',
        "",
        "no json",
        json.dumps({**BASE, "value": "x"}),
        json.dumps({**BASE, "value": 1, "idempotency_key": "own"}),
        json.dumps({**BASE, "value": 2, "idempotency_key": "own"}),
        json.dumps({**BASE, "value": 1, "customer_id": "nobody"}),
        "[]",
    ]
    file = tmp_path / "usage.ndjson"
    file.write_text("\n".join(lines))
    first = importing(file)
    report = await brought(first)
    assert (report.lines, report.stored, report.duplicates, report.conflicts) == (8, 4, 0, 1)
    assert report.skipped == {"unknown_customer": 1}
    assert report.faulty == 4
    found = faults(first)
    assert list(found) == [4, 5, 7, 9]
    assert found[5].startswith("value: ")
    assert await shop.units(subscription) == "246913578025.246913578024691356"
    again = await brought(importing(file))
    assert (again.stored, again.duplicates, again.faulty) == (0, 4, 4)
    assert await shop.units(subscription) == "246913578025.246913578024691356"


async def test_csv_and_parquet_hold_the_same_events(
    shop: Shop, importing: Callable[..., Import], tmp_path: Path
) -> None:
    subscription = await shop.ready()
    table = tmp_path / "usage.csv"
    head = "customer_id,metric_key,value,timestamp,idempotency_key,properties.region,properties.note\n"
    rows = [
        f'acme,api_calls,{EXACT},2026-11-01T00:00:00Z,k1,eu,"two\nlines"\n',
        "acme,api_calls,,2026-11-01T00:00:00Z,k2,us,\n",
        "acme,api_calls,1\n",
        "acme,api_calls,many,,k4,,\n",
    ]
    table.write_text(head + "".join(rows))
    made = importing(table)
    report = await brought(made)
    assert (report.stored, report.faulty) == (2, 2)
    assert list(faults(made)) == [5, 6]
    columns: dict[str, list[Any]] = {
        "customer_id": ["acme"] * 4,
        "metric_key": ["api_calls"] * 4,
        "value": [Decimal(EXACT), None, Decimal(5), Decimal(7)],
        "timestamp": [datetime(2026, 11, 1, tzinfo=UTC)] * 4,
        "idempotency_key": ["k1", "k2", None, None],
        "properties": [{"region": "eu", "note": "two\nlines"}, {"region": "us"}, None, None],
    }
    columnar = tmp_path / "usage.parquet"
    parquet.write_table(pyarrow.table(columns), columnar)
    report = await brought(importing(columnar))
    # Parquet gives every row every field of a struct, as null where it was left out: k2 says something else.
    assert (report.lines, report.stored, report.duplicates, report.conflicts) == (4, 2, 1, 1)
    assert await shop.units(subscription) == "123456789025.123456789012345678"


async def test_an_interrupted_import_goes_on_where_it_stopped(
    shop: Shop, importing: Callable[..., Import], tmp_path: Path
) -> None:
    subscription = await shop.ready()
    file = tmp_path / "large.ndjson"
    bad = {700: "not json", 6100: json.dumps({**BASE, "valeu": 1})}
    good = json.dumps({**BASE, "value": 1})
    file.write_text("\n".join(bad.get(number, good) for number in range(1, 6201)))
    transport = Counting(shop)
    transport.busy_first, transport.breaks_after = 1, 6
    with pytest.raises(StackError, match="401"):
        await brought(importing(file, transport))
    stopped = importing(file)
    assert stopped.resumes_after == 4000
    report = await brought(stopped)
    assert (report.lines, report.faulty) == (6200, 2)
    assert report.stored + report.duplicates == 6198
    assert list(faults(stopped)) == [700, 6100]
    assert await shop.units(subscription) == "6198"
    assert not stopped.note.path.exists()


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no file"):
        size_of(tmp_path / "none.csv")
    (tmp_path / "data.xml").write_text("<a/>")
    with pytest.raises(StackError, match="none of"):
        size_of(tmp_path / "data.xml")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(StackError, match="header"):
        list(lines_of(tmp_path / "empty.csv"))
