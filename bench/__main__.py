"""Every benchmark in one run: ``make bench``, or ``python -m bench --quick`` for a short look.

``python -m bench closing limits`` runs only those. Each prints its rows as soon as it is done.
"""

import argparse
import asyncio
import time
from types import ModuleType
from typing import Final

from rich.console import Console

import bench.alerts
import bench.busy_subscription
import bench.closing
import bench.growth
import bench.ingestion
import bench.limits
import bench.usage_reads
import bench.webhooks
from bench.report import Row, save, show

#: In this order, one after the other, so that they do not share the processors.
BENCHMARKS: Final[tuple[ModuleType, ...]] = (
    bench.ingestion,
    bench.usage_reads,
    bench.growth,
    bench.busy_subscription,
    bench.closing,
    bench.limits,
    bench.alerts,
    bench.webhooks,
)


async def measure(benchmarks: list[ModuleType], *, quick: bool) -> list[Row]:
    """Run the benchmarks and print what each found."""
    rows: list[Row] = []
    for benchmark in benchmarks:
        name = benchmark.__name__.removeprefix("bench.")
        began = time.perf_counter()
        with Console(stderr=True).status(f"{name}: {(benchmark.__doc__ or '').splitlines()[0]}"):
            found: list[Row] = await benchmark.run(quick=quick)
        show(found, title=f"{name}, in {time.perf_counter() - began:.0f} s")
        rows += found
    return rows


def main() -> None:
    """Run, print, write ``bench/results/latest.json``."""
    names = {benchmark.__name__.removeprefix("bench."): benchmark for benchmark in BENCHMARKS}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", metavar="BENCHMARK", help=f"any of {', '.join(names)}; all without it")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    options = parser.parse_args()
    unknown = [name for name in options.only if name not in names]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]!r}; there are {', '.join(names)}")
    chosen = [names[name] for name in options.only] or list(BENCHMARKS)
    save(asyncio.run(measure(chosen, quick=options.quick)))


if __name__ == "__main__":
    main()
