"""The ``durabill`` command: thin; what it does lives in devstack/, examples/, bench/ and tests/replay.

What only the local stack needs is imported by the commands that need it: the container image does not carry it.
"""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, unquote, urlsplit

import typer
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Column, Table

from devstack.processes import StackError
from devstack.programs import ROOT, api_arguments, worker_arguments
from settings import settings

if TYPE_CHECKING:
    from adapters.postgres.database import Database

app = typer.Typer(
    help="Durabill: usage billing where every subscription is one durable workflow.", no_args_is_help=True
)
keys = typer.Typer(help="The keys of the local stack.", no_args_is_help=True)
app.add_typer(keys, name="keys")
events = typer.Typer(help="The events that are stored.", no_args_is_help=True)
app.add_typer(events, name="events")
imports = typer.Typer(help="Bring data in from files.", no_args_is_help=True)
app.add_typer(imports, name="import")
verify = typer.Typer(help="Checks of what is stored.", no_args_is_help=True)
app.add_typer(verify, name="verify")
console = Console(highlight=False)


def _say(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


@app.command()
def up() -> None:
    """Start the local stack and wait until it is ready."""
    from devstack import control

    control.up(settings(), say=_say)
    _show_links()


@app.command()
def down() -> None:
    """Stop the local stack and leave nothing running."""
    from devstack import control

    control.down(settings(), say=_say)


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show what runs, since when, and how often it was restarted; ends with 1 if the stack is not healthy."""
    from devstack import control

    found = control.status(settings())
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        _show_status(found)
    raise typer.Exit(0 if found["health"] == 200 else 1)


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="supervisor, migrate, postgres, temporal, api or worker")] = "supervisor",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing new lines.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1)] = 100,
) -> None:
    """Show the end of a log of the local stack."""
    from devstack.home import CHILDREN, Home

    log = Home(settings().home).log(name)
    if not log.exists():
        raise StackError(f"There is no log {log}; names are supervisor, migrate, {', '.join(CHILDREN)}.")
    _become(["tail", "-n", str(lines), *(["-f"] if follow else []), str(log)])


@app.command()
def demo() -> None:
    """Start the stack and run a year of billing through the public API."""
    from devstack import control
    from examples.demo import main as run_demo

    control.up(settings(), say=_say)
    raise typer.Exit(run_demo())


@app.command()
def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on (DURABILL_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (DURABILL_PORT).")] = None,
) -> None:
    """Run the API in the foreground (production; needs DATABASE_URL and TEMPORAL_ADDRESS)."""
    _become([sys.executable, *api_arguments(host or settings().host, port or settings().port)])


@app.command()
def worker() -> None:
    """Run the worker in the foreground (production; needs DATABASE_URL and TEMPORAL_ADDRESS)."""
    _become([sys.executable, *worker_arguments()])


@app.command()
def migrate() -> None:
    """Bring the database of DATABASE_URL to the newest schema, and make the application's two logins.

    They are the users of DATABASE_URL and of DURABILL_DATABASE_SYSTEM_URL (by default the same URL, its user with
    `_system_login` behind its name).

    DURABILL_DATABASE_ADMIN_URL is the same database as its owner. Safe to run again, and by several at once.
    """
    from adapters.postgres.database import system_url_of
    from adapters.postgres.migrate import newest_revision, upgrade
    from adapters.postgres.schema import Login

    def login_of(url: str) -> Login:
        parts = urlsplit(url)
        return Login(unquote(parts.username or ""), None if parts.password is None else unquote(parts.password))

    url, system_url = settings().database_url.get_secret_value(), settings().database_system_url
    try:
        system = login_of(system_url_of(url) if system_url is None else system_url.get_secret_value())
    except ValueError as error:
        raise StackError("DATABASE_URL names no user; the application needs a login of its own.") from error
    tenants = login_of(url)
    if not (tenants.name and system.name) or tenants.name == system.name:
        raise StackError("DATABASE_URL and DURABILL_DATABASE_SYSTEM_URL need two logins, each with a name of its own.")
    owner = settings().database_admin_url or settings().database_url
    upgrade(owner.get_secret_value(), app=tenants, system=system)
    _say(f"the database is at revision {newest_revision()}")


@events.command("detach")
def detach_events(
    before: Annotated[str, typer.Option(help="Detach the months before this one, YYYY-MM in UTC.")],
    close_acceptance: Annotated[
        bool,
        typer.Option("--close-acceptance", help="Projects without a limit on the age of events refuse them from now."),
    ] = False,
) -> None:
    """Take old months out of the table of events; their idempotency keys are remembered for ever.

    Refused, with the reasons, while one of these months is open for billing or acceptance. Needs the owner of the
    database (DURABILL_DATABASE_ADMIN_URL); without it, the local stack's is asked.
    """
    from adapters.postgres.events.event_archive import StillOpen, detach

    try:
        cut = datetime.strptime(before, "%Y-%m").replace(tzinfo=UTC)
    except ValueError as error:
        raise StackError(f"{before!r} is no month; write YYYY-MM.") from error
    owner = settings().database_admin_url
    url = _database_url(user="postgres") if owner is None else owner.get_secret_value()
    try:
        months = detach(url, cut, now=datetime.now(UTC), close_acceptance=close_acceptance)
    except StillOpen as error:
        raise StackError("\n  ".join([f"the months before {before} must stay:", *error.reasons])) from error
    for month in months:
        _say(f"detached event_archive.{month.name}: {month.size_bytes / 1e6:,.1f} MB; dump it, move it or drop it")
    _say(f"{len(months)} months were detached")


@verify.command("usage")
def verify_usage(
    project: Annotated[str | None, typer.Option(help="Only this project, by its uuid.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute all rollups anew from the events and report every difference; ends with 1 if there is any.

    Nothing is changed. Each project's result is also at GET /v1/usage/checks.
    """
    import asyncio

    found = asyncio.run(_verified_usage(project, quiet=as_json))
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        different = sum(each["differences"] for each in found)
        checked = sum(each["checked"] for each in found)
        _say(f"{checked} rollups of {len(found)} projects were checked, {different} differ from their events")
    raise typer.Exit(1 if any(each["differences"] for each in found) else 0)


def _database_url(*, user: str = "durabill") -> str:
    """Return DATABASE_URL, or else the database of the local stack, if it runs, for one of its users."""
    configured = settings()
    if "database_url" not in configured.model_fields_set:
        from devstack.embedded_postgres import EmbeddedPostgres
        from devstack.home import Home

        directory = EmbeddedPostgres(Home(configured.home).postgres).socket_directory
        ports = [path.name.rpartition(".")[2] for path in directory.glob(".s.PGSQL.*") if path.name[-1].isdigit()]
        if ports:
            return f"postgresql://{user}@/durabill?host={quote(str(directory), safe='')}&port={ports[0]}"
    return configured.database_url.get_secret_value()


def _database() -> "Database":
    """Return a few connections to the database of the settings or of the local stack."""
    from adapters.postgres.database import Database

    system = settings().database_system_url
    return Database(_database_url(), system_url=None if system is None else system.get_secret_value(), pool_size=4)


async def _verified_usage(project: str | None, *, quiet: bool) -> list[dict[str, Any]]:
    """Check one project after the other, saying how far it has come."""
    from adapters.postgres.usage import usage_check_store

    database = _database()
    found: list[dict[str, Any]] = []
    try:
        for scope in await usage_check_store.all_projects(database):
            if project not in (None, str(scope.project_id)):
                continue

            def tell(progress: usage_check_store.Progress, name: str = str(scope.project_id)) -> None:
                if not quiet:
                    _say(f"{name}: {progress.done} of {progress.total} subscriptions, {progress.checked} rollups")

            checked = await usage_check_store.check(database, scope, started_by="command", tell=tell)
            for detail in () if quiet else checked.details:
                _say(f"  DIFFERENT {json.dumps(detail)}")
            found.append(
                {
                    "project_id": str(scope.project_id),
                    "checked": checked.checked,
                    "differences": checked.differences,
                    "details": list(checked.details),
                }
            )
    finally:
        await database.close()
    if project is not None and not found:
        raise StackError(f"There is no project {project}.")
    return found


@imports.command("events")
def import_events(
    file: Annotated[Path, typer.Argument(help="A .ndjson, .jsonl, .csv or .parquet file.")],
    url: Annotated[str | None, typer.Option(help="The API; default: the local stack's.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="A file with an API key; default: the demo_key.")] = None,
) -> None:
    """Send a file's events through the API. Interrupted, start it again: it goes on where it stopped.

    Each line counts once however often it is sent. Faulty lines are listed in FILE.faulty.ndjson; then the exit code
    is 1.
    """
    from devstack.event_files import size_of
    from devstack.event_import import Import
    from devstack.home import Home

    size = size_of(file)
    home = settings().home
    key = Home(home).secret("demo_key") if key_file is None else key_file.read_text().strip()
    if not key:
        raise StackError(f"There is no demo_key in {home}; name a file with a key (--key-file).")
    importing = Import(file, url or f"http://127.0.0.1:{settings().port}", key)
    if importing.resumes_after:
        _say(f"going on after line {importing.resumes_after:,}")
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task(file.name, total=size)
        report = asyncio.run(importing.run(lambda done: bar.update(task, completed=done)))
        bar.update(task, completed=size)
    _say(f"{report.lines:,} lines: {report.stored:,} stored, {report.duplicates:,} there before")
    for reason, count in sorted(report.skipped.items()):
        _say(f"{count:,} are kept without counting: {reason}")
    if report.faulty:
        _say(f"{report.faulty:,} lines are faulty: {importing.faults}")
        raise typer.Exit(1)


@app.command()
def outbox(
    release: Annotated[int | None, typer.Option(help="Deliver the row with this number after all.")] = None,
) -> None:
    """List messages that nobody could read and that were set aside, or release one when its cause is mended."""
    import asyncio

    from adapters.postgres.subscriptions import parking_store

    database = _database()
    rows, released = asyncio.run(parking_store.list_or_release(database, release=release))
    if release is not None and not released:
        raise StackError(f"Row {release} is not set aside.")
    for row in rows:
        _say(f"{row.id}  {row.parked_at:%Y-%m-%d %H:%M}  {row.topic} of {row.ordering_key}: {row.last_error}")
    _say(f"{len(rows)} messages are set aside")


@keys.command("show")
def show_key(
    name: Annotated[str, typer.Argument(help="demo_key or bootstrap_key")] = "demo_key",
) -> None:
    """Print a key of the local stack, so that scripts can use it: KEY=$(durabill keys show)."""
    from devstack.home import Home

    key = Home(settings().home).secret(name) if name in ("demo_key", "bootstrap_key") else None
    if key is None:
        raise StackError(f"There is no {name} in {settings().home}; start the stack first (durabill up).")
    typer.echo(key)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(context: typer.Context) -> None:
    """Run the benchmarks, each beside its limit; options go to bench."""
    _become([sys.executable, "-m", "bench", *context.args])


@app.command()
def record() -> None:
    """Record workflow histories for the replay tests."""
    _become([sys.executable, "-m", "tests.replay.record"])


@app.command()
def replay() -> None:
    """Replay the committed workflow histories against this code."""
    _become([sys.executable, "-m", "pytest", "-q", "tests/replay"])


def _become(command: list[str]) -> None:
    """Go on as another program: signals and the exit code are its own, nothing stands between."""
    if command[0] == sys.executable:
        os.chdir(ROOT)
    os.execvp(command[0], command)


def _show_links() -> None:
    from devstack import control

    found = control.status(settings())
    for what, url in (
        ("API", found.get("api")),
        ("API reference", f"{found.get('api')}/docs"),
        ("Temporal UI", found.get("temporal_ui")),
        ("State, logs, keys", found["home"]),
    ):
        _say(f"  {what:<18} {url}")


def _show_status(found: dict[str, object]) -> None:
    _say(f"stack {found['phase']} in {found['home']}; health {found['health'] or 'no answer'}")
    parts = found["parts"]
    if not isinstance(parts, list) or not parts:
        return
    columns = ("name", "state", "pid", "since", "restarts", "last_end")
    table = Table(*columns[:-1], Column("last end", overflow="fold"), box=None)
    for part in parts:
        table.add_row(*("" if part[column] is None else str(part[column]) for column in columns))
    console.print(table)


def main() -> int:
    """Run the command line; what the stack cannot do is told in its own words, without a traceback."""
    try:
        app()
    except StackError as error:
        print(f"durabill: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from adapters.postgres.failures import is_unreachable
        from models.problems import Problem

        if isinstance(error, Problem):
            print(f"durabill: {error.detail}", file=sys.stderr)
            return 1
        if not is_unreachable(error):
            raise
        print(f"durabill: the database cannot be reached: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
