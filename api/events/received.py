"""What a request to ingestion holds once it has been read: its events, and what was wrong with the others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from adapters.postgres.events.ingest_events import IngestEvent
from models.problems import FieldError, Problem

_MOST_LISTED: Final = 100


@dataclass(frozen=True)
class Shape:
    """What one route takes: how many events, what must be in each, and whether good ones are taken without the bad.

    `creates_customers` says that an unknown customer is made, so its id must be fit for one.
    """

    most: int
    needs_value: bool = False
    single: bool = False
    partial: bool = False
    creates_customers: bool = False


@dataclass(frozen=True)
class Rejected:
    """An event of a batch that was not taken while others were, by its position in the request."""

    index: int
    errors: Sequence[FieldError]


@dataclass(frozen=True)
class Received:
    """The events of a body, and whether it was written in BoxBilling's words (`transaction_id` and `code`).

    ``indexes`` are their positions in the request where some of it was rejected.
    """

    events: Sequence[IngestEvent]
    boxbilling: bool
    batch: bool = False
    indexes: Sequence[int] | None = None
    rejected: Sequence[Rejected] = ()

    def index_of(self, place: int) -> int:
        """Return the position in the request of the event at a place."""
        return place if self.indexes is None else self.indexes[place]

    def refusal(self, problem: Problem) -> Problem:
        """Return a refusal of event times with the positions of the request; a single event has none."""
        if not self.batch:
            return Problem(problem.status, problem.code, problem.detail, errors=[_of_single(e) for e in problem.errors])
        errors = [error for each in self.rejected for error in each.errors]
        errors += [self._placed(error) for error in problem.errors]
        places = [self.index_of(place) for place in problem.extra["invalid_indexes"]]
        extra = {"invalid_indexes": sorted([*places, *(each.index for each in self.rejected)])}
        return Problem(problem.status, problem.code, problem.detail, errors=errors, extra=extra)

    def without(self, problem: Problem) -> "Received | None":
        """Leave out the events that a refusal of event times names; None if none of the others is left."""
        named = {_place_of(error): self._placed(error) for error in problem.errors}
        out = {place: named.get(place) for place in problem.extra["invalid_indexes"]}
        kept = [place for place in range(len(self.events)) if place not in out]
        general = FieldError("timestamp", "lies outside the accepted time", problem.code)
        rejected = [Rejected(self.index_of(place), (error or general,)) for place, error in out.items()]
        return (
            None
            if not kept
            else Received(
                [self.events[place] for place in kept],
                self.boxbilling,
                self.batch,
                [self.index_of(place) for place in kept],
                sorted([*self.rejected, *rejected], key=lambda each: each.index),
            )
        )

    def _placed(self, error: FieldError) -> FieldError:
        return replace(error, field=f"events.{self.index_of(_place_of(error))}.timestamp")


def _place_of(error: FieldError) -> int:
    return int(error.field.split(".")[1])


def _of_single(error: FieldError) -> FieldError:
    return replace(error, field="timestamp")


@dataclass(frozen=True)
class ParsedEvent:
    """One event as it was read: None, with the reasons, if it is wrong."""

    event: IngestEvent | None
    errors: Sequence[FieldError]


def received_of(read: Sequence[ParsedEvent], shape: Shape, *, boxbilling: bool = False) -> Received:
    """Take all the events that were read, or none; with ``shape.partial`` the good ones, if there are any.

    Raises ``Problem`` 422 with the positions of the wrong ones.
    """
    rejected = [Rejected(index, each.errors) for index, each in enumerate(read) if each.event is None]
    good = [(index, each.event) for index, each in enumerate(read) if each.event is not None]
    if rejected and not (shape.partial and good):
        raise _refused(rejected, len(read), shape)
    indexes = [index for index, _ in good] if rejected else None
    return Received([event for _, event in good], boxbilling, not shape.single, indexes, rejected)


def _refused(rejected: Sequence[Rejected], total: int, shape: Shape) -> Problem:
    errors = [error for each in rejected for error in each.errors]
    detail = f"{errors[0].field}: {errors[0].message}"
    if shape.single:
        return Problem(422, errors[0].code, detail, errors=errors)
    detail = f"{len(rejected)} of {total} events are wrong, so none was stored. {detail}"
    extra = {"invalid_indexes": [each.index for each in rejected]}
    return Problem(422, "invalid_events", detail, errors=errors[:_MOST_LISTED], extra=extra)


def too_many(shape: Shape, count: int) -> Problem:
    """Refuse a batch with more events than the shape allows (B63)."""
    return wrong_body("events", f"a batch holds at most {shape.most} events, this one {count}", "too_many_events")


def wrong_body(field: str, message: str, code: str = "validation_failed") -> Problem:
    """Refuse a body as a whole, 422."""
    return Problem(422, code, f"{field}: {message}", errors=(FieldError(field, message, code),))
