"""Run benchmarks, print a table, and write the figures as JSON if asked to.

Rows with a ratio are of two things measured in the same run, one after the other: absolute times mean little
on a shared machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from capture import bench_capture
from cycle import bench_cycle
from mirror import bench_mirror
from report import print_rows, write_json
from shipping import bench_shipping
from transfer import bench_distance, bench_transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from report import Figure, Row

CASES: dict[str, Callable[[argparse.Namespace], Sequence[Row | Figure]]] = {
    "capture": lambda arguments: bench_capture(arguments.runs),
    "transfer": lambda arguments: bench_transfer(arguments.runs),
    "cycle": lambda arguments: bench_cycle(arguments.runs),
    "mirror": lambda arguments: bench_mirror(arguments.runs),
    "distance": lambda arguments: bench_distance(arguments.runs),
    "shipping": lambda arguments: bench_shipping(arguments.runs, lag_seconds=arguments.lag_seconds),
}


def main() -> int:
    """Run the cases that are named, or all."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"any of: {', '.join(CASES)} (default: all)", metavar="CASE")
    parser.add_argument("--runs", type=int, default=5, help="runs of each side, taken in turn (default: 5)")
    parser.add_argument(
        "--lag-seconds", type=float, default=60.0, help="how long the lag is sampled (default: 60)", metavar="N"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file", metavar="FILE")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - CASES.keys():
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    rows: list[Row | Figure] = []
    for name in arguments.cases or CASES:
        rows += CASES[name](arguments)
    print_rows(rows)
    if arguments.json:
        write_json(rows, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
