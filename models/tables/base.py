"""What every table shares: the metadata with its naming rules, and column kinds."""

from typing import Any

from sqlalchemy import (
    Column,
    DateTime,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Numeric,
    Table,
    TextClause,
    Uuid,
    func,
    text,
)
from sqlalchemy.schema import SchemaItem

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Quantities and unit prices: exact, 20 integer digits and 18 decimals (design section 10).
DECIMAL = Numeric(38, 18)
#: An instant; always written and read with a zone.
INSTANT = DateTime(timezone=True)


def identity() -> Column[Any]:
    """Make the primary key: a UUID version 7 given by the application."""
    return Column("id", Uuid, primary_key=True)


def project() -> Column[Any]:
    """Make the tenant column that row-level security reads."""
    return Column("project_id", Uuid, nullable=False)


def created() -> Column[Any]:
    """Make the wall-clock instant of the row's insertion."""
    return Column("created_at", INSTANT, nullable=False, server_default=func.clock_timestamp())


def updated() -> Column[Any]:
    """Make the wall-clock instant of the row's last change (stores set it)."""
    return Column("updated_at", INSTANT, nullable=False, server_default=func.clock_timestamp())


def tenant_table(name: str, *items: SchemaItem, has_updated: bool = True) -> Table:
    """Make a table whose rows belong to a project: id, project_id, ``items``, created_at and updated_at.

    ``has_updated=False`` is for rows that are only added, or that say by columns of their own when they changed.
    """
    columns = [item for item in items if isinstance(item, Column)]
    rules = [item for item in items if not isinstance(item, Column)]
    times = [created(), updated()] if has_updated else [created()]
    return Table(name, metadata, identity(), project(), *columns, *times, *rules)


def refers_to(column: str, table: str, **options: Any) -> ForeignKeyConstraint:
    """Make the foreign key of ``column`` to a row of ``table`` in the same project (it has UNIQUE (project_id, id))."""
    # The column comes first: the key is named after it.
    return ForeignKeyConstraint([column, "project_id"], [f"{table}.id", f"{table}.project_id"], **options)


def partial_index(name: str, *columns: str, where: str) -> Index:
    """Make an index of the rows for which the SQL condition ``where`` holds."""
    return Index(name, *columns, postgresql_where=text(where))


def unique_index(name: str, *columns: str | TextClause, where: str | None = None) -> Index:
    """Make an index that forbids two equal rows, among those for which the SQL condition ``where`` holds if given."""
    return Index(name, *columns, unique=True, postgresql_where=None if where is None else text(where))
