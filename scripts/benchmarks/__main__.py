"""Run benchmarks, print a table, and write the figures as JSON if asked to.

Every row is a ratio between two things measured in the same run, one after the other: absolute times mean
little on a shared machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from capture import bench_capture
from report import Row, print_rows, write_json
from transfer import bench_transfer

CASES = {"capture": bench_capture, "transfer": bench_transfer}


def main() -> int:
    """Run the cases that are named, or all."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"any of: {', '.join(CASES)} (default: all)", metavar="CASE")
    parser.add_argument("--runs", type=int, default=5, help="runs of each side, taken in turn (default: 5)")
    parser.add_argument("--json", type=Path, help="write the figures to this file", metavar="FILE")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - CASES.keys():
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    for name in arguments.cases or CASES:
        rows += CASES[name](arguments.runs)
    print_rows(rows)
    if arguments.json:
        write_json(rows, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
