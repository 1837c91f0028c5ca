"""What a benchmark reports: each figure beside its limit, measured on the same machine in the same run."""

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Row:
    """Several runs of one thing (``figures``) and of its limit (``limits``), in the same unit per second."""

    name: str
    unit: str
    figures: tuple[float, ...]
    limit_name: str = ""
    limits: tuple[float, ...] = ()
    aim: str = ""

    @property
    def median(self) -> float:
        """Return the middle run."""
        return statistics.median(self.figures)

    @property
    def limit_median(self) -> float | None:
        """Return the middle run of the limit."""
        return statistics.median(self.limits) if self.limits else None

    @property
    def share(self) -> float | None:
        """Return the figure as a part of its limit; run by run where both were run in turn."""
        if not self.limits:
            return None
        if len(self.limits) == len(self.figures):
            return statistics.median(f / m for f, m in zip(self.figures, self.limits, strict=True))
        return self.median / statistics.median(self.limits)


def show(rows: Sequence[Row], *, title: str = "Durabill benchmarks") -> None:
    """Print the rows as a table."""
    table = Table(title=f"{title}: median (lowest - highest) of the runs")
    for heading in ("what", "figure", "its limit", "limit's figure", "share", "aim"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        span = f"{row.median:,.0f} {row.unit} ({min(row.figures):,.0f} - {max(row.figures):,.0f})"
        limit = "" if row.limit_median is None else f"{row.limit_median:,.0f} {row.unit}"
        share = "" if row.share is None else f"{row.share:.0%}"
        table.add_row(row.name, span, row.limit_name, limit, share, row.aim)
    Console(width=160).print(table)


def save(rows: Sequence[Row]) -> None:
    """Write the rows as JSON to ``bench/results/latest.json``."""
    RESULTS.mkdir(exist_ok=True)
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": platform.machine(), "python": platform.python_version()},
        "rows": [{**asdict(row), "median": row.median, "share": row.share} for row in rows],
    }
    (RESULTS / "latest.json").write_text(json.dumps(document, indent=1) + "\n")
