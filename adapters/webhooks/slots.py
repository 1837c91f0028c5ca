"""How many messages a process has on their way at once: to one endpoint, of one project, and altogether."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self
from uuid import UUID

from adapters.postgres.webhooks.webhook_delivery_store import DueDelivery
from settings import Settings

#: Attempts that one process makes at once, for everybody.
AT_ONCE: Final = 64
#: Most of them for one project: receivers that hang, however many it has, delay no other project's retries.
_OF_A_PROJECT: Final = 16


class Slots:
    """Counts attempts that are being made outside the relay's lanes: retries, and those that somebody asked for."""

    def __init__(self, of_an_endpoint: int) -> None:
        self._of_an_endpoint = of_an_endpoint
        self._of_a_project = max(_OF_A_PROJECT, of_an_endpoint)
        self._on_their_way: Counter[UUID] = Counter()
        self._total = 0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Make the slots that the settings describe."""
        return cls(settings.webhook_concurrency)

    @contextmanager
    def taken(self, delivery: DueDelivery) -> Iterator[bool]:
        """Take a slot for the time of one attempt; gives False if there is none, and then nothing may be sent."""
        endpoint, project = delivery.endpoint_id, delivery.project_id
        free = self._on_their_way[endpoint] < self._of_an_endpoint and self._on_their_way[project] < self._of_a_project
        if not free or self._total >= AT_ONCE:
            yield False
            return
        self._on_their_way.update((endpoint, project))
        self._total += 1
        try:
            yield True
        finally:
            # Adding drops what is at zero, so that the counter does not grow with everybody who was ever sent to.
            self._on_their_way += Counter({endpoint: -1, project: -1})
            self._total -= 1
