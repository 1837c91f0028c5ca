"""JSON that a client sends is kept with every digit."""

from decimal import Decimal

from sqlalchemy import select

from adapters.postgres.database import Database, ProjectScope
from models.identifiers import new_id
from models.tables import customers


async def test_numbers_inside_stored_json_keep_every_digit(database: Database, tenant: ProjectScope) -> None:
    sent = {"price": Decimal("0.00005"), "whole": 10**30, "list": [Decimal("1.10"), None, True, "é\n"]}
    async with database.transaction(tenant) as connection:
        await connection.execute(
            customers.insert().values(id=new_id(), project_id=tenant.project_id, code="c", metadata=sent)
        )
        read = (await connection.execute(select(customers.c["metadata"]))).scalar_one()
    assert read == sent
    assert type(read["price"]) is Decimal
