"""Messages of the workflows that look after usage: checking rollups, and counting skipped events again."""

from uuid import UUID

from models.messages.base import Message


class CheckUsage(Message):
    """The argument of the workflow that checks all rollups; ``project_id`` narrows it, ``after`` goes on behind one."""

    organization_id: UUID | None = None
    project_id: UUID | None = None
    after: UUID | None = None
    found: "UsageChecked | None" = None


class UsageChecked(Message):
    """What was checked so far: projects, rollups, and the rollups that differ from their events."""

    projects: int = 0
    checked: int = 0
    differences: int = 0


class ProjectRef(Message):
    """One project."""

    organization_id: UUID
    project_id: UUID


class ProjectsPage(Message):
    """Some projects, in the order of their ids."""

    projects: tuple[ProjectRef, ...]


class Reprocess(Message):
    """The argument of the workflow that counts the skipped events of a window: a row of ``event_reprocessings``."""

    organization_id: UUID
    project_id: UUID
    reprocessing_id: UUID


class Reprocessed(Message):
    """How far it has come: skipped events in the window when it began, looked at, and counted."""

    total: int = 0
    seen: int = 0
    counted: int = 0
    done: bool = False


CheckUsage.model_rebuild()
