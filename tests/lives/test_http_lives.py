"""Random lives over HTTP in test clocks, against the same naive account as the pure ones.

`DURABILL_HTTP_LIVES` says how many (12 without it), `DURABILL_LIFE` names one seed to live alone.
"""

import asyncio
import os
from typing import Final

import httpx
import pytest

from tests.lives.lives import life
from tests.lives.over_http import HttpLife, make_metrics

pytestmark = [pytest.mark.stack, pytest.mark.slow]

LIVES: Final = int(os.environ.get("DURABILL_HTTP_LIVES", "12"))
ONE: Final = os.environ.get("DURABILL_LIFE")
AT_ONCE: Final = 6

KEPT: Final = frozenset[str]()
"""The options of a life in which the product keeps the rules over HTTP; each of the others is a known fault."""


async def lived(client: httpx.AsyncClient, seed: int, turn: asyncio.Semaphore) -> list[str]:
    """Live one life when it is its turn; give what is wrong with it."""
    async with turn:
        try:
            return await HttpLife(client, life(seed, KEPT)).live()
        except Exception as error:
            return [f"{type(error).__name__}: {error}"]


@pytest.mark.timeout(0 if LIVES > 12 else 180)
async def test_what_was_used_is_billed_once_over_http(client: httpx.AsyncClient) -> None:
    await make_metrics(client)
    seeds = [int(ONE)] if ONE else range(LIVES)
    turn = asyncio.Semaphore(AT_ONCE)
    found = await asyncio.gather(*(lived(client, seed, turn) for seed in seeds))
    wrong = {seed: mistakes for seed, mistakes in zip(seeds, found, strict=True) if mistakes}
    told = "\n".join(f"seed {seed}: " + "\n  ".join(mistakes) for seed, mistakes in wrong.items())
    assert not wrong, f"{len(wrong)} of {len(found)} lives (DURABILL_LIFE tells one alone):\n{told}"
