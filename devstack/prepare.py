"""Bring a stack's database to the newest schema: the one-shot step between Postgres and the programs."""

from adapters.postgres.migrate import create_database, upgrade
from settings import settings

DATABASE = "durabill"


def main() -> None:
    """Create the database if there is none and run the missing migrations.

    ``DURABILL_DATABASE_ADMIN_URL`` names the server as its superuser.
    """
    admin_url = settings().database_admin_url
    assert admin_url is not None, "the supervisor sets DURABILL_DATABASE_ADMIN_URL"
    server = admin_url.get_secret_value()
    create_database(server, DATABASE)
    upgrade(server.replace("/postgres?", f"/{DATABASE}?"))


if __name__ == "__main__":
    main()
