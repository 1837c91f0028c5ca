"""One style for every log line of a process, whoever writes it: structlog, with secrets and bodies taken out."""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Final, Literal

import structlog
from structlog.typing import EventDict, Processor
from temporalio import activity, workflow

Format = Literal["json", "console"]

#: Libraries that say at INFO what we say ourselves, with addresses that hold more than a log should.
_QUIET: Final = ("httpx", "httpcore", "stripe", "urllib3", "asyncio", "faker")
_HIDDEN: Final = "[hidden]"
_SECRET_NAMES: Final = re.compile(r"(?i)(authorization|cookie|password|secret|token|raw_key|api[-_]key|credential)$")
#: Keys and signing secrets by their prefixes, what follows a scheme of authorization, and passwords in addresses.
_SECRETS: Final = re.compile(
    r"(?P<kept>\b(?:sk|rk|pk|uf|whsec|boot)_(?:live_|test_)?|\b(?:Bearer|Basic)\s+|\b[a-z][a-z0-9+]*://[^\s:/@]*:)"
    r"[^\s\"',;@\\]{6,}"
)
#: Parts of an error's text that quote what somebody sent: pydantic's input, the row that Postgres refused.
_QUOTED: Final = re.compile(r"(?P<kept>\binput_value=|\bDETAIL:  ?)(?:[^\n]*?(?=, input_type=)|[^\n]*)")


class _Handler(logging.StreamHandler[Any]):
    """Ours, to be told from those that others put beside it."""


def set_up(level: str, style: Format, *context: Processor) -> None:
    """Write every log line of this process to standard error, as one JSON object or as a line for people.

    Lines of the standard library's loggers (uvicorn, temporalio, sqlalchemy) take the same way. ``context`` adds what
    a line's surroundings know of it. Again is harmless: the last call counts.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        *context,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    temporal = structlog.stdlib.ExtraAdder(allow=("temporal_workflow", "temporal_activity"))
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, temporal, _named_work],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, without_secrets, _renderer(style)],
        )
    )
    _take_over(handler, level.upper())


def _renderer(style: Format) -> Processor:
    if style == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)


def _take_over(handler: logging.Handler, level: str) -> None:
    root = logging.getLogger()
    root.handlers = [*(other for other in root.handlers if not isinstance(other, _Handler)), handler]
    root.setLevel(level)
    # uvicorn gives its loggers handlers of their own before it loads the application.
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Temporal's loggers say whose work it is in fields, not in the message.
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False


_WORK: Final = {"workflow_id": "workflow", "run_id": "run", "workflow_run_id": "run", "activity_type": "activity"}


def _named_work(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Name the workflow and the activity of a line of Temporal's loggers as ours do."""
    for name in ("temporal_workflow", "temporal_activity"):
        details = event.pop(name, None) or {}
        for theirs, ours in _WORK.items():
            if theirs in details:
                event.setdefault(ours, details[theirs])
    return event


def without_secrets(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Return a line in which keys, passwords, tokens and quoted input are replaced by ``[hidden]``."""
    return {name: _cleaned(str(name), value) for name, value in event.items()}


def _cleaned(name: str, value: Any) -> Any:
    if _SECRET_NAMES.search(name):
        return _HIDDEN
    match value:
        case None | bool() | int() | float():
            return value
        case bytes():
            return _HIDDEN
        case Mapping():
            return {inner: _cleaned(str(inner), part) for inner, part in value.items()}
        case list() | tuple():
            return [_cleaned(name, part) for part in value]
        case _:
            text = _SECRETS.sub(rf"\g<kept>{_HIDDEN}", str(value))
            return _QUOTED.sub(rf"\g<kept>{_HIDDEN}", text)
