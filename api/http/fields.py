"""Kinds of fields that several bodies share: bounded texts, client-chosen ids, currencies, zones, free objects."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, NamedTuple

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    EmailStr,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from billing.money import normalise_currency
from billing.period import zone
from models.problems import FieldError, Problem, invalid

LARGEST_OBJECT_BYTES: Final = 32_768

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_EMAIL: Final = TypeAdapter(EmailStr)
_ID_PATTERN: Final = r"^[^\x00-\x20/\x7f]([^\x00-\x1f/\x7f]*[^\x00-\x20/\x7f])?$"

Name = Annotated[str, StringConstraints(min_length=1, max_length=255, strip_whitespace=True)]
"""A text of one line, not empty."""

Prose = Annotated[str, StringConstraints(max_length=5000)]
"""A longer text."""

Ref = Annotated[str, StringConstraints(min_length=1, max_length=255)]
"""Something named by its id, uuid, code, key or ingest key (conflicts C4)."""


def _no_dots(text: str) -> str:
    if text in (".", ".."):
        raise ValueError("must not be . or .., which paths take away")
    return text


ClientId = Annotated[
    str, StringConstraints(min_length=1, max_length=255, pattern=_ID_PATTERN), AfterValidator(_no_dots)
]
"""An id that the client chooses, fit to stand in a path: no / or control characters, and not . or .. itself."""


def _currency(text: str) -> str:
    normalise_currency(text)
    return text


Currency = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{3}$"), AfterValidator(_currency)]
"""An ISO 4217 code in any case, kept as the client wrote it (C13)."""


def _time_zone(text: str) -> str:
    zone(text)
    return text


TimeZoneName = Annotated[str, StringConstraints(min_length=1, max_length=50), AfterValidator(_time_zone)]
"""An IANA time zone."""


def _email(text: str) -> str:
    try:
        _EMAIL.validate_python(text)
    except ValidationError:
        raise ValueError("is not an email address such as billing@acme.io") from None
    return text


Email = Annotated[
    str, StringConstraints(max_length=320), AfterValidator(_email), Field(json_schema_extra={"format": "email"})
]
"""An email address, kept as the client wrote it."""


def _bounded_object(value: dict[str, Any]) -> dict[str, Any]:
    if len(_ENCODER.encode(value)) > LARGEST_OBJECT_BYTES:
        raise ValueError(f"must not be longer than {LARGEST_OBJECT_BYTES} bytes of JSON")
    return value


JsonObject = Annotated[dict[str, Any], AfterValidator(_bounded_object)]
"""A free object of the client's own, kept exactly."""


ExactNumber = Annotated[Decimal, WithJsonSchema({"type": "number"})]
"""A number of an answer: a JSON number with every digit, an integer when it is whole (C11)."""


def _folded(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


AnyCase = BeforeValidator(_folded)
"""Makes an enum accept its values in any case (C22)."""


def same(first: str | None, second: str | None, *, first_name: str, second_name: str) -> str | None:
    """Return the one value that two synonymous fields hold. Raises `Problem` 422 if they differ."""
    if first is not None and second is not None and first != second:
        raise invalid(second_name, f"is a synonym of {first_name} and must be the same; send one of them")
    return first if first is not None else second


def refuse_reserved(value: str | None, field: str, words: frozenset[str]) -> None:
    """Refuse a client's id that is a fixed segment of a path, which would hide it (C37). Raises `Problem` 422."""
    if value in words:
        raise invalid(field, f"must not be {value!r}, which is a path of its own", "reserved_id")


def nested_problem(error: ValidationError, prefix: str) -> Problem:
    """Turn errors of a value nested in a body into 422, each field with its whole path."""
    fields = []
    for item in error.errors()[:20]:
        path = ".".join([prefix, *(str(part) for part in item["loc"] if part != "")])
        fields.append(FieldError(path, str(item["msg"]).removeprefix("Value error, ")[:300], str(item["type"])))
    detail = "; ".join(f"{field.field}: {field.message}" for field in fields[:3])
    return Problem(422, "validation_failed", detail, errors=fields)


class Unbuilt(NamedTuple):
    """Why a field is refused, and the value that means nothing beside those that never do."""

    reason: str
    neutral: object = None


class RefusingBody(BaseModel):
    """A body that refuses fields which other systems have and nothing here honours, rather than ignore them (C16).

    A value that asks for nothing is taken: null, false, 0, an empty list or object, and the field's `neutral`.
    """

    unbuilt: ClassVar[Mapping[str, Unbuilt]] = {}

    @model_validator(mode="before")
    @classmethod
    def _refuse_unbuilt(cls, body: Any) -> Any:
        for name, unbuilt in cls.unbuilt.items():
            value = body.get(name) if isinstance(body, Mapping) else None
            if value and str(value) not in ("0", str(unbuilt.neutral)):
                raise invalid(name, unbuilt.reason, "not_supported")
        return body
