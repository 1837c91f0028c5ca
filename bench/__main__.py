"""Every benchmark in one run: ``make bench``, or ``python -m bench --quick`` for a short look."""

import argparse
import asyncio

import bench.closing
import bench.ingestion
import bench.limits
from bench.report import Row, show


async def measure(quick: bool) -> list[Row]:
    """Run the benchmarks one after the other, so that they do not share the processors."""
    return [
        *await bench.ingestion.run(quick=quick),
        *await bench.closing.run(quick=quick),
        *await bench.limits.run(quick=quick),
    ]


def main() -> None:
    """Run, print, write ``bench/results/latest.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    options = parser.parse_args()
    show(asyncio.run(measure(options.quick)))


if __name__ == "__main__":
    main()
