"""What the stores of usage return."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class UsageCheck:
    """A check of a project's rollups against its events; `details` are the first differences, as they are shown."""

    id: UUID
    status: str
    checked: int
    differences: int
    details: Sequence[Mapping[str, str | int | None]]
    started_by: str
    created_at: datetime
    finished_at: datetime | None
