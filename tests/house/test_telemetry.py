"""Log lines and metrics have one style, and operators find each metric in the documentation."""

from pathlib import Path

import pytest

from tests.house.test_rules import imports_of, relative, sources

_SETS_UP_LOGGERS = ("adapters/telemetry/logs.py",)


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_log_lines_are_written_with_structlog(path: Path) -> None:
    if relative(path) not in _SETS_UP_LOGGERS:
        assert "logging" not in imports_of(path), "use structlog.get_logger"
