"""What every table shares: the metadata with its naming rules, and column kinds."""

from typing import Any

from sqlalchemy import Column, DateTime, MetaData, Numeric, Uuid, func

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
