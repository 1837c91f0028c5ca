"""Checking rollups against events: what was tampered with is reported, by the command, the API and a notification."""

import asyncio
import json
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

import cli
from adapters.postgres.database import SYSTEM, Database
from adapters.postgres.usage import usage_check_store
from settings import settings
from tests.conftest import FreshDatabase
from tests.usage.conftest import Shop

TAMPERED = "UPDATE usage_rollups SET value_sum = value_sum + 1"


async def sql(database: Database, statement: str) -> None:
    async with database.transaction(SYSTEM) as connection:
        await connection.exec_driver_sql(statement)


async def checks(database: Database) -> list[tuple[int, int]]:
    told: list[usage_check_store.Progress] = []
    found = []
    for scope in await usage_check_store.all_projects(database):
        one = await usage_check_store.check(database, scope, started_by="test", tell=told.append)
        found.append((one.checked, one.differences))
    assert not any(found) or told[-1].done == told[-1].total
    return found


async def test_rollups_equal_their_events_until_somebody_tampers(
    shop: Shop, database: Database, fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.ready()
    for day in (1, 2, 3):
        await shop.send(value=day, timestamp=f"2026-03-0{day}T12:00:00Z", idempotency_key=f"day-{day}")
    await shop.http.post("/v1/events/day-1/void", json={})
    assert sum(one[0] for one in await checks(database)) == 2
    assert sum(one[1] for one in await checks(database)) == 0
    await sql(database, f"{TAMPERED} WHERE day = '2026-03-02'")
    # A rollup without events, and events without a rollup
    await sql(database, "UPDATE usage_rollups SET day = '2026-03-09' WHERE day = '2026-03-03'")
    assert sum(one[1] for one in await checks(database)) == 3
    monkeypatch.setenv("DATABASE_URL", fresh_database.url)
    settings.cache_clear()
    try:
        told = await asyncio.to_thread(CliRunner().invoke, cli.app, ["verify", "usage", "--json"])
    finally:
        settings.cache_clear()
    assert told.exit_code == 1
    assert sum(one["differences"] for one in json.loads(told.stdout)) == 3
    newest, *_ = (await shop.http.get("/v1/usage/checks")).json()
    assert (newest["status"], newest["differences"]) == ("different", 3)
    assert [(each["day"], each["events_sum"], each["rollup_sum"]) for each in newest["details"]] == [
        ("2026-03-02", "2", "3"),
        ("2026-03-03", "3", None),
        ("2026-03-09", None, "3"),
    ]
    assert (await shop.http.get(f"/v1/usage/checks/{newest['id']}")).json() == newest
    assert "Usage differs from its events" in (await shop.http.get("/v1/notifications")).text


async def test_the_values_that_are_kept_are_checked_too(shop: Shop, database: Database) -> None:
    await shop.metric("people", aggregation="unique_count", field_name="user")
    await shop.plan(metric="people")
    await shop.customer()
    await shop.subscription()
    for day, user in enumerate(("ann", "bob", "ann", "bob"), start=1):
        sent: dict[str, Any] = {
            "metric_key": "people",
            "value": None,
            "properties": {"user": user},
            "idempotency_key": f"day-{day}",
        }
        await shop.send(**sent, timestamp=f"2026-03-0{day}T12:00:00Z")
    # Four rollups, and the values of four days
    assert [sum(each) for each in zip(*await checks(database), strict=True)] == [8, 0]
    await sql(database, "UPDATE usage_uniques SET value_key = 'eve' WHERE day = '2026-03-01'")
    await sql(database, "UPDATE usage_unique_days SET value_count = 2 WHERE day = '2026-03-04'")
    await checks(database)
    newest, *_ = (await shop.http.get("/v1/usage/checks")).json()
    # The third of March says that its value came on the first before; one of both is wrong then.
    assert [(each["kind"], each["day"], each["events_count"], each["rollup_count"]) for each in newest["details"]] == [
        ("unique_values", "2026-03-01", 1, 1),
        ("unique_values", "2026-03-03", 1, 1),
        ("unique_values", "2026-03-04", 1, 1),
    ]


@pytest.mark.parametrize("command", [("verify", "usage"), ("events", "detach", "--before", "2025-01")])
def test_without_a_database_a_command_says_so_in_one_line(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://durabill@127.0.0.1:9/none")
    monkeypatch.setattr(sys, "argv", ["durabill", *command])
    settings.cache_clear()
    try:
        assert cli.main() == 1
    finally:
        settings.cache_clear()
    told = capsys.readouterr()
    assert (told.out, len(told.err.splitlines())) == ("", 1)
    assert told.err.startswith("durabill: ")
