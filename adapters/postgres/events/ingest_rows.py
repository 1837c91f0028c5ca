"""The rows of one flush, as the arrays that one statement stores (unnest was as fast as COPY to a staging table)."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from adapters.postgres.arrays import bare, moments, texts

#: What many events of a flush share: references and what they resolved to.
Shared = tuple[str, str | None, str | None, str | None, str, UUID | None, UUID | None, UUID | None, str | None]


class Rows:
    """Rows in the order in which they were added; what events share is kept once."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.ids: list[str] = []
        self.values: list[str | None] = []
        self.times: list[datetime] = []
        self.given: list[bool] = []
        self.shared_of: list[int] = []
        #: As JSON texts
        self.properties: list[str | None] = []
        self.fingerprints: list[int] = []
        self.shared: dict[Shared, int] = {}
        self._listed: list[Shared] = []

    def __len__(self) -> int:
        return len(self.keys)

    def share(self, shared: Shared) -> int:
        """Return the number of a combination of references."""
        return self.shared.setdefault(shared, len(self.shared))

    def subscription_of(self, place: int) -> UUID | None:
        """Return the subscription to which the row at a place belongs."""
        if len(self._listed) != len(self.shared):
            self._listed = list(self.shared)
        return self._listed[self.shared_of[place]][7]

    def parameters(self) -> dict[str, Any]:
        """Return the arrays as Postgres array texts."""
        columns = list(zip(*self.shared, strict=True)) if self.shared else [()] * 9
        properties = None
        if any(each is not None for each in self.properties):
            properties = texts(self.properties)
        return {
            "keys": texts(self.keys),
            "ids": bare(self.ids),
            "fingerprints": bare([str(fingerprint) for fingerprint in self.fingerprints]),
            "values": bare(["NULL" if value is None else value for value in self.values]),
            "times": moments(self.times),
            "given": None if all(self.given) else bare(["t" if given else "f" for given in self.given]),
            "shared_of": bare([str(number) for number in self.shared_of]),
            "properties": properties,
            **{name: texts(columns[place]) for place, name in enumerate(_SHARED)},
        }


_SHARED: Final = (
    "metric_refs",
    "customer_refs",
    "subscription_refs",
    "item_refs",
    "sources",
    "metric_ids",
    "customer_ids",
    "subscription_ids",
    "reasons",
)
