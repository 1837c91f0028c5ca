"""Domain errors that the API renders as RFC 9457 problem documents."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: A key that was sent in place of an id must not appear in answers and logs.
_API_KEY: Final = re.compile(r"\b((?:sk|uf)_(?:live|test)_|whsec_)\S+")

#: What every problem document says; an `extra` of the same name would be lost.
_MEMBERS: Final = frozenset({"type", "title", "status", "detail", "code", "errors"})


@dataclass(frozen=True)
class FieldError:
    """One wrong field: where it is (dotted path) and what is wrong with it."""

    field: str
    message: str
    code: str = "invalid"


class Problem(Exception):
    """A refusal with a stable code: ``status`` is the HTTP status, ``detail`` says what to do about it."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        taken = _MEMBERS.intersection(extra or ())
        assert not taken, f"a problem document says {', '.join(taken)} itself"
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


def not_found(kind: str, reference: object) -> Problem:
    """Say that nothing of this kind has that id in the caller's project (404)."""
    shown = _API_KEY.sub(r"\1...", str(reference)[:80])
    return Problem(404, f"{kind}_not_found", f"No {kind.replace('_', ' ')} {shown!r} in this project.")


def conflict(code: str, detail: str, **extra: Any) -> Problem:
    """Say that the request contradicts what exists (409)."""
    return Problem(409, code, detail, extra=extra)


def invalid(field: str, message: str, code: str = "validation_failed") -> Problem:
    """Say that one field of the request is wrong (422)."""
    return Problem(422, code, f"{field}: {message}", errors=(FieldError(field, message, code),))


def unavailable(code: str, detail: str, retry_after_seconds: int = 2) -> Problem:
    """Say that a part the request needs is not reachable now (503 with Retry-After)."""
    return Problem(503, code, detail, headers={"Retry-After": str(retry_after_seconds)})
