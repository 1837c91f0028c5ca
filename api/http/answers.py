"""What routes answer with: each answer is declared once, as a model that is built from a store's record."""

from typing import Annotated, Any, Self, cast

from pydantic import BaseModel, ConfigDict, WithJsonSchema

EventTime = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time of an event, written with its fraction of a second (``api.http.responses.exact_instant``)."""


class Answer(BaseModel):
    """A document that a route returns; `model_validate(record)` takes the fields of a record by name.

    A model whose fields differ from the record's has a constructor `of(record)`, built on `showing`.
    """

    model_config = ConfigDict(from_attributes=True, frozen=True)

    @classmethod
    def showing(cls, record: object, **values: Any) -> Self:
        """Return the answer with these values, and every other field as the record has it.

        Nothing is validated: what a store returned is what is shown.
        """
        fields = {name: values[name] if name in values else getattr(record, name) for name in cls.model_fields}
        return cast(Self, cls.model_construct(**fields))
