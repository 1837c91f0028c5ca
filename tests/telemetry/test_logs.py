"""Log lines: one style for every logger, and nothing in them that should not be there."""

import json
import logging
from typing import Any

import pytest
import structlog
from pydantic import BaseModel, ValidationError

from adapters.telemetry import logs


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_loggers_of_libraries_write_like_our_own(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "json")
    structlog.get_logger("durabill.test").info("closed", invoice="inv_1")
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
    logging.getLogger("sqlalchemy.pool").warning("slow")
    logging.getLogger("durabill.test").debug("not written")
    ours, theirs, third = written(capsys)
    assert (ours["event"], ours["invoice"], ours["level"]) == ("closed", "inv_1", "info")
    assert (theirs["event"], theirs["logger"]) == ("Started server process [7]", "uvicorn.error")
    assert set(theirs) == set(third) == {"event", "logger", "level", "timestamp"}


def test_a_line_of_temporal_names_its_workflow_in_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "json")
    details = {"workflow_id": "subscription/1", "run_id": "r", "workflow_type": "SubscriptionWorkflow"}
    logging.getLogger("temporalio.workflow").warning("waits", extra={"temporal_workflow": details})
    (line,) = written(capsys)
    assert (line["event"], line["workflow"], line["run"]) == ("waits", "subscription/1", "r")


def test_the_console_style_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "console")
    structlog.get_logger("durabill.test").warning("closed", invoice="inv_1")
    line = capsys.readouterr().err
    assert "closed" in line
    assert "invoice=inv_1" in line
    assert not line.startswith("{")


@pytest.mark.parametrize(
    ("fields", "hidden"),
    [
        ({"said": "Authorization: Bearer abcdef123456"}, "abcdef123456"),
        ({"said": "no such key sk_live_0123456789abcdef"}, "0123456789abcdef"),
        ({"said": "postgresql://durabill:pass-word@host/db refused"}, "pass-word"),
        ({"headers": {"x-api-key": "plain-secret-1"}}, "plain-secret-1"),
        ({"signing_secret": "plain-secret-2"}, "plain-secret-2"),
        ({"keys": ["uf_test_0123456789abcdef"]}, "0123456789abcdef"),
        ({"body": b'{"email": "a@example.com"}'}, "a@example.com"),
        ({"error": "violates a constraint\nDETAIL:  Failing row contains (17, a@example.com)."}, "a@example.com"),
    ],
)
def test_secrets_and_bodies_are_hidden(fields: dict[str, Any], hidden: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "json")
    structlog.get_logger("durabill.test").info("said", **fields, key_id="kept")
    logging.getLogger("some.library").info("said %s", fields)
    text = capsys.readouterr().err
    assert "[hidden]" in text
    assert "kept" in text
    assert hidden not in text.splitlines()[0]


def test_what_pydantic_quotes_of_a_body_is_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    class Body(BaseModel):
        amount: int

    logs.set_up("info", "json")
    sent = " ".join(["private", "words"])
    try:
        Body(amount=sent)
    except ValidationError:
        structlog.get_logger("durabill.test").exception("unreadable")
    (line,) = written(capsys)
    assert "input_value=[hidden], input_type=str" in line["exception"]
    assert "private words" not in line["exception"]
