"""What routes answer with: each answer is declared once, as a model that is built from a store's record."""

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """A document that a route returns; `model_validate(record)` takes the fields of a record by name.

    A model whose fields differ from the record's has a constructor `of(record)`.
    """

    model_config = ConfigDict(from_attributes=True, frozen=True)
