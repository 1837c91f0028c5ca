"""Log lines and metrics have one style, and operators find each metric in the documentation."""

from pathlib import Path

import pytest
from prometheus_client import REGISTRY

import api.health.backlog_metrics
import worker
from tests.house.test_rules import ROOT, imports_of, relative, sources

_SETS_UP_LOGGERS = ("adapters/telemetry/logs.py",)


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_log_lines_are_written_with_structlog(path: Path) -> None:
    if relative(path) not in _SETS_UP_LOGGERS:
        assert "logging" not in imports_of(path), "use structlog.get_logger"


def test_each_metric_of_ours_is_documented() -> None:
    assert worker.__name__, api.health.backlog_metrics.__name__
    documented = (ROOT / "docs" / "operations.md").read_text()
    ours = {metric.name: metric.type for metric in REGISTRY.collect() if metric.name.startswith("durabill_")}
    assert len(ours) > 8, "what registers metrics is imported"
    named = {f"{name}_total" if kind == "counter" else name for name, kind in ours.items()}
    assert [name for name in sorted(named) if f"| `{name}` |" not in documented] == []
