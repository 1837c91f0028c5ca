"""The one-shot step between Postgres and the programs: the newest schema, the default organization, its demo key."""

import asyncio
from pathlib import Path

from adapters.postgres.database import Database
from adapters.postgres.migrate import create_database, upgrade
from adapters.postgres.tenancy.bootstrap import ensure_default_organization, new_demo_key
from devstack.home import Home
from settings import settings

DATABASE = "durabill"


def main() -> None:
    """Bring the stack's database to the newest schema and write ``demo_key`` into the home; safe to run again.

    ``DURABILL_DATABASE_ADMIN_URL`` names the server as its superuser, ``DATABASE_URL`` our database as the application.
    """
    config = settings()
    assert config.database_admin_url is not None, "the supervisor sets DURABILL_DATABASE_ADMIN_URL"
    server = config.database_admin_url.get_secret_value()
    create_database(server, DATABASE)
    upgrade(server.replace("/postgres?", f"/{DATABASE}?"))
    asyncio.run(_write_demo_key(Home(Path(config.home)), config.database_url.get_secret_value()))


async def _write_demo_key(home: Home, database_url: str) -> None:
    database = Database(database_url, pool_size=2)
    try:
        key = (await ensure_default_organization(database)).demo_key
        if key is None and home.secret("demo_key") is None:
            key = await new_demo_key(database)
    finally:
        await database.close()
    if key is not None:
        home.write_secret("demo_key", key)


if __name__ == "__main__":
    main()
