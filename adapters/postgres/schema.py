"""Roles, grants and row-level security: the second wall of tenancy (design section 4).

Revisions in ``migrations/versions`` hold the statements for their own tables, frozen; a test compares what they made
with what is demanded here.

Two roles without login own no table: ``durabill_app`` sees the rows of one project (or, for the tables of an
organization, of one organization) per transaction; ``durabill_system`` sees all and is used for key look-up,
bootstrap, the relay and clocks. Each has a login of its own, which is a member of that role alone and inherits nothing:
a transaction that forgot its scope sees nothing, and a tenant's transaction cannot become the system's.
"""

from dataclasses import dataclass

from models.tables import metadata

APP_ROLE = "durabill_app"
SYSTEM_ROLE = "durabill_system"

_PROJECT = "(SELECT nullif(current_setting('durabill.project_id', true), '')::uuid)"
_ORGANIZATION = "(SELECT nullif(current_setting('durabill.organization_id', true), '')::uuid)"

#: Tables that belong to an organization rather than to one project: the column that says to which.
_ORGANIZATION_TABLES = {
    "organizations": "id",
    "projects": "organization_id",
    "api_keys": "organization_id",
    "members": "organization_id",
}
#: Tables that only the system role touches.
_SYSTEM_TABLES = ("sandbox_charges", "dashboard_sessions")


def _visible(table: str) -> str:
    if table in _ORGANIZATION_TABLES:
        return f"{_ORGANIZATION_TABLES[table]} = {_ORGANIZATION}"
    if table == "audit_log":
        return f"organization_id = {_ORGANIZATION} AND (project_id IS NULL OR project_id = {_PROJECT})"
    return f"project_id = {_PROJECT}"


def role_statements() -> list[str]:
    """Create the two roles if they are missing (roles belong to the cluster, not to the database)."""
    return [
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN "
        f"CREATE ROLE {role} NOLOGIN NOINHERIT; END IF; "
        f"EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        for role in (APP_ROLE, SYSTEM_ROLE)
    ]


def privileges_of(table: str) -> dict[str, frozenset[str]]:
    """Return, for each of the two roles that may touch ``table``, what it may do there."""
    every = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
    if table in _SYSTEM_TABLES:
        return {SYSTEM_ROLE: every}
    return {SYSTEM_ROLE: every, APP_ROLE: every - {"UPDATE", "DELETE"} if table == "audit_log" else every}


def security_statements(tables: list[str] | None = None) -> list[str]:
    """Return the statements that grant and restrict ``tables`` (all of them by default); safe to run again."""
    statements = [
        f"GRANT USAGE ON SCHEMA public TO {APP_ROLE}, {SYSTEM_ROLE}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {APP_ROLE}, {SYSTEM_ROLE}",
        # The health check compares the schema's revision with the code's.
        f"GRANT SELECT ON alembic_version TO {SYSTEM_ROLE}",
    ]
    for table in tables if tables is not None else sorted(metadata.tables):
        statements += [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            *(
                f"GRANT {', '.join(sorted(rights))} ON {table} TO {role}"
                for role, rights in privileges_of(table).items()
            ),
            f"DROP POLICY IF EXISTS system_all ON {table}",
            f"CREATE POLICY system_all ON {table} TO {SYSTEM_ROLE} USING (true) WITH CHECK (true)",
        ]
        if table in _SYSTEM_TABLES:
            continue
        rule = _visible(table)
        statements += [
            f"DROP POLICY IF EXISTS tenant ON {table}",
            f"CREATE POLICY tenant ON {table} TO {APP_ROLE} USING ({rule}) WITH CHECK ({rule})",
        ]
    return statements


@dataclass(frozen=True)
class Login:
    """A login of the cluster; without a password where Postgres asks for none."""

    name: str
    password: str | None = None


def login_statements(app: Login, system: Login) -> list[str]:
    """Create the two logins, each a member of its role alone: no superuser, no inheritance.

    The application's login of an older release was a member of both roles. It stays so in the run that makes the
    system's login, because processes of that release may still work, and is put out by the next run.
    """
    return [
        f"DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{system.name}') "  # noqa: S608 - names of roles
        f"AND pg_has_role('{app.name}', '{SYSTEM_ROLE}', 'MEMBER') THEN "
        f"REVOKE {SYSTEM_ROLE} FROM {app.name}; END IF; "
        f"EXCEPTION WHEN undefined_object THEN NULL; END $$",
        *_login(app, APP_ROLE),
        *_login(system, SYSTEM_ROLE),
    ]


def _login(login: Login, role: str) -> list[str]:
    secret = "" if login.password is None else " PASSWORD '" + login.password.replace("'", "''") + "'"
    return [
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{login.name}') THEN "
        f"CREATE ROLE {login.name} LOGIN NOINHERIT{secret}; END IF; "
        f"EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
        f"GRANT {role} TO {login.name}",
    ]
