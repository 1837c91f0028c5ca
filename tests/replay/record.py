"""Record histories and fingerprints of every scenario: ``make record``, or ``python -m tests.replay.record``.

Needed when a workflow's commands changed on purpose. The old histories stay valid only as long as the code can replay
them: if the replay test fails on one, the change needs `workflow.patched` first (CONTRIBUTING.md).
"""

import asyncio
import json
import re
import tempfile
import uuid
from pathlib import Path
from typing import Any, Final

from temporalio.client import WorkflowHistory

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.migrate import create_database, upgrade
from adapters.temporal.client import connect
from api.http.commands import Commands
from devstack.embedded_postgres import EmbeddedPostgres
from devstack.temporal_server import TemporalServer
from models.identifiers import new_id
from models.tables import organizations, projects
from settings import Settings
from tests.replay.fingerprint import fingerprint
from tests.replay.scenarios import SCENARIOS
from tests.support.subscribing import Catalogue
from tests.workflows.conftest import Office

_PROCESS_AT_MACHINE: Final = re.compile(r"[0-9]+@[^:]*")
HISTORIES: Final = Path(__file__).resolve().parent / "histories"
DATABASE: Final = "recording"


async def record() -> None:
    """Run every scenario on fresh servers and write what happened."""
    HISTORIES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        postgres, temporal = EmbeddedPostgres(Path(directory) / "p", durable=False), TemporalServer(None)
        try:
            postgres.start()
            temporal.start()
            create_database(postgres.url(), DATABASE)
            upgrade(postgres.url(DATABASE))
            for name, scenario in SCENARIOS.items():
                office = await new_office(postgres.url(DATABASE, user="durabill"), temporal.address)
                async with office.working():
                    workflow_id = await scenario(office)
                    history = await office.client.get_workflow_handle(workflow_id).fetch_history()
                await office.database.close()
                write(name, history)
                print(f"recorded {name}: {len(history.events)} events")
        finally:
            temporal.stop()
            postgres.stop()


def write(name: str, history: WorkflowHistory) -> None:
    """Write a history and its fingerprint."""
    document: dict[str, Any] = {"workflow_id": history.workflow_id, **anonymous(history.to_json_dict())}
    (HISTORIES / f"{name}.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    (HISTORIES / f"{name}.txt").write_text("\n".join(fingerprint(history)) + "\n")


def anonymous(value: Any) -> Any:
    """Leave out who recorded a history, and where: names of machines, and stack traces with their paths."""
    match value:
        case dict():
            return {key: anonymous(item) for key, item in value.items() if key != "stackTrace"}
        case str():
            return _PROCESS_AT_MACHINE.sub("recorder", value)
        case list():
            return [anonymous(item) for item in value]
    return value


async def new_office(url: str, address: str) -> Office:
    """Make a tenant, its catalogue and connections."""
    configuration = Settings(
        DATABASE_URL=url,
        TEMPORAL_ADDRESS=address,
        temporal_task_queue=f"record-{uuid.uuid4().hex[:8]}",
        relay_poll_ms=50,
        usage_signal_quiet_ms=50,
        usage_signal_busy_ms=100,
        database_pool_size=10,
        webhook_allow_private=True,
        webhook_first_retry_seconds=2,
    )
    database = Database(url, pool_size=5)
    scope = ProjectScope(organization_id=new_id(), project_id=new_id())
    async with database.transaction(SYSTEM) as connection:
        organization = {"id": scope.organization_id, "name": "Recording", "slug": f"recording-{scope.organization_id}"}
        await connection.execute(organizations.insert().values(**organization))
        project = {"id": scope.project_id, "organization_id": scope.organization_id, "name": "Default"}
        await connection.execute(projects.insert().values(**project))
    catalogue = await Catalogue(database, scope).build()
    commands = await Commands.connect(database, configuration)
    return Office(catalogue, await connect(configuration), commands, configuration, database)


if __name__ == "__main__":
    asyncio.run(record())
