"""Reservations that were open before are in the running figure; going back, what was swept counts as expired again."""

from typing import Any, LiteralString

import psycopg
from alembic import command

from adapters.postgres.migrate import _config
from models.identifiers import new_id
from tests.conftest import FreshDatabase

_ROWS = (("2", "open", "60"), ("3.5", "open", "60"), ("7", "open", "-60"), ("11", "released", "60"))


def _asked(url: str, statement: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def test_open_reservations_are_summed_and_nothing_else(fresh_database: FreshDatabase) -> None:
    url, project, owner, metric = fresh_database.admin_url, new_id(), new_id(), new_id()
    command.downgrade(_config(url), "0010")
    for quantity, status, seconds in _ROWS:
        _asked(
            url,
            "INSERT INTO usage_reservations (id, project_id, subscription_id, metric_id, quantity, status, expires_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, now() + %s * interval '1 second')",
            *(new_id(), project, owner, metric, quantity, status, seconds),
        )
    command.upgrade(_config(url), "head")
    (figure,) = _asked(url, "SELECT project_id, subscription_id, metric_id, quantity::text FROM usage_reserved")
    assert figure == (project, owner, metric, "12.500000000000000000")
    _asked(url, "UPDATE usage_reservations SET status = 'expired' WHERE expires_at < now()")
    command.downgrade(_config(url), "0010")
    statuses = _asked(url, "SELECT status FROM usage_reservations ORDER BY quantity")
    assert statuses == [("open",), ("open",), ("open",), ("released",)]
